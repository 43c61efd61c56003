//! How an environment is opened.

/// What a commit has on disk when it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Data and meta page: a commit survives power loss. For what exists nowhere else.
    Full,
    /// Data, not the meta page: a power loss may undo the last commits, never part of one. For what can
    /// be rebuilt. [`Environment::sync`](super::Environment::sync) makes everything before it durable.
    NoMetaSync,
    /// Nothing: the system writes when it likes. For what is of no use to another process.
    None,
}

/// Limits and names of one environment, fixed while it is open.
#[derive(Debug, Clone)]
pub struct EnvironmentOptions {
    /// Address space reserved for the file, in bytes; no disk is used by it. Default 256 GiB. The file
    /// cannot outgrow it without being opened again. Rounded up to 64 KiB. If read-only, at least what the file's
    /// writers have asked for: it may grow to that while it is read.
    pub map_bytes_max: u64,
    /// Bytes by which the file is grown ahead of its use, default 64 MiB, range 0 to 1 GiB; 0 leaves
    /// growth to LMDB (tests). Steps grow with the file, an eighth of it, up to 1 GiB.
    pub preallocate_step_bytes: u64,
    /// What a commit has on disk when it returns. Default [`Durability::Full`].
    pub durability: Durability,
    /// Names of the databases, created if missing. No other can be opened later.
    pub databases: Vec<String>,
    /// Read transactions at the same moment, default 1,024.
    pub max_readers: u32,
    /// No writer, no creation; possible beside a process that writes. Default no.
    pub read_only: bool,
    /// Bytes of leaf pages that are walked at open, default 64 MiB; branch pages always are. More:
    /// damage is found at open; less: a faster open.
    pub check_bytes_max: u64,
}

impl Default for EnvironmentOptions {
    fn default() -> Self {
        Self {
            map_bytes_max: 256 << 30,
            preallocate_step_bytes: 64 << 20,
            durability: Durability::Full,
            databases: Vec::new(),
            max_readers: 1_024,
            read_only: false,
            check_bytes_max: 64 << 20,
        }
    }
}

impl EnvironmentOptions {
    /// The defaults with these databases.
    #[must_use]
    pub fn with_databases<S: AsRef<str>>(names: &[S]) -> Self {
        Self {
            databases: names.iter().map(|name| name.as_ref().to_owned()).collect(),
            ..Self::default()
        }
    }

    /// Makes a reader's map as large as the writers' of the file, which is stored in it. A size that no file comes near, 64 TiB, is
    /// damage and not believed.
    pub(super) fn map_as_the_writer(&mut self, stored: u64) {
        const BELIEVED_BYTES_MAX: u64 = 1 << 46;
        if self.read_only && stored <= BELIEVED_BYTES_MAX {
            self.map_bytes_max = self.map_bytes_max.max(stored);
        }
    }

    /// The map's size as LMDB wants it: a multiple of every page size, at least 1 MiB.
    pub(super) fn map_size(&self) -> usize {
        const ALIGN: u64 = 64 << 10;
        let rounded = self
            .map_bytes_max
            .max(1 << 20)
            .div_ceil(ALIGN)
            .saturating_mul(ALIGN);
        usize::try_from(rounded).unwrap_or(usize::MAX & !(ALIGN as usize - 1))
    }
}
