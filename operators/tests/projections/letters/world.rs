//! A projection over a log of two partitions, stepped by hand: each crash, rebuild and late decision happens when the
//! test says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::codec::Event;
use millstream_engine::event::StreamId;
use millstream_engine::log::frame::Encoding;
use millstream_engine::state::{DeadLetter, DeadLetterStatus};
use millstream_engine::time::{Clock, Timestamp};
use millstream_operators::projection::{
    LetterDecision, OpenReads, Owners, ProgressBoard, ProjectedEvent, Projection, ProjectionConfig,
    Rows, Table, TableMut, Wanted,
};
use serde::{Deserialize, Serialize};

use crate::support::{
    Asked, CannotBear, Declared, Ground, Moods, NewEvent, Noting, Opening, Running,
};

const PARTITIONS: u16 = 2;
pub(super) const LISTS: Table<String, Vec<u32>> = Table::named("lists");

/// What an event adds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Noted {
    Value(u32),
    /// Not wanted.
    Aside(u32),
}

impl Noted {
    /// Of one value all events are asides.
    pub(crate) fn of(value: u32) -> Self {
        if value == ASIDE {
            Self::Aside(value)
        } else {
            Self::Value(value)
        }
    }
}

/// The value that no row has.
pub(crate) const ASIDE: u32 = 5;

impl Event for Noted {
    const ENCODING: Encoding = Encoding::Json;
}

/// Instead of a number of events in a batch: rows are routed by key.
pub(crate) const ROUTED: usize = 0;
/// Owners of rows that are.
const OWNERS: usize = 3;

/// Keeps the values of each stream, and fails on some.
pub(crate) struct Lists<const BATCH: usize>(pub(super) Moods);

impl<const BATCH: usize> Projection for Lists<BATCH> {
    const NAME: &'static str = "lists";
    const VERSION: u32 = 1;
    const ROWS: Rows = if BATCH == ROUTED {
        Rows::ByKey
    } else {
        Rows::Global
    };
    const CATEGORY: &'static str = "note";
    type Event = Noted;
    type Tables = (Table<String, Vec<u32>>,);
    type Error = CannotBear;
    const BATCH: usize = if BATCH == ROUTED { 1 } else { BATCH };

    fn tables(&self) -> Self::Tables {
        (LISTS,)
    }

    fn wanted(&self) -> Wanted {
        Wanted::types(["Value"])
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Noted>,
        (lists,): &mut (TableMut<String, Vec<u32>>,),
    ) -> Result<(), CannotBear> {
        let &(Noted::Value(value) | Noted::Aside(value)) = event.payload;
        lists.update(&event.id.to_owned(), |list| list.push(value));
        self.0.bear(value)
    }
}

pub(crate) type ListRows = BTreeMap<String, Vec<u32>>;

/// A letter without what differs from run to run: tries and times.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Left {
    pub(crate) key: String,
    pub(crate) offset: u64,
    pub(crate) redrives: u32,
    pub(crate) followers: u64,
    pub(crate) followers_bytes: u64,
}

pub(crate) struct World<const BATCH: usize> {
    ground: Ground,
    declared: Declared<Lists<BATCH>>,
    running: Option<Running<Lists<BATCH>>>,
    moods: Moods,
    config: ProjectionConfig,
}

impl<const BATCH: usize> World<BATCH> {
    pub(crate) fn new(config: ProjectionConfig) -> Self {
        let ground = Ground::new(PARTITIONS, Timestamp::EPOCH);
        let moods = Moods::good(&ground.log.clock);
        let mut world = Self {
            declared: Declared::new(Lists::<BATCH>(moods.clone()), ground.state()),
            ground,
            running: None,
            moods,
            config,
        };
        world.open();
        world
    }

    /// Opens the projection from what is stored.
    pub(crate) fn open(&mut self) {
        self.running = None;
        let (log, state) = (&self.ground.log, self.ground.state());
        state.writer.flush().unwrap();
        let opening = Opening {
            board: ProgressBoard::new(Lists::<BATCH>::NAME, PARTITIONS),
            config: &self.config,
            reads: OpenReads::default(),
            owners: Owners::in_turn(if BATCH == ROUTED { OWNERS } else { 1 }),
        };
        self.running = Some(self.declared.open(log, state, opening));
    }

    /// The process ends, and begins again with what is left.
    fn again<T>(&mut self, how: impl FnOnce(&mut Ground) -> T) {
        self.running = None;
        how(&mut self.ground);
        self.declared = Declared::new(Lists::<BATCH>(self.moods.clone()), self.ground.state());
        self.open();
    }

    pub(crate) fn crash(&mut self) {
        self.again(Ground::crash);
    }

    pub(crate) fn keep_state(&mut self) {
        self.again(Ground::keep_state);
    }

    /// The machine loses power: the state is as it was kept.
    pub(crate) fn lose_power(&mut self) {
        self.again(Ground::lose_state);
    }

    /// Rows and letters are made anew.
    pub(crate) fn rebuild(&mut self) {
        self.again(Ground::forget_state);
    }

    /// From now on the single events are noted that are read from the log.
    pub(crate) fn note_reads(&mut self) -> Asked {
        let (log, asked) = (&mut self.ground.log, Asked::default());
        log.streams = Arc::new(Noting {
            reader: log.reader.clone(),
            asked: Arc::clone(&asked),
        });
        asked
    }

    /// Appends values to streams; gives partition and offset of each.
    pub(crate) fn add(&mut self, values: &[(&str, u32)]) -> Vec<(u16, u64)> {
        let event = |(key, value): &(&str, u32)| {
            let noted = Noted::of(*value);
            let event_type = match noted {
                Noted::Value(_) => "Value",
                Noted::Aside(_) => "Aside",
            };
            NewEvent::of(("note", key), event_type, &noted)
        };
        let events: Vec<_> = values.iter().map(event).collect();
        self.ground.log.add(&events)
    }

    pub(crate) fn decide(&mut self, decision: &LetterDecision) -> u64 {
        let partition = decision.order().position().partition;
        let stream = LetterDecision::stream(partition, PARTITIONS).unwrap();
        let event_type = match decision {
            LetterDecision::Redriven(_) => "Redriven",
            LetterDecision::Discarded(_) => "Discarded",
            LetterDecision::Edited { .. } => "Edited",
            other => panic!("nothing is known of {other:?}"),
        };
        let event = NewEvent::in_stream(stream, event_type, decision);
        let log = &mut self.ground.log;
        log.append(partition, log.clock.now(), [&event]).0
    }

    /// Sets the clock, as an administrator would.
    pub(crate) fn set_clock(&self, wall: Timestamp) {
        self.ground.log.clock.set(wall);
    }

    pub(crate) fn poison(&self, values: impl IntoIterator<Item = u32>) {
        self.moods.poison(values);
    }

    /// One turn; why it halted, if it did.
    pub(crate) fn step(&mut self) -> Result<bool, String> {
        let again = self.running.as_mut().unwrap().step();
        self.ground.rest();
        again
    }

    /// Turns, and time that goes by, for so long; why it halted, if it did.
    pub(crate) fn go_on(&mut self, span: Duration) -> Result<(), String> {
        const STEP: Duration = Duration::from_millis(10);
        let mut gone = Duration::ZERO;
        while gone < span {
            while self.step()? {}
            self.ground.log.clock.advance(STEP);
            gone += STEP;
        }
        Ok(())
    }

    /// The same where a turn is always due.
    pub(crate) fn go_on_while_due(&mut self, span: Duration) -> Result<(), String> {
        const STEP: Duration = Duration::from_millis(1);
        let mut gone = Duration::ZERO;
        while gone < span {
            self.step()?;
            self.ground.log.clock.advance(STEP);
            gone += STEP;
        }
        Ok(())
    }

    /// Ids of streams that lie in the same partition.
    pub(crate) fn keys_of_one_partition(&self, count: usize) -> Vec<String> {
        let partition = |id: &str| StreamId::new("note", id).unwrap().partition(PARTITIONS);
        let ids = (0..).map(|number| format!("k{number}"));
        ids.filter(|id| partition(id) == partition("k0"))
            .take(count)
            .collect()
    }

    /// How often the event that a stream waits for was tried, as queries are told.
    pub(crate) fn parked_attempts(&self, id: &str) -> Option<u32> {
        let table = self.running.as_ref().unwrap().table(&LISTS);
        table.parked(id).map(|parked| parked.attempts)
    }

    /// Steps until nothing is left to do but to wait for a decision, and all is stored.
    pub(crate) fn settle(&mut self) {
        for _ in 0..3_000 {
            if !self.step().unwrap() {
                self.ground.log.clock.advance(Duration::from_millis(10));
                if !self.step().unwrap() && self.is_settled() {
                    return;
                }
            }
        }
        panic!("it does not come to rest");
    }

    fn is_settled(&self) -> bool {
        let (state, id) = (self.ground.state(), self.declared.registered.id);
        let stored = self.ground.log.ends_at(|partition| {
            let progress = state.store.progress(id, partition).unwrap();
            progress.unwrap_or_default().next
        });
        let dead = |letter: &DeadLetter| letter.status == DeadLetterStatus::Dead;
        stored && self.letters().iter().all(dead) && {
            // What is shown is what is stored.
            self.rows() == self.stored_rows()
        }
    }

    pub(crate) fn letters(&self) -> Vec<DeadLetter> {
        let found = self
            .ground
            .state()
            .store
            .dead_letters(None, None, usize::MAX);
        found.unwrap()
    }

    /// Letters that somebody may decide about, as they are stored now.
    pub(crate) fn waiting(&self) -> Vec<DeadLetter> {
        let mut letters = self.letters();
        letters.retain(|letter| letter.status == DeadLetterStatus::Dead);
        letters
    }

    pub(crate) fn left(&self) -> BTreeSet<Left> {
        let left = |letter: DeadLetter| Left {
            key: letter.key["note-".len()..].to_owned(),
            offset: letter.position.offset.0,
            redrives: letter.redrives,
            followers: letter.followers,
            followers_bytes: letter.followers_bytes,
        };
        self.letters().into_iter().map(left).collect()
    }

    pub(crate) fn rows(&self) -> ListRows {
        let rows = self.running.as_ref().unwrap().table(&LISTS).rows();
        rows.unwrap().into_iter().collect()
    }

    fn stored_rows(&self) -> ListRows {
        let (log, state) = (&self.ground.log, self.ground.state());
        let rows = self.declared.stored(log, state, &LISTS).rows();
        rows.unwrap().into_iter().collect()
    }
}
