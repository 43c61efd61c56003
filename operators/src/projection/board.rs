//! How far a projection has come, for readers that want to wait for it.

mod lag;
mod taking;
mod waiting;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use compact_str::CompactString;
use dashmap::DashMap;
use millstream_engine::event::{Offset, PartitionId, Position, Token};
use millstream_engine::log::Feed;
use millstream_engine::state::{DeadLetter, DeadLetterId, DeadLetterStatus};
use millstream_engine::time::{Clock, Timestamp};
use tokio::sync::Notify;

pub use self::lag::Lag;
use self::lag::Seen;
use self::taking::Begun;
pub(super) use self::taking::Mark;
use super::following::{Actor, Neighbours};
use super::role::Role;

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

/// How far a projection has come in one partition.
#[derive(Debug)]
pub(super) struct Visible {
    /// Offset after the last event whose rows are visible.
    next: AtomicU64,
    /// When that event was recorded. Shown before the offset: whoever sees the time sees its rows.
    recorded: AtomicI64,
    /// Offset after the last event whose rows are stored.
    pub(super) stored: AtomicU64,
    /// Up to when all is visible.
    seen: Seen,
}

/// What a projection is behind of.
struct Log {
    feed: Arc<Feed>,
    clock: Arc<dyn Clock>,
}

/// Visible positions of one projection, per partition. Rows are visible before the position that covers them.
#[derive(Debug)]
pub struct ProgressBoard {
    projection: &'static str,
    pub(super) visible: Vec<Visible>,
    /// The log, if it is known.
    log: Option<Log>,
    pub(super) moved: Notify,
    /// Those who go by what is stored do not look at each batch that is shown.
    pub(super) stored: Notify,
    /// Whether positions are shown at all.
    knows_positions: bool,
    stopped: AtomicBool,
    cause: Mutex<String>,
    /// Read by whoever shows rows and their positions, written by whoever needs both to stand still.
    showing: RwLock<()>,
    /// Parked streams by id without the category.
    parked: DashMap<CompactString, ParkedStream, foldhash::fast::RandomState>,
    /// Those that fill the tables, by number.
    pub(super) actors: Mutex<BTreeMap<u16, Actor>>,
    /// How many wait for what is stored.
    pub(super) hurried: AtomicUsize,
    /// Rows that are taken back, and those that were.
    begun: Begun,
    role: Role,
    pub(super) neighbours: Neighbours,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

impl ProgressBoard {
    /// A board on which nothing is visible yet.
    #[must_use]
    pub fn new(projection: &'static str, partitions: u16) -> Arc<Self> {
        Self::make(projection, 0, partitions, true, None)
    }

    /// The same, of a projection of this log.
    #[must_use]
    pub fn of_log(projection: &'static str, feed: Arc<Feed>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Self::of_version(projection, 0, feed, clock)
    }

    /// The same, of one of the versions of a projection.
    #[must_use]
    pub fn of_version(
        projection: &'static str,
        version: u32,
        feed: Arc<Feed>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let partitions = feed.partitions();
        let log = Some(Log { feed, clock });
        Self::make(projection, version, partitions, true, log)
    }

    /// The board of a table whose rows are not made from the log position by position: asking it for one is an
    /// error.
    #[must_use]
    pub fn without_positions(table: &'static str) -> Arc<Self> {
        Self::make(table, 0, 0, false, None)
    }

    fn make(
        projection: &'static str,
        version: u32,
        partitions: u16,
        knows_positions: bool,
        log: Option<Log>,
    ) -> Arc<Self> {
        let nothing = || Visible {
            next: AtomicU64::new(0),
            recorded: AtomicI64::new(Timestamp::MIN.0),
            stored: AtomicU64::new(0),
            seen: Seen::nothing(),
        };
        Arc::new(Self {
            projection,
            knows_positions,
            log,
            visible: (0..partitions).map(|_| nothing()).collect(),
            moved: Notify::new(),
            stored: Notify::new(),
            stopped: AtomicBool::new(false),
            cause: Mutex::default(),
            showing: RwLock::default(),
            parked: DashMap::default(),
            actors: Mutex::default(),
            hurried: AtomicUsize::new(0),
            begun: Begun::default(),
            role: Role::new(version, partitions),
            neighbours: Neighbours::default(),
        })
    }

    pub(super) const fn role(&self) -> &Role {
        &self.role
    }

    /// Streams that are parked.
    #[must_use]
    pub fn parked_count(&self) -> usize {
        self.parked.len()
    }

    /// Whether the projection will not come further.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
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
        Offset(found.map_or(0, |visible| visible.next.load(Ordering::Acquire)))
    }

    /// All that is durable in the log now; `None` where that cannot be told.
    pub(super) fn durable(&self) -> Option<Token> {
        let log = self.log.as_ref()?;
        let mut token = Token::default();
        for partition in (0..log.feed.partitions()).map(PartitionId) {
            if let Some(last) = log.feed.durable(partition).0.checked_sub(1) {
                let offset = Offset(last);
                token.observe(Position { partition, offset });
            }
        }
        Some(token)
    }

    /// All events whose effects are visible.
    #[must_use]
    pub fn token(&self) -> Token {
        let mut token = Token::default();
        for (partition, visible) in (0..).map(PartitionId).zip(&self.visible) {
            if let Some(last) = visible.next.load(Ordering::Acquire).checked_sub(1) {
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

    /// Whether the stream with this id (without the category) is parked, and by which letter: not by a later one before the rows of
    /// what was applied up to there are visible. Cost: a hash lookup.
    #[must_use]
    pub fn parked(&self, id: &str) -> Option<ParkedStream> {
        self.parked.get(id).map(|parked| *parked)
    }

    /// Whether it is parked by the letter of an event that lies before that of `letter` in the same partition.
    pub(super) fn is_parked_before(&self, id: &str, letter: DeadLetterId) -> bool {
        self.parked(id).is_some_and(|parked| {
            let known = parked.letter;
            known.partition == letter.partition && known.offset < letter.offset
        })
    }

    pub(super) fn park(&self, id: &CompactString, parked: ParkedStream) {
        self.parked.insert(id.clone(), parked);
    }

    pub(super) fn free(&self, id: &str) {
        self.parked.remove(id);
    }

    /// Forgets the parked streams of a partition, but those that `is_parked` knows.
    pub(super) fn free_all_but(&self, partition: PartitionId, is_parked: impl Fn(&str) -> bool) {
        self.parked
            .retain(|id, parked| parked.letter.partition != partition || is_parked(id));
    }

    /// Says that all before `next` is visible, the last of it recorded then. Goes back only when a projection starts anew.
    pub(super) fn show(&self, partition: PartitionId, next: Offset, recorded: Timestamp) {
        let visible = &self.visible[usize::from(partition.0)];
        visible.recorded.store(recorded.0, Ordering::Release);
        visible.next.store(next.0, Ordering::Release);
        if let Some(log) = &self.log {
            visible.seen.show(log, partition, next, recorded);
        }
    }

    /// Says that no more than what lies before `next` is visible, where more was.
    pub(super) fn show_at_most(&self, partition: PartitionId, next: Offset) {
        if self.visible(partition) > next {
            self.show(partition, next, Timestamp::MIN);
        }
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
        self.announce_stored();
    }
}
