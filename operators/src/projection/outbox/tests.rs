//! The queue against a plain model of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millstream_engine::event::{Offset, PartitionId, Position};
use proptest::prelude::*;

use super::EffectPlace;
use super::queue::Queue;

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
    /// The store is read: beside what is known, so many.
    Read(usize),
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
        Just(Happens::Start),
        Just(Happens::Start),
        (any::<prop::sample::Index>(), prop::bool::weighted(0.7))
            .prop_map(|(which, is_well)| Happens::End(which, is_well)),
        (0..20u64).prop_map(Happens::Pass),
        Just(Happens::Delete),
    ]
}

/// The queue, and what it must be.
#[derive(Default)]
struct World {
    queue: Queue,
    /// Effects in the store, with their streams.
    stored: BTreeMap<EffectPlace, u8>,
    under_way: BTreeMap<EffectPlace, u8>,
    /// Delivered and still stored.
    settled: Vec<EffectPlace>,
    delivered: BTreeMap<u8, Vec<EffectPlace>>,
    now: Duration,
}

impl World {
    fn read(&mut self, count: usize) {
        let limit = self.queue.known() + count;
        for (place, stream) in self.stored.iter().take(limit) {
            self.queue.add(*place, &stream.to_string(), Vec::new());
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
        let open = self.stored.iter();
        let mut open = open.filter(|(place, _)| !self.settled.contains(place));
        let first = open.find(|(_, own)| **own == stream);
        let first = first.map(|(place, _)| *place);
        assert_eq!(first, Some(place), "not the first of its stream");
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
            Happens::Read(count) => self.read(*count),
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
            self.read(10);
            self.now += Duration::from_millis(10);
            while self.start() {}
            for place in self.under_way.keys().copied().collect::<Vec<_>>() {
                self.end(place, true);
            }
            self.delete();
            if self.stored.is_empty() {
                return true;
            }
        }
        false
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens in which order: one of a stream at a time, the first that is stored, and each exactly once.
    #[test]
    fn each_is_delivered_once_in_the_order_of_its_stream(
        streams in prop::collection::vec(0..5u8, 1..60),
        course in prop::collection::vec(happens(), 0..200),
    ) {
        let stored = (0..).map(place).zip(streams.iter().copied());
        let mut world = World { stored: stored.collect(), ..World::default() };
        let expected = world.stored.clone();
        for what in &course {
            world.happen(what);
        }
        prop_assert!(world.finish(), "it does not come to its end");
        let mut all = BTreeSet::new();
        for (stream, places) in &world.delivered {
            prop_assert!(places.is_sorted());
            for place in places {
                prop_assert_eq!(expected.get(place), Some(stream));
                prop_assert!(all.insert(*place), "twice");
            }
        }
        prop_assert_eq!(all.len(), expected.len());
        let queue = &world.queue;
        prop_assert_eq!((queue.len(), queue.known(), queue.next_due()), (0, 0, None));
    }
}

/// One that was given up and is sent again goes before those of its stream that wait.
#[test]
fn an_earlier_one_that_comes_later_goes_first() {
    let mut queue = Queue::default();
    queue.add(place(5), "a", Vec::new());
    queue.add(place(3), "a", Vec::new());
    assert_eq!(queue.start().map(|(place, _)| place), Some(place(3)));
    assert!(queue.start().is_none());
    queue.add(place(1), "a", Vec::new());
    assert!(queue.start().is_none(), "another is under way");
    queue.failed(place(3), |_| Some(Duration::from_secs(1)));
    assert_eq!(queue.start().map(|(place, _)| place), Some(place(1)));
    queue.settle(place(1));
    assert_eq!(queue.start().map(|(place, _)| place), Some(place(3)));
    queue.settle(place(3));
    assert_eq!(queue.start().map(|(place, _)| place), Some(place(5)));
}
