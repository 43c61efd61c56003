//! What stages with items that failed share with those who decide about them.
//!
//! Place: a value of the [`Resources`](millstream_engine::flow::Resources), the same for all dataflows of an engine and
//! over all of their beginnings. Stages show here what waits; a decision is appended to the log once its letter is
//! [open](LetterStanding::Open), and [`announce`](ItemLetters::announce)d, upon which stages read it from the log. A run that
//! was given up shows nothing any more: stages pass its [`Fence`](millstream_engine::flow::Fence) on the way here.
//! Invariant: a letter is open only once a complete checkpoint holds its item, so that whatever the dataflow begins from
//! again, it finds the item and reads the decision about it behind that.
//! Cost: a stage looks at one counter per turn; maps are touched where something fails.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use compact_str::CompactString;
use dashmap::DashMap;
use millstream_engine::codec::EventReader;
use millstream_engine::event::PartitionId;
use millstream_engine::log::frame::SHAPES;
use millstream_engine::log::{Direction, LogError, StreamReader, StreamRef, for_each_event};
use millstream_engine::state::{DeadLetter, DeadLetterId, DeadLetterStatus, ProjectionId};

use crate::projection::{ITEMS, LetterDecision};

/// The decisions of a log.
pub trait DecisionLog: Send + Sync + 'static {
    /// Partitions of the log.
    fn partitions(&self) -> u16;

    /// How many decisions a partition has.
    ///
    /// # Errors
    /// [`LogError`].
    fn len(&self, partition: PartitionId) -> Result<u64, LogError>;

    /// Hands out those from number `from` on, in their order; gives the number after the last.
    ///
    /// # Errors
    /// [`LogError`].
    fn read(
        &self,
        partition: PartitionId,
        from: u64,
        take: &mut dyn FnMut(LetterDecision),
    ) -> Result<u64, LogError>;
}

impl DecisionLog for Arc<dyn StreamReader> {
    fn partitions(&self) -> u16 {
        (**self).partitions()
    }

    fn len(&self, partition: PartitionId) -> Result<u64, LogError> {
        let partitions = (**self).partitions();
        // No partition of this log.
        let Ok(id) = LetterDecision::stream(partition, partitions) else {
            return Ok(0);
        };
        let (stream, mut len) = (StreamRef::new(&id, partitions), 0);
        let back = Direction::Backwards;
        for_each_event::<_, LogError>(&**self, stream, u64::MAX, 1, back, |_, record| {
            len = record.version + 1;
            Ok(())
        })?;
        Ok(len)
    }

    fn read(
        &self,
        partition: PartitionId,
        from: u64,
        take: &mut dyn FnMut(LetterDecision),
    ) -> Result<u64, LogError> {
        let partitions = (**self).partitions();
        let Ok(id) = LetterDecision::stream(partition, partitions) else {
            return Ok(from);
        };
        let (stream, mut next) = (StreamRef::new(&id, partitions), from);
        let mut reader = EventReader::<LetterDecision>::new();
        let (all, ahead) = (usize::MAX, Direction::Forwards);
        for_each_event::<_, LogError>(&**self, stream, from, all, ahead, |frame, record| {
            next = record.version + 1;
            let decoded = reader
                .begin_frame(frame.attachment(SHAPES).unwrap_or_default())
                .and_then(|()| reader.decode(record.kind, record.payload));
            match decoded {
                Ok(decision) => take(decision),
                Err(cause) => tracing::warn!(
                    %partition, offset = %record.offset, %cause,
                    "a decision about a dead letter cannot be read"
                ),
            }
            Ok(())
        })?;
        Ok(next)
    }
}

/// What is known of a letter by the stage that has its item.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    /// Partition of the stage that has it now.
    pub(super) holder: usize,
    pub(super) stage: Arc<str>,
    /// `None`: nothing waits behind it.
    pub(super) key: Option<CompactString>,
    pub(super) status: DeadLetterStatus,
    pub(super) attempts: u32,
    pub(super) redrives: u32,
    /// A complete checkpoint has it.
    pub(super) is_saved: bool,
}

/// An item that failed, and what waits behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkedItem {
    /// Its letter.
    pub letter: DeadLetterId,
    /// What becomes of it.
    pub status: DeadLetterStatus,
    /// How often it was tried.
    pub attempts: u32,
}

/// Whether a letter waits for a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetterStanding {
    /// No stage that runs has its item.
    Unknown,
    /// It is tried again by itself, or will be since somebody decided.
    Retrying,
    /// It waits, but a restart could still forget that it failed: once the next checkpoint is complete it is open.
    Unsaved,
    /// It waits for a decision that names so many redrives.
    Open {
        /// How many.
        redrives: u32,
    },
}

/// Whether it is the letter of an item that a stage holds, rather than of one that came too late.
#[must_use]
pub fn is_of_item(letter: &DeadLetter) -> bool {
    letter.kind.category == ITEMS
}

/// What letters name as their stage: `identity` is what its state is found by, `ordinal` how many operators of the stage
/// come before that may fail, too.
#[must_use]
pub fn letter_stage(identity: &str, ordinal: usize) -> Arc<str> {
    match ordinal {
        0 => identity.into(),
        _ => format!("{identity}#{}", ordinal + 1).into(),
    }
}

/// Partitions of a stage that have begun, and how many there are.
#[derive(Default)]
struct Begun {
    partitions: usize,
    begun: BTreeSet<usize>,
}

/// A stage of a dataflow.
type StageOf = (ProjectionId, Arc<str>);
/// A key, by the dataflow and stage in which it is parked.
type KeyOf = (ProjectionId, Arc<str>, CompactString);

struct Inner {
    log: Box<dyn DecisionLog>,
    news: AtomicU64,
    letters: DashMap<DeadLetterId, Shown, foldhash::fast::RandomState>,
    keys: DashMap<KeyOf, DeadLetterId, foldhash::fast::RandomState>,
    stages: DashMap<StageOf, Begun, foldhash::fast::RandomState>,
}

/// Letters of items, and where decisions about them are. A handle: clones mean the same.
#[derive(Clone)]
pub struct ItemLetters {
    inner: Arc<Inner>,
}

impl ItemLetters {
    /// No letters yet, and the log that decisions are in.
    #[must_use]
    pub fn new(log: impl DecisionLog) -> Self {
        Self {
            inner: Arc::new(Inner {
                log: Box::new(log),
                news: AtomicU64::new(0),
                letters: DashMap::default(),
                keys: DashMap::default(),
                stages: DashMap::default(),
            }),
        }
    }

    /// Says that decisions were appended.
    pub fn announce(&self) {
        self.inner.news.fetch_add(1, Ordering::Release);
    }

    /// Whether a key of a stage is parked, and by which letter. `owner` is whose letters the dataflow's are, `stage` what
    /// letters name, `key` the key as they show it. Cost: two hash lookups.
    #[must_use]
    pub fn parked(&self, owner: ProjectionId, stage: &str, key: &str) -> Option<ParkedItem> {
        let key = (owner, Arc::from(stage), CompactString::from(key));
        let letter = *self.inner.keys.get(&key)?;
        let shown = self.inner.letters.get(&letter)?;
        Some(ParkedItem {
            letter,
            status: shown.status,
            attempts: shown.attempts,
        })
    }

    /// Whether a letter waits for a decision.
    #[must_use]
    pub fn standing(&self, letter: DeadLetterId) -> LetterStanding {
        let Some(shown) = self.inner.letters.get(&letter) else {
            return LetterStanding::Unknown;
        };
        match shown.status {
            DeadLetterStatus::Retrying { .. } => LetterStanding::Retrying,
            DeadLetterStatus::Dead if !shown.is_saved => LetterStanding::Unsaved,
            DeadLetterStatus::Dead => LetterStanding::Open {
                redrives: shown.redrives,
            },
        }
    }

    /// Whether all partitions of a stage have begun: what is unknown then is not held by it.
    #[must_use]
    pub fn has_begun(&self, owner: ProjectionId, stage: &str) -> bool {
        let of = self.inner.stages.get(&(owner, Arc::from(stage)));
        of.is_some_and(|stage| stage.begun.len() == stage.partitions)
    }

    pub(super) fn news(&self) -> u64 {
        self.inner.news.load(Ordering::Acquire)
    }

    pub(super) fn log(&self) -> &dyn DecisionLog {
        &*self.inner.log
    }

    pub(super) fn show(&self, letter: DeadLetterId, shown: Shown) {
        if let Some(key) = &shown.key {
            let key = (letter.projection, Arc::clone(&shown.stage), key.clone());
            self.inner.keys.insert(key, letter);
        }
        self.inner.letters.insert(letter, shown);
    }

    pub(super) fn is_saved(&self, letter: DeadLetterId) -> bool {
        let shown = self.inner.letters.get(&letter);
        shown.is_some_and(|shown| shown.is_saved)
    }

    pub(super) fn saved(&self, letter: DeadLetterId) {
        if let Some(mut shown) = self.inner.letters.get_mut(&letter) {
            shown.is_saved = true;
        }
    }

    pub(super) fn hide(&self, letter: DeadLetterId) {
        let Some((_, shown)) = self.inner.letters.remove(&letter) else {
            return;
        };
        if let Some(key) = shown.key {
            let key = (letter.projection, shown.stage, key);
            self.inner.keys.remove_if(&key, |_, now| *now == letter);
        }
    }

    /// A partition has its first turn: it has shown all that it holds.
    pub(super) fn begins(&self, owner: ProjectionId, stage: &Arc<str>, partition: usize) {
        let of = self.inner.stages.get_mut(&(owner, Arc::clone(stage)));
        if let Some(mut of) = of {
            of.begun.insert(partition);
        }
    }

    /// Hides the letters of a partition of a stage that is opened again; the first one sees to partitions that are gone.
    pub(super) fn hide_all(
        &self,
        owner: ProjectionId,
        stage: &Arc<str>,
        partition: usize,
        partitions: usize,
    ) {
        let of = (owner, Arc::clone(stage));
        let mut of = self.inner.stages.entry(of).or_default();
        of.begun.remove(&partition);
        if of.partitions != partitions {
            of.begun.clear();
            of.partitions = partitions;
        }
        drop(of);
        let is_of = |holder: usize| holder == partition || (partition == 0 && holder >= partitions);
        let letters = self.inner.letters.iter();
        let gone = letters.filter(|entry| {
            let shown = entry.value();
            entry.key().projection == owner && shown.stage == *stage && is_of(shown.holder)
        });
        // The map is not changed while it is looked through.
        let gone: Vec<_> = gone.map(|entry| *entry.key()).collect();
        gone.into_iter().for_each(|letter| self.hide(letter));
    }
}

impl fmt::Debug for ItemLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ItemLetters")
            .field("letters", &self.inner.letters.len())
            .finish_non_exhaustive()
    }
}
