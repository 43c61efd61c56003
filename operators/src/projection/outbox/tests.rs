//! The queue against a plain model of it.

use std::collections::VecDeque;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millstream_engine::event::{Offset, PartitionId, Position};
use proptest::prelude::*;

use super::EffectPlace;
use super::format::Span;
use super::queue::Queue;
use super::reading::Reading;

/// Few, so that streams are passed over all the time.
const HELD_MAX: usize = 6;
const CALLS: usize = 2;

fn queue() -> Queue {
    Queue::new(Reading::from(place(0), HELD_MAX, CALLS), CALLS)
}

fn place(offset: u64) -> EffectPlace {
    EffectPlace {
        position: Position {
            partition: PartitionId(0),
            offset: Offset(offset),
        },
        index: 0,
    }
}

/// What happens to the queue.
#[derive(Clone, Debug)]
enum Happens {
    /// A page of so many is read, if one is wanted.
    Read(usize),
    /// One is stored before others.
    Late(prop::sample::Index, u8),
    Start,
    /// One of those under way ends, well or not.
    End(prop::sample::Index, bool),
    Pass(u64),
    /// What was settled is deleted.
    Delete,
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        (1..40usize).prop_map(Happens::Read),
        (any::<prop::sample::Index>(), 0..5u8).prop_map(|(at, stream)| Happens::Late(at, stream)),
        Just(Happens::Start),
        Just(Happens::Start),
        (any::<prop::sample::Index>(), prop::bool::weighted(0.7))
            .prop_map(|(which, is_well)| Happens::End(which, is_well)),
        (0..20u64).prop_map(Happens::Pass),
        Just(Happens::Delete),
    ]
}

/// The queue, and what it must be.
struct World {
    queue: Queue,
    /// Effects in the store, with their streams.
    stored: BTreeMap<EffectPlace, u8>,
    /// Those that were stored when later ones had been.
    late: BTreeMap<EffectPlace, u8>,
    under_way: BTreeMap<EffectPlace, u8>,
    /// Delivered and still stored.
    settled: Vec<EffectPlace>,
    delivered: BTreeMap<u8, Vec<EffectPlace>>,
    now: Duration,
}

impl World {
    fn new(stored: BTreeMap<EffectPlace, u8>) -> Self {
        Self {
            queue: queue(),
            stored,
            late: BTreeMap::new(),
            under_way: BTreeMap::new(),
            settled: Vec::new(),
            delivered: BTreeMap::new(),
            now: Duration::ZERO,
        }
    }

    fn read(&mut self, count: usize) -> bool {
        let Some(from) = self.queue.next_read() else {
            return false;
        };
        let page = self.stored.range(from..).take(count);
        let page: Vec<_> = page
            .map(|(place, stream)| (*place, stream.to_string().into(), Vec::new()))
            .collect();
        let end = page.last().map(|(place, ..)| *place);
        let end = end.filter(|_| page.len() == count);
        self.queue.take_in(page, end);
        assert!(self.queue.len() <= HELD_MAX);
        true
    }

    /// Those of the input lie at even places.
    fn store_late(&mut self, at: u64, stream: u8) {
        let place = place(2 * at + 1);
        if let Entry::Vacant(late) = self.late.entry(place) {
            late.insert(stream);
            self.stored.insert(place, stream);
            self.queue.stored(Span::of(place));
        }
    }

    fn start(&mut self) -> bool {
        self.queue.wake(self.now);
        let Some((place, held)) = self.queue.start() else {
            return false;
        };
        let stream: u8 = held.key.parse().unwrap();
        let mut others = self.under_way.values();
        assert!(!others.any(|own| *own == stream), "two of one stream");
        let is_late = |place: &EffectPlace| self.late.contains_key(place);
        let open = self.stored.iter();
        let mut open = open.filter(|(place, _)| !self.settled.contains(place) && !is_late(place));
        let first = open.find(|(_, own)| **own == stream);
        let first = first.map(|(place, _)| *place);
        assert!(
            is_late(&place) || first == Some(place),
            "not the first of its stream"
        );
        self.under_way.insert(place, stream);
        true
    }

    fn end(&mut self, place: EffectPlace, is_well: bool) {
        let stream = self.under_way.remove(&place).unwrap();
        if is_well {
            self.queue.settle(place).unwrap();
            self.settled.push(place);
            self.delivered.entry(stream).or_default().push(place);
        } else {
            let due = self.now + Duration::from_millis(5);
            self.queue.failed(place, |_| Some(due));
        }
    }

    fn delete(&mut self) {
        self.queue.forget(&self.settled);
        for place in self.settled.drain(..) {
            self.stored.remove(&place);
        }
    }

    fn happen(&mut self, what: &Happens) {
        match what {
            Happens::Read(count) => {
                self.read(*count);
            }
            Happens::Late(at, stream) => {
                let last = self.stored.last_key_value();
                let last = last.map_or(0, |(place, _)| place.position.offset.0);
                self.store_late(at.index(1 + last as usize / 2) as u64, *stream);
            }
            Happens::Start => {
                self.start();
            }
            Happens::End(which, is_well) => {
                let places: Vec<_> = self.under_way.keys().copied().collect();
                if !places.is_empty() {
                    self.end(*which.get(&places), *is_well);
                }
            }
            Happens::Pass(millis) => self.now += Duration::from_millis(*millis),
            Happens::Delete => self.delete(),
        }
    }

    /// Until all is delivered; nothing fails any more. Gives whether that comes about.
    fn finish(&mut self) -> bool {
        for _ in 0..1_000 {
            while self.read(3) {}
            self.now += Duration::from_millis(10);
            while self.start() {}
            for place in self.under_way.keys().copied().collect::<Vec<_>>() {
                self.end(place, true);
            }
            self.delete();
            if self.stored.is_empty() {
                // What was passed over and is gone is looked for once more.
                while self.read(3) {}
                return true;
            }
        }
        false
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever happens in which order: one of a stream at a time, the first that is stored, and each exactly once.
    #[test]
    fn each_is_delivered_once_in_the_order_of_its_stream(
        streams in prop::collection::vec(0..5u8, 1..60),
        course in prop::collection::vec(happens(), 0..200),
    ) {
        let places = (0..).map(|at| place(2 * at));
        let mut world = World::new(places.zip(streams.iter().copied()).collect());
        let mut expected = world.stored.clone();
        for what in &course {
            world.happen(what);
        }
        expected.extend(world.late.clone());
        prop_assert!(world.finish(), "it does not come to its end");
        let mut all = BTreeSet::new();
        for (stream, places) in &world.delivered {
            let mut in_order = places.iter().filter(|place| !world.late.contains_key(*place));
            prop_assert!(in_order.by_ref().is_sorted());
            for place in places {
                prop_assert_eq!(expected.get(place), Some(stream));
                prop_assert!(all.insert(*place), "twice");
            }
        }
        prop_assert_eq!(all.len(), expected.len());
        let queue = &world.queue;
        prop_assert_eq!((queue.len(), queue.next_due()), (0, None));
        prop_assert!(queue.lines.is_empty() && queue.settled.is_empty() && queue.failed == 0);
    }
}

/// One that was given up and is sent again goes before those of its stream that wait.
#[test]
fn an_earlier_one_that_comes_later_goes_first() {
    let mut queue = queue();
    queue.add(place(3), "a".into(), Vec::new());
    queue.add(place(5), "a".into(), Vec::new());
    assert_eq!(queue.start().map(|(place, _)| place), Some(place(3)));
    assert!(queue.start().is_none());
    queue.add(place(1), "a".into(), Vec::new());
    assert!(queue.start().is_none(), "another is under way");
    queue.failed(place(3), |_| Some(Duration::from_secs(1)));
    assert_eq!(queue.start().map(|(place, _)| place), Some(place(1)));
    queue.settle(place(1));
    assert_eq!(queue.start().map(|(place, _)| place), Some(place(3)));
    queue.settle(place(3));
    // It was left in the store when the one before it failed.
    assert_eq!(queue.next_read(), Some(place(0)));
    queue.take_in([(place(5), "a".into(), Vec::new())], None);
    assert_eq!(queue.start().map(|(place, _)| place), Some(place(5)));
}

/// A stream whose effect failed had all of the room for what waits behind that, and the others of its partition waited with it.
#[test]
fn a_stream_that_is_stuck_leaves_room_for_the_others() {
    let stuck = (0..100).map(|at| (place(at), 0));
    let others = (100..200).map(|at| (place(at), 1 + (at % 4) as u8));
    let mut world = World::new(stuck.chain(others).collect());
    for _ in 0..1_000 {
        while world.read(10) {}
        while world.start() {}
        for (place, stream) in world.under_way.clone() {
            world.end(place, stream != 0);
        }
        world.delete();
    }
    let delivered: usize = world.delivered.values().map(Vec::len).sum();
    assert_eq!(delivered, 100);
    assert!(!world.delivered.contains_key(&0));
    assert!(world.finish(), "what was stuck goes on");
    assert_eq!(world.delivered[&0].len(), 100);
}

/// Danger: more streams hang than there are calls, and their effects are older than all that come. Goal: a new one has its
/// turn as soon as a call ends, and what has failed has turns as well.
#[test]
fn streams_that_hang_do_not_have_all_calls() {
    const STREAMS: u64 = 20;
    for calls in [1, 2, 8] {
        let mut queue = Queue::new(Reading::from(place(0), 1_024, calls), calls);
        let add = |queue: &mut Queue, at: u64| queue.add(place(at), at.to_string().into(), vec![]);
        (0..STREAMS).for_each(|at| add(&mut queue, at));
        // All of them have failed once, and are due.
        while let Some(at) = queue.start().map(|(place, _)| place) {
            queue.failed(at, |_| Some(Duration::ZERO));
        }
        let (mut hanging, mut delivered, mut tried) = (VecDeque::new(), 0, 0);
        for at in STREAMS..STREAMS + 100 {
            add(&mut queue, at);
            // The oldest call comes to its limit, if all hang.
            if hanging.len() == calls
                && let Some(oldest) = hanging.pop_front()
            {
                queue.failed(oldest, |_| Some(Duration::ZERO));
            }
            queue.wake(Duration::ZERO);
            while hanging.len() < calls
                && let Some(at) = queue.start().map(|(place, _)| place)
            {
                if at.position.offset.0 < STREAMS {
                    hanging.push_back(at);
                    tried += 1;
                } else {
                    queue.settle(at);
                    delivered += 1;
                }
            }
        }
        assert!(delivered >= 49, "{delivered} with {calls} calls");
        assert!(tried >= 49, "{tried} with {calls} calls");
    }
}
