//! Names of a file sink's files, and where those are that were begun under other ones.
//!
//! A file is written under a temporary name and renamed when it is complete. Checkpoints have the scheme with the files that
//! they have: once folder, prefix or format of a sink are changed, what it had begun before is completed under the names of
//! before. Failure: an error of the file system.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use millstream_engine::fail_point;
use serde::{Deserialize, Serialize};

/// A file of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileId {
    /// Of the sink.
    pub(super) partition: usize,
    pub(super) number: u64,
}

/// A complete file without its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HeldFile {
    pub(super) id: FileId,
    pub(super) bytes: u64,
    /// If it is another one than that of the sink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) scheme: Option<Box<Scheme>>,
}

/// What names are made of, as checkpoints have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Scheme {
    /// Absolute.
    folder: String,
    prefix: String,
    extension: String,
}

/// How files of one partition are named: `prefix-000-000000.extension`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Naming {
    pub(super) folder: PathBuf,
    pub(super) prefix: String,
    pub(super) partition: usize,
    pub(super) extension: String,
}

impl Naming {
    /// None for a folder whose name is no Unicode.
    pub(super) fn scheme(&self) -> Option<Scheme> {
        let folder = std::path::absolute(&self.folder).ok()?;
        Some(Scheme {
            folder: folder.to_str()?.to_owned(),
            prefix: self.prefix.clone(),
            extension: self.extension.clone(),
        })
    }

    /// The same partition's by another scheme.
    pub(super) fn by(&self, scheme: &Scheme) -> Self {
        Self {
            folder: PathBuf::from(&scheme.folder),
            prefix: scheme.prefix.clone(),
            partition: self.partition,
            extension: scheme.extension.clone(),
        }
    }

    /// Whether files have the same names, in whatever folder.
    pub(super) fn has_names_of(&self, scheme: &Scheme) -> bool {
        self.prefix == scheme.prefix && self.extension == scheme.extension
    }

    /// Whether this is the folder, under whatever name.
    pub(super) fn is_in(&self, scheme: &Scheme) -> bool {
        let real = |path: &Path| fs::canonicalize(path).ok();
        let (own, other) = (&self.folder, Path::new(&scheme.folder));
        let absolute = std::path::absolute(own);
        absolute.is_ok_and(|own| own == other)
            || real(own).is_some_and(|own| real(other).is_some_and(|other| own == other))
    }

    pub(super) const fn file(&self, number: u64) -> FileId {
        FileId {
            partition: self.partition,
            number,
        }
    }

    /// Whether nobody but this partition, of so many, deals with files of `partition`.
    pub(super) const fn deals_with(&self, partition: usize, partitions: usize) -> bool {
        let own = self.partition;
        partition == own || (own == 0 && partition >= partitions)
    }

    fn name(&self, file: FileId) -> String {
        let FileId { partition, number } = file;
        let (prefix, extension) = (&self.prefix, &self.extension);
        format!("{prefix}-{partition:03}-{number:06}.{extension}")
    }

    pub(super) fn complete(&self, file: FileId) -> PathBuf {
        self.folder.join(self.name(file))
    }

    pub(super) fn temporary(&self, file: FileId) -> PathBuf {
        self.folder.join(format!(".{}.part", self.name(file)))
    }

    /// The file that has this name, whatever its extension, which is given as well.
    fn file_of<'a>(&self, name: &'a str) -> Option<(FileId, &'a str)> {
        let rest = name.strip_prefix(&self.prefix)?.strip_prefix('-')?;
        let (partition, rest) = rest.split_once('-')?;
        let (number, extension) = rest.split_once('.')?;
        let file = FileId {
            partition: partition.parse().ok()?,
            number: number.parse().ok()?,
        };
        Some((file, extension))
    }

    /// The number behind those that are there. Deletes incomplete files for which `is_over` holds.
    pub(super) fn first_free(&self, is_over: impl Fn(FileId) -> bool) -> io::Result<u64> {
        let mut next = 0;
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let hidden = name.strip_prefix('.').and_then(|name| {
                let name = name.strip_suffix(".part")?;
                self.file_of(name)
            });
            // Of another format it is another sink's, which may be writing to it.
            if hidden.is_some_and(|(file, extension)| extension == self.extension && is_over(file))
            {
                fs::remove_file(entry.path())?;
            }
            if let Some((file, extension)) = self.file_of(name)
                && file.partition == self.partition
                && extension == self.extension
            {
                next = next.max(file.number + 1);
            }
        }
        Ok(next)
    }

    /// Gives each complete file; none if there is no folder yet.
    pub(super) fn each_complete(&self, mut take: impl FnMut(FileId)) -> io::Result<()> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let name = entry?.file_name();
            let file = name.to_str().and_then(|name| self.file_of(name));
            if let Some((file, extension)) = file
                && extension == self.extension
            {
                take(file);
            }
        }
        Ok(())
    }

    /// Gives complete files their names, as far as they do not have them, each by its own scheme.
    pub(super) fn name_all(&self, files: &[HeldFile]) -> io::Result<()> {
        let mut folders = vec![self.folder.clone()];
        for held in files {
            match &held.scheme {
                None => self.rename(held.id)?,
                Some(scheme) => {
                    let by = self.by(scheme);
                    by.rename(held.id)?;
                    if !folders.contains(&by.folder) {
                        folders.push(by.folder);
                    }
                }
            }
        }
        folders.iter().try_for_each(|folder| sync_folder(folder))
    }

    fn rename(&self, file: FileId) -> io::Result<()> {
        fail_point!(FILE_SINK_BEFORE_NAME, std::convert::identity);
        match fs::rename(self.temporary(file), self.complete(file)) {
            // It has its name, and whoever waited for it may have taken it away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        fail_point!(FILE_SINK_NAMED, std::convert::identity);
        Ok(())
    }
}

/// Makes a renaming durable.
#[cfg(unix)]
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| {
        let cause = format!("{}: {error}", folder.display());
        io::Error::new(error.kind(), cause)
    })
}

/// Folders cannot be opened here, and renamings are part of the file system's journal.
#[cfg(not(unix))]
pub(super) fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}
