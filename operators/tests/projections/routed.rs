//! Promise: rows that are routed by key are what one owner would make of the log: however many owners there are, on one thread or
//! several, whatever fails, wherever it crashes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millstream_engine::codec::Event;
use millstream_engine::time::Timestamp;
use millstream_operators::projection::{
    Index, OpenReads, Owners, ProgressBoard, ProjectedEvent, Projection, ProjectionConfig, Route,
    Rows, Table, TableMut,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::support::{CannotBear, Declared, Ground, Moods, NewEvent, Opening, Running, config};

const PARTITIONS: u16 = 2;
const STREAMS: [&str; 5] = ["a", "b", "c", "d", "e"];
const GROUPS: u16 = 7;
/// Values of events; any of them may be one that fails.
const VALUES: u32 = 6;

/// Something of one group is told in the stream of whoever tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Told {
    group: u16,
    value: u32,
}

impl Event for Told {}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sum {
    events: u32,
    sum: u32,
}

const BY_EVENTS: Index<u16, Sum, u32> = Index::named("by-events", |_, row| Some(row.events));
const SUMS: Table<u16, Sum> = Table::named("sums").indexed(&[&BY_EVENTS]);
const TIMES: Table<(u16, u32), u32> = Table::named("times");

/// Sums by group, and how often each value was told of it.
struct Sums(Moods);

impl Projection for Sums {
    const NAME: &'static str = "sums";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::ByKey;
    const CATEGORY: &'static str = "note";
    type Event = Told;
    type Tables = (Table<u16, Sum>, Table<(u16, u32), u32>);
    type Error = CannotBear;

    fn tables(&self) -> Self::Tables {
        (SUMS, TIMES)
    }

    fn route(&self, event: &ProjectedEvent<'_, Told>) -> Route {
        Route::of(event.payload.group)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Told>,
        (sums, times): &mut (TableMut<u16, Sum>, TableMut<(u16, u32), u32>),
    ) -> Result<(), CannotBear> {
        let Told { group, value } = *event.payload;
        sums.update(&group, |row| {
            row.events += 1;
            row.sum += value;
        });
        // Half of what is not borne panics.
        match self.0.bear(value) {
            Err(_) if value % 2 == 0 => std::panic::resume_unwind(Box::new("not borne")),
            borne => borne?,
        }
        times.update(&(group, value), |times| *times += 1);
        Ok(())
    }
}

/// How many owners, and whether they have threads.
#[derive(Clone, Copy, Debug)]
struct Shares {
    owners: usize,
    are_beside: bool,
}

fn shares() -> impl Strategy<Value = Shares> {
    (1..5_usize, any::<bool>()).prop_map(|(owners, are_beside)| Shares { owners, are_beside })
}

#[derive(Clone, Debug)]
enum Act {
    /// Events of one append: number of the stream, group and value.
    Add(Vec<(usize, u16, u32)>),
    Step(u8),
    /// Other values fail from now on.
    Fail(BTreeSet<u32>),
    /// The projection is started again, with other owners.
    Restart(Shares),
    Crash(Shares),
    /// What is stored now is what a later loss of power leaves.
    Keep,
    LosePower,
    Rebuild,
}

fn act() -> impl Strategy<Value = Act> {
    let event = || (0..STREAMS.len(), 0..GROUPS, 0..VALUES);
    prop_oneof![
        10 => prop::collection::vec(event(), 1..24).prop_map(Act::Add),
        10 => (1..6_u8).prop_map(Act::Step),
        3 => prop::collection::btree_set(0..VALUES, 0..3).prop_map(Act::Fail),
        2 => shares().prop_map(Act::Restart),
        2 => shares().prop_map(Act::Crash),
        1 => Just(Act::Keep),
        1 => Just(Act::LosePower),
        1 => Just(Act::Rebuild),
    ]
}

struct World {
    ground: Ground,
    declared: Declared<Sums>,
    running: Option<Running<Sums>>,
    moods: Moods,
    shares: Shares,
    /// What one owner would make of all events.
    sums: BTreeMap<u16, Sum>,
    times: BTreeMap<(u16, u32), u32>,
}

impl World {
    fn new(shares: Shares) -> Self {
        let ground = Ground::new(PARTITIONS, Timestamp::EPOCH);
        let moods = Moods::good(&ground.log.clock);
        let mut world = Self {
            declared: Declared::new(Sums(moods.clone()), ground.state()),
            ground,
            running: None,
            moods,
            shares,
            sums: BTreeMap::new(),
            times: BTreeMap::new(),
        };
        world.open();
        world
    }

    /// Opens the projection from what is stored.
    fn open(&mut self) {
        self.running = None;
        let (log, state) = (&self.ground.log, self.ground.state());
        state.writer.flush().unwrap();
        let Shares { owners, are_beside } = self.shares;
        let owners = if are_beside {
            Owners::of::<Sums>(owners, 3).unwrap()
        } else {
            Owners::in_turn(owners)
        };
        let opening = Opening {
            board: ProgressBoard::new(Sums::NAME, PARTITIONS),
            config: &ProjectionConfig {
                hot_rows_max: 9,
                ..config(u32::MAX)
            },
            reads: OpenReads::default(),
            owners,
        };
        self.running = Some(self.declared.open(log, state, opening));
    }

    /// The process ends, and begins again with what is left.
    fn again<T>(&mut self, how: impl FnOnce(&mut Ground) -> T) {
        self.running = None;
        how(&mut self.ground);
        self.declared = Declared::new(Sums(self.moods.clone()), self.ground.state());
        self.open();
    }

    fn add(&mut self, events: &[(usize, u16, u32)]) {
        let new = |(stream, group, value): &(usize, u16, u32)| {
            let (group, value) = (*group, *value);
            NewEvent::of(("note", STREAMS[*stream]), "Told", &Told { group, value })
        };
        let new: Vec<_> = events.iter().map(new).collect();
        self.ground.log.add(&new);
        for &(_, group, value) in events {
            let row = self.sums.entry(group).or_default();
            row.events += 1;
            row.sum += value;
            *self.times.entry((group, value)).or_default() += 1;
        }
    }

    fn step(&mut self) -> bool {
        let again = self.running.as_mut().unwrap().step().unwrap();
        self.ground.rest();
        again
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Add(events) => self.add(events),
            Act::Step(turns) => {
                for _ in 0..*turns {
                    self.step();
                }
            }
            Act::Fail(values) => self.moods.poison(values.iter().copied()),
            Act::Restart(shares) => {
                self.shares = *shares;
                self.open();
            }
            Act::Crash(shares) => {
                self.shares = *shares;
                self.again(Ground::crash);
            }
            Act::Keep => self.again(Ground::keep_state),
            Act::LosePower => self.again(Ground::lose_state),
            Act::Rebuild => self.again(Ground::forget_state),
        }
    }

    /// Steps until all is applied and stored: nothing fails any more.
    fn settle(&mut self) {
        self.moods.poison([]);
        for _ in 0..3_000 {
            if !self.step() {
                self.ground.log.clock.advance(Duration::from_millis(10));
                let running = self.running.as_ref().unwrap();
                if running.is_at_the_end(&self.ground.log) && running.board.parked_count() == 0 {
                    return;
                }
            }
        }
        panic!("it does not come to rest");
    }

    fn check(&self) {
        let running = self.running.as_ref().unwrap();
        let (log, state) = (&self.ground.log, self.ground.state());
        let shown = (running.table(&SUMS), running.table(&TIMES));
        let stored = (
            self.declared.stored(log, state, &SUMS),
            self.declared.stored(log, state, &TIMES),
        );
        for (sums, times) in [shown, stored] {
            for count in 0..=self.sums.values().map(|row| row.events).max().unwrap_or(0) {
                let expected = self.sums.values().filter(|row| row.events == count);
                let found = sums.by(&BY_EVENTS, &count).unwrap().count().unwrap();
                assert_eq!(found, expected.count() as u64);
            }
            let found: BTreeMap<_, _> = sums.rows().unwrap().into_iter().collect();
            assert_eq!(found, self.sums);
            let found: BTreeMap<_, _> = times.rows().unwrap().into_iter().collect();
            assert_eq!(found, self.times);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        max_shrink_iters: 150,
        ..ProptestConfig::with_cases(96)
    })]

    /// Goal: once nothing fails any more, rows and the index are those of a naive model, shown and stored. Method: events of
    /// which several in one frame are of other groups than their streams say, values that fail now and then, owners that
    /// change in number between starts, crashes that go back to what was stored or further, rebuilds.
    #[test]
    fn rows_are_those_of_one_owner(shares in shares(), acts in prop::collection::vec(act(), 1..50)) {
        let mut world = World::new(shares);
        for act in &acts {
            world.act(act);
        }
        world.settle();
        world.check();
        world.act(&Act::Rebuild);
        world.settle();
        world.check();
    }
}

/// Danger: nobody is ever asked to share. Goal: a frame with enough events is applied by all owners, and one with an event that
/// fails is not; nothing else is while its key waits.
#[test]
fn frames_are_shared() {
    for are_beside in [false, true] {
        let owners = 3;
        let mut world = World::new(Shares { owners, are_beside });
        let shared = |world: &World| world.running.as_ref().unwrap().board.shared_frames();
        let frame: Vec<_> = (0..12).map(|n| (0, n % GROUPS, 1)).collect();
        world.add(&frame);
        world.settle();
        assert_eq!(shared(&world), (1, 0));
        world.add(&frame[..1]);
        world.settle();
        assert_eq!(shared(&world), (1, 0), "too few events");
        for value in [2, 3] {
            let before = shared(&world);
            world.moods.poison([value]);
            world.add(&[(0, 0, 1), (0, 1, value), (1, 2, 1), (0, 3, 1)]);
            while world.running.as_ref().unwrap().board.parked_count() == 0 {
                world.step();
            }
            world.add(&frame);
            world.step();
            assert_eq!(shared(&world), (before.0, before.1 + 1));
            world.settle();
        }
        world.add(&frame);
        world.settle();
        assert_eq!(shared(&world), (2, 2));
        world.check();
    }
}

/// Looks into a table that it does not say that it reads.
struct Looks;

impl Projection for Looks {
    const NAME: &'static str = "looks";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::ByKey;
    const CATEGORY: &'static str = "note";
    type Event = Told;
    type Tables = (Table<u16, u32>,);
    type Error = CannotBear;

    fn tables(&self) -> Self::Tables {
        (Table::named("looks"),)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Told>,
        (looks,): &mut (TableMut<u16, u32>,),
    ) -> Result<(), CannotBear> {
        if event.look_up(&SUMS, &event.payload.group).is_none() {
            looks.update(&event.payload.group, |times| *times += 1);
        }
        Ok(())
    }
}

/// Danger: what could not be looked up is taken for a row that is not there. Goal: a frame that is shared halts the projection as
/// one that is not.
#[test]
fn what_cannot_be_looked_up_halts_it() {
    let mut ground = Ground::new(PARTITIONS, Timestamp::EPOCH);
    let told = |value| NewEvent::of(("note", "a"), "Told", &Told { group: 1, value });
    ground.log.add(&[told(1), told(2), told(3), told(4)]);
    let opening = Opening {
        board: ProgressBoard::new(Looks::NAME, PARTITIONS),
        config: &config(1),
        reads: OpenReads::default(),
        owners: Owners::in_turn(2),
    };
    let mut running =
        Declared::new(Looks, ground.state()).open(&ground.log, ground.state(), opening);
    let cause = running.step().unwrap_err();
    assert!(cause.contains("sums"), "{cause}");
    assert_eq!(running.board.shared_frames(), (0, 1));
}
