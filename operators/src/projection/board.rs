//! How far a projection has come, for readers that want to wait for it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use compact_str::CompactString;
use dashmap::DashMap;
use millstream_engine::event::{Offset, PartitionId, Position, Token};
use millstream_engine::state::{DeadLetter, DeadLetterId, DeadLetterStatus};
use tokio::sync::Notify;

use super::QueryError;

/// A stream whose later events are not in the rows yet, since one of them failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkedStream {
    /// Its letter, which `millstream dead-letters show` prints once it is stored.
    pub letter: DeadLetterId,
    /// What becomes of it.
    pub status: DeadLetterStatus,
    /// How often the event was tried.
    pub attempts: u32,
}

impl ParkedStream {
    pub(super) fn of(letter: &DeadLetter) -> Self {
        Self {
            letter: letter.id(),
            status: letter.status,
            attempts: letter.attempts,
        }
    }
}

/// Visible positions of one projection, per partition. Rows are visible before the position that covers them.
#[derive(Debug)]
pub struct ProgressBoard {
    projection: &'static str,
    /// Offset after the last event whose rows are visible.
    visible: Vec<AtomicU64>,
    moved: Notify,
    /// Whether positions are shown at all.
    knows_positions: bool,
    stopped: AtomicBool,
    cause: Mutex<String>,
    /// Read by whoever shows rows and their positions, written by whoever needs both to stand still.
    showing: RwLock<()>,
    /// Parked streams by id without the category.
    parked: DashMap<CompactString, ParkedStream, foldhash::fast::RandomState>,
}

impl ProgressBoard {
    /// A board on which nothing is visible yet.
    #[must_use]
    pub fn new(projection: &'static str, partitions: u16) -> Arc<Self> {
        Self::make(projection, partitions, true)
    }

    /// The board of a table whose rows are not made from the log position by position: asking it for one is an
    /// error.
    #[must_use]
    pub fn without_positions(table: &'static str) -> Arc<Self> {
        Self::make(table, 0, false)
    }

    fn make(projection: &'static str, partitions: u16, knows_positions: bool) -> Arc<Self> {
        Arc::new(Self {
            projection,
            knows_positions,
            visible: (0..partitions).map(|_| AtomicU64::new(0)).collect(),
            moved: Notify::new(),
            stopped: AtomicBool::new(false),
            cause: Mutex::default(),
            showing: RwLock::default(),
            parked: DashMap::default(),
        })
    }

    /// Name of the projection.
    #[must_use]
    pub fn projection(&self) -> &'static str {
        self.projection
    }

    /// Offset after the last visible event of a partition.
    #[must_use]
    pub fn visible(&self, partition: PartitionId) -> Offset {
        let found = self.visible.get(usize::from(partition.0));
        Offset(found.map_or(0, |visible| visible.load(Ordering::Acquire)))
    }

    /// All events whose effects are visible.
    #[must_use]
    pub fn token(&self) -> Token {
        let mut token = Token::default();
        for (partition, visible) in (0..).map(PartitionId).zip(&self.visible) {
            if let Some(last) = visible.load(Ordering::Acquire).checked_sub(1) {
                let offset = Offset(last);
                token.observe(Position { partition, offset });
            }
        }
        token
    }

    /// Held while a batch of rows and its positions are shown: they belong together. Short, and never while waiting.
    pub(crate) fn show_together(&self) -> RwLockReadGuard<'_, ()> {
        self.showing.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while nothing may be shown.
    pub(super) fn pause(&self) -> RwLockWriteGuard<'_, ()> {
        self.showing.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the stream with this id (without the category) is parked, and by which letter. Cost: a hash lookup.
    #[must_use]
    pub fn parked(&self, id: &str) -> Option<ParkedStream> {
        self.parked.get(id).map(|parked| *parked)
    }

    pub(super) fn park(&self, id: &CompactString, parked: ParkedStream) {
        self.parked.insert(id.clone(), parked);
    }

    pub(super) fn free(&self, id: &str) {
        self.parked.remove(id);
    }

    /// Forgets the parked streams of a partition, whose projection begins anew.
    pub(super) fn free_all(&self, partition: PartitionId) {
        self.parked
            .retain(|_, parked| parked.letter.partition != partition);
    }

    /// Says that all before `next` is visible. Goes back only when a projection starts anew.
    pub(super) fn show(&self, partition: PartitionId, next: Offset) {
        self.visible[usize::from(partition.0)].store(next.0, Ordering::Release);
    }

    /// Wakes those who wait. Once per batch, after its positions are shown.
    pub(super) fn announce(&self) {
        self.moved.notify_waiters();
    }

    /// Says that the projection will not come further, and why.
    pub fn stop(&self, cause: &str) {
        let mut place = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        cause.clone_into(&mut place);
        drop(place);
        self.stopped.store(true, Ordering::Release);
        self.moved.notify_waiters();
    }

    /// The first partition in which `token` is ahead of what is visible, and by how many events.
    #[must_use]
    pub fn behind(&self, token: &Token) -> Option<(PartitionId, u64)> {
        token.positions().iter().find_map(|position| {
            let visible = self.visible(position.partition);
            (visible <= position.offset)
                .then(|| (position.partition, position.offset.plus(1).0 - visible.0))
        })
    }

    /// Waits until all that `token` has seen is visible, at most `deadline`.
    ///
    /// # Errors
    /// [`QueryError::Behind`] with how far it is; [`QueryError::Stopped`]; [`QueryError::NoPositions`].
    pub async fn reached(&self, token: &Token, deadline: Duration) -> Result<(), QueryError> {
        if !self.knows_positions && !token.positions().is_empty() {
            return Err(QueryError::NoPositions {
                table: self.projection,
            });
        }
        if self.behind(token).is_none() {
            return Ok(());
        }
        let wait = async {
            loop {
                let mut moved = std::pin::pin!(self.moved.notified());
                // In the list before the look, so that a move in between is not missed.
                moved.as_mut().enable();
                if self.behind(token).is_none() {
                    return Ok(());
                }
                if self.stopped.load(Ordering::Acquire) {
                    return Err(self.stopped_error());
                }
                moved.await;
            }
        };
        match tokio::time::timeout(deadline, wait).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => match self.behind(token) {
                None => Ok(()),
                Some((partition, behind)) => Err(QueryError::Behind {
                    projection: self.projection,
                    partition,
                    behind,
                    waited: deadline,
                }),
            },
        }
    }

    fn stopped_error(&self) -> QueryError {
        let cause = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        QueryError::Stopped {
            projection: self.projection,
            cause: cause.clone(),
        }
    }
}
