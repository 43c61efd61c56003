//! Where checkpoints are kept: two sets of rows by key, written in transactions.

use std::ops::Bound;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use super::{CheckpointError, Epoch, Manifest};

/// Length of a row of a part.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// How often a thread that waits for room looks by itself.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Which rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rows {
    /// State.
    Parts,
    /// What belongs together.
    Manifests,
}

/// A row to be put, or removed if it has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageWrite {
    /// Where.
    pub rows: Rows,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

/// Called once with the outcome; on any thread, and must be short.
pub type StoredCallback = Arc<dyn Fn(Result<(), String>) + Send + Sync>;

/// Rows that outlive the process.
pub trait CheckpointStorage: Send + Sync {
    /// Writes all rows in one transaction, after those that were given before, and tells the outcome.
    ///
    /// # Errors
    /// The writes back: there is no room now. `room` is woken when there may be: ask again then.
    fn write(
        &self,
        writes: Vec<StorageWrite>,
        done: StoredCallback,
        room: &Waker,
    ) -> Result<(), Vec<StorageWrite>>;

    /// Makes what was written before safe from a power failure, and tells the outcome. Gives whether there was room to
    /// ask for it; where there was not, `room` is woken when there may be.
    fn sync(&self, done: StoredCallback, room: &Waker) -> bool;

    /// Called by who waits for an outcome: where no thread does the work, it is done here.
    fn help(&self) {}

    /// The row with this key.
    ///
    /// # Errors
    /// [`CheckpointError::Storage`].
    fn get(&self, rows: Rows, key: &[u8]) -> Result<Option<Vec<u8>>, CheckpointError>;

    /// Keys from `from` on, in order, at most `limit`.
    ///
    /// # Errors
    /// [`CheckpointError::Storage`].
    fn keys(
        &self,
        rows: Rows,
        from: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, CheckpointError>;
}

/// Key of a row of a part: the epoch first, so that what came after a checkpoint lies together.
pub(super) fn part_key(
    epoch: Epoch,
    stage: u32,
    partition: usize,
    slot: usize,
    chunk: u32,
) -> Vec<u8> {
    let mut key = Vec::with_capacity(24);
    key.extend_from_slice(&epoch.0.to_be_bytes());
    key.extend_from_slice(&stage.to_be_bytes());
    key.extend_from_slice(&(partition as u32).to_be_bytes());
    key.extend_from_slice(&(slot as u32).to_be_bytes());
    key.extend_from_slice(&chunk.to_be_bytes());
    key
}

/// Key of a manifest.
pub(super) fn manifest_key(epoch: Epoch) -> Vec<u8> {
    epoch.0.to_be_bytes().to_vec()
}

/// Part of the key of a row of a part: which part it is.
pub(super) fn part_of(key: &[u8]) -> Option<(Epoch, u32, usize, usize)> {
    let (epoch, rest) = key.split_first_chunk()?;
    let (stage, rest) = rest.split_first_chunk()?;
    let (partition, rest) = rest.split_first_chunk()?;
    let (slot, _) = rest.split_first_chunk()?;
    Some((
        Epoch(u64::from_be_bytes(*epoch)),
        u32::from_be_bytes(*stage),
        u32::from_be_bytes(*partition) as usize,
        u32::from_be_bytes(*slot) as usize,
    ))
}

/// A manifest, or why it cannot be read.
pub(super) type Found = Result<Manifest, CheckpointError>;

/// All manifests, the oldest first.
///
/// # Errors
/// [`CheckpointError::Storage`].
pub(super) fn manifests(
    storage: &dyn CheckpointStorage,
) -> Result<Vec<(Epoch, Found)>, CheckpointError> {
    let mut found = Vec::new();
    for key in storage.keys(Rows::Manifests, Bound::Unbounded, usize::MAX)? {
        let Ok(epoch) = <[u8; 8]>::try_from(&key[..]) else {
            continue;
        };
        let epoch = Epoch(u64::from_be_bytes(epoch));
        match storage.get(Rows::Manifests, &key) {
            Ok(Some(bytes)) => found.push((epoch, Manifest::from_bytes(&bytes))),
            Ok(None) => {}
            Err(damaged @ CheckpointError::Damaged { .. }) => found.push((epoch, Err(damaged))),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Writes rows and waits for the outcome: where nothing runs yet.
pub(super) fn write_blocking(
    storage: &dyn CheckpointStorage,
    writes: Vec<StorageWrite>,
) -> Result<(), CheckpointError> {
    let mut left = Some(writes);
    until_done(storage, |done, room| {
        let asked = left.take();
        match asked.map(|writes| storage.write(writes, done, room)) {
            Some(Err(refused)) => {
                left = Some(refused);
                false
            }
            Some(Ok(())) | None => true,
        }
    })
}

/// Makes what was written safe from a power failure, and waits for it.
pub(super) fn sync_blocking(storage: &dyn CheckpointStorage) -> Result<(), CheckpointError> {
    until_done(storage, |done, room| storage.sync(done, room))
}

/// A thread that waits for room.
struct Waiting(Thread);

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Asks until there is room, and waits for the outcome.
fn until_done(
    storage: &dyn CheckpointStorage,
    mut ask: impl FnMut(StoredCallback, &Waker) -> bool,
) -> Result<(), CheckpointError> {
    let (tell, told) = crossbeam_channel::bounded(1);
    let done: StoredCallback = Arc::new(move |outcome| {
        // Who waits is still there.
        let _ = tell.send(outcome);
    });
    let room = Waker::from(Arc::new(Waiting(std::thread::current())));
    while !ask(Arc::clone(&done), &room) {
        storage.help();
        // Goes on at once where it was woken before.
        std::thread::park_timeout(LOOK_EVERY);
    }
    drop(done);
    storage.help();
    let outcome = told.recv().unwrap_or_else(|_| Err("closed".to_owned()));
    outcome.map_err(CheckpointError::Storage)
}
