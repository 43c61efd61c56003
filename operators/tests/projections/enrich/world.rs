//! Items and orders over a log of three partitions, each projection stepped by hand; and a second version of the orders, which
//! begins when it is told to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::event::Offset;
use millstream_engine::log::LogReader;
use millstream_engine::state::{DeadLetter, DeadLetterStatus};
use millstream_engine::time::{Clock, Timestamp};
use millstream_operators::projection::{
    LetterDecision, LetterOrder, OpenReads, Owners, ProgressBoard, Projection, ProjectionConfig,
    Replay, Retention,
};
use serde::Serialize;

use super::projections::{FOUND, Found, Item, Items, Looked, Orders};
use crate::support::{Declared, Ground, Moods, NewEvent, Opening, Running, config};

const PARTITIONS: u16 = 3;

/// What was found, by order and event.
pub(crate) type Rows2 = BTreeMap<String, Found>;
type First<const ALL: bool, const OF_ALL: bool> = Orders<ALL, OF_ALL, 1>;
type Second<const ALL: bool, const OF_ALL: bool> = Orders<ALL, OF_ALL, 2>;

/// An event to append.
#[derive(Clone, Debug)]
pub(crate) enum Happens {
    Item(String, u32),
    Order(String, [String; 2], u32),
}

impl Happens {
    fn event(&self) -> NewEvent {
        match self {
            Self::Item(id, value) => NewEvent::of(("item", id), "Value", &Item::Value(*value)),
            Self::Order(id, keys, value) => {
                NewEvent::of(("order", id), "At", &Looked::At(keys.clone(), *value))
            }
        }
    }
}

pub(crate) struct World<const ALL: bool, const OF_ALL: bool> {
    ground: Ground,
    items: Option<Running<Items<OF_ALL>>>,
    first: Option<Running<First<ALL, OF_ALL>>>,
    second: Option<Running<Second<ALL, OF_ALL>>>,
    has_second: bool,
    pub(crate) retention: Retention,
    /// Tries before an event waits for somebody.
    pub(crate) attempts_max: u32,
    pub(crate) items_moods: Moods,
    pub(crate) orders_moods: Moods,
}

impl<const ALL: bool, const OF_ALL: bool> World<ALL, OF_ALL> {
    pub(crate) fn new() -> Self {
        let ground = Ground::new(PARTITIONS, Timestamp::from_seconds(1_000));
        let mut world = Self {
            items: None,
            first: None,
            second: None,
            has_second: false,
            retention: Retention::FOREVER,
            attempts_max: 1_000,
            items_moods: Moods::good(&ground.log.clock),
            orders_moods: Moods::good(&ground.log.clock),
            ground,
        };
        world.open();
        world
    }

    fn items_now(&self) -> Items<OF_ALL> {
        Items {
            moods: self.items_moods.clone(),
            retention: self.retention,
        }
    }

    fn orders<const VERSION: u32>(&self) -> Orders<ALL, OF_ALL, VERSION> {
        Orders {
            items: self.items_now(),
            moods: self.orders_moods.clone(),
        }
    }

    /// Opens the projections from what is stored.
    fn open(&mut self) {
        let items = self.run(self.items_now(), OpenReads::default());
        let reads = OpenReads(vec![Arc::clone(&items.readers[0].1)]);
        // The orders first: they begin before it is known how far the items are.
        self.first = Some(self.run(self.orders::<1>(), reads));
        self.items = Some(items);
        if self.has_second {
            self.begin_second();
        }
    }

    /// Opens a projection and its actors.
    fn run<P: Projection>(&self, projection: P, reads: OpenReads) -> Running<P> {
        let (log, state) = (&self.ground.log, self.ground.state());
        let feed = Arc::clone(&log.feed);
        let opening = Opening {
            board: ProgressBoard::of_version(P::NAME, P::VERSION, feed, log.clock()),
            config: &ProjectionConfig {
                hot_rows_max: 7,
                ..config(self.attempts_max)
            },
            reads,
            owners: Owners::default(),
        };
        Declared::new(projection, state).open(log, state, opening)
    }

    /// The second version of the orders begins, from the log.
    pub(crate) fn begin_second(&mut self) {
        let items = self.items.as_ref().unwrap();
        let reads = OpenReads(vec![Arc::clone(&items.readers[0].1)]);
        self.second = Some(self.run(self.orders::<2>(), reads));
        self.has_second = true;
    }

    /// The process is killed and started again.
    pub(crate) fn crash(&mut self) {
        (self.first, self.second, self.items) = (None, None, None);
        self.ground.crash();
        self.open();
    }

    /// Appends events, a frame per partition, at one time or at later ones.
    pub(crate) fn add(&mut self, events: &[Happens]) {
        let events: Vec<_> = events.iter().map(Happens::event).collect();
        let log = &mut self.ground.log;
        for partition in log.partitions() {
            let stamp = log.feed.stamps().begin(partition, log.clock.now());
            let own = |event: &&NewEvent| log.is_in(event, partition);
            let own: Vec<_> = events.iter().filter(own).collect();
            log.append(partition, stamp.at(), own);
        }
        self.advance(Duration::from_micros(300));
    }

    /// Somebody edits the one event that waits.
    pub(crate) fn edit(&mut self, to: &impl Serialize) {
        let letters = self.ground.state().store.dead_letters(None, None, 2);
        let [letter] = &letters.unwrap()[..] else {
            panic!("one letter is to wait");
        };
        let decision = LetterDecision::Edited {
            order: LetterOrder::of(letter, "ann", "a typo").unwrap(),
            payload: serde_json::to_string(to).unwrap(),
        };
        let partition = letter.position.partition;
        let stream = LetterDecision::stream(partition, PARTITIONS).unwrap();
        let event = NewEvent::in_stream(stream, "Edited", &decision);
        let log = &mut self.ground.log;
        let stamp = log.feed.stamps().begin(partition, log.clock.now());
        log.append(partition, stamp.at(), [&event]);
        self.advance(Duration::from_micros(300));
    }

    /// All go as far as they can while an event waits for somebody.
    pub(crate) fn come_to_rest(&mut self) {
        for _ in 0..5_000 {
            let again = [self.step_orders().unwrap(), self.step_items()];
            if again == [false; 2] {
                self.advance(Duration::from_millis(10));
                let letters = self.ground.state().store.dead_letters(None, None, 1);
                let is_dead = |letter: &DeadLetter| letter.status == DeadLetterStatus::Dead;
                let log = &self.ground.log;
                if self.items.as_ref().unwrap().is_at_the_end(log)
                    && self.first.as_ref().unwrap().is_at_the_end(log)
                    && letters.unwrap().first().is_some_and(is_dead)
                {
                    return;
                }
            }
        }
        panic!("it does not come to rest");
    }

    /// One turn of each actor of the items.
    pub(crate) fn step_items(&mut self) -> bool {
        let again = self.items.as_mut().unwrap().step().unwrap();
        self.ground.rest();
        again
    }

    /// One turn of each actor of the orders.
    ///
    /// # Errors
    /// Why one of them failed.
    pub(crate) fn step_orders(&mut self) -> Result<bool, String> {
        let again = self.first.as_mut().unwrap().step();
        self.ground.rest();
        again
    }

    /// One turn of each actor of the second version, if it has begun.
    pub(crate) fn step_second(&mut self) -> bool {
        let again = self.second.as_mut().map(Running::step);
        self.ground.rest();
        again.is_some_and(Result::unwrap)
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.ground.log.clock.advance(by);
    }

    /// Nothing fails any more, and all comes to rest.
    pub(crate) fn settle(&mut self) {
        self.items_moods.poison([]);
        self.orders_moods.poison([]);
        for _ in 0..5_000 {
            let again = [
                self.step_orders().unwrap(),
                self.step_items(),
                self.step_second(),
            ];
            if again == [false; 3] {
                self.advance(Duration::from_millis(10));
                if self.is_settled() {
                    return;
                }
            }
        }
        panic!("it does not come to rest");
    }

    fn is_settled(&self) -> bool {
        let log = &self.ground.log;
        let letters = self.ground.state().store.dead_letters(None, None, 1);
        let second = self.second.as_ref();
        self.items.as_ref().unwrap().is_at_the_end(log)
            && self.first.as_ref().unwrap().is_at_the_end(log)
            && second.is_none_or(|second| second.is_at_the_end(log))
            && letters.unwrap().is_empty()
    }

    /// What the orders found.
    pub(crate) fn found(&self) -> Rows2 {
        found(self.first.as_ref().unwrap())
    }

    /// What the second version found.
    pub(crate) fn found_again(&self) -> Rows2 {
        found(self.second.as_ref().unwrap())
    }

    pub(crate) fn board(&self) -> &Arc<ProgressBoard> {
        &self.first.as_ref().unwrap().board
    }

    pub(crate) fn board_of_items(&self) -> &Arc<ProgressBoard> {
        &self.items.as_ref().unwrap().board
    }

    /// What a replay finds.
    pub(crate) fn replayed(&self) -> Rows2 {
        let log = Arc::new(self.ground.log.reader.clone());
        let replay = Replay::new(log, self.orders::<1>());
        let tables = replay.tables().unwrap();
        assert_eq!(tables.failed_count(), 0);
        tables.rows(&FOUND).unwrap().into_iter().collect()
    }

    /// What a run of both finds that takes one event of the log after the other, as they were recorded.
    pub(crate) fn expected(&self) -> Rows2 {
        let (log, mut frames) = (&self.ground.log, Vec::new());
        for partition in log.partitions() {
            let read = log.reader.read(partition, Offset(0), usize::MAX);
            frames.extend(read.unwrap().into_iter().map(|frame| (partition, frame)));
        }
        // Of a partition they stay in order.
        frames.sort_by_key(|(partition, frame)| (frame.header().recorded_first, *partition));
        let (mut items, mut found) = (BTreeMap::<String, Vec<u32>>::new(), Rows2::new());
        for (_, frame) in &frames {
            for record in frame.records() {
                if record.kind.category == "item" {
                    let Item::Value(value) = serde_json::from_slice(record.payload).unwrap();
                    if value == 0 {
                        items.remove(record.stream);
                    } else {
                        items
                            .entry(record.stream.to_owned())
                            .or_default()
                            .push(value);
                    }
                } else {
                    let Looked::At(keys, _) = serde_json::from_slice(record.payload).unwrap();
                    let key = format!("{}/{}", record.stream, record.version);
                    found.insert(key, keys.map(|key| items.get(&key).cloned()));
                }
            }
        }
        found
    }
}

fn found<P: Projection>(running: &Running<P>) -> Rows2 {
    let rows = running.table(&FOUND).rows().unwrap();
    rows.into_iter().collect()
}
