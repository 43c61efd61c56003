//! Whatever happens to the queue, and in which order, against a plain model of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::EffectPlace;
use super::super::format::Span;
use super::super::queue::Queue;
use super::{Found, SHORT, SMALL, Sizes, of_bytes, place};

/// From one place for each stream, or for all, to room for most of what there is.
const SIZES: [Sizes; 10] = [
    SMALL,
    sizes(1, 1),
    sizes(5, 1),
    sizes(2, 8),
    sizes(8, 8),
    sizes(3, 2),
    sizes(40, 4),
    SHORT,
    short(8, 4, 8),
    short(5, 1, 3),
];

const fn sizes(held_max: usize, calls: usize) -> Sizes {
    short(held_max, usize::MAX, calls)
}

const fn short(held_max: usize, bytes_max: usize, calls: usize) -> Sizes {
    Sizes {
        held_max,
        bytes_max,
        calls,
    }
}

/// Of different sizes, some of them larger than there may be room for.
fn sized(place: EffectPlace, stream: u8) -> Found {
    let at = place.position.offset.0 as usize;
    let bytes = if at % 7 == 3 { 12 } else { at % 5 };
    of_bytes(place, stream, bytes)
}

/// Streams of which something is stored from the beginning, and all.
const STREAMS_FIRST: u8 = 5;
const STREAMS: u8 = 8;

/// What happens to the queue.
#[derive(Clone, Debug)]
enum Happens {
    /// A page of at most so many rows is read, if one is wanted.
    Read(usize),
    /// So many of a stream are stored before others, anywhere or behind all that it has.
    Late {
        at: Index,
        stream: u8,
        count: u64,
        is_in_order: bool,
    },
    Start,
    /// One of those under way ends, well or not.
    End(Index, bool),
    Pass(u64),
    /// What was settled is deleted.
    Delete,
}

fn happens() -> impl Strategy<Value = Happens> {
    let late = (any::<Index>(), 0..STREAMS, 1..4u64, any::<bool>());
    prop_oneof![
        2 => (1..40usize).prop_map(Happens::Read),
        2 => late.prop_map(|(at, stream, count, is_in_order)| Happens::Late {
            at,
            stream,
            count,
            is_in_order
        }),
        3 => Just(Happens::Start),
        3 => (any::<Index>(), prop::bool::weighted(0.7))
            .prop_map(|(which, is_well)| Happens::End(which, is_well)),
        1 => (0..20u64).prop_map(Happens::Pass),
        1 => Just(Happens::Delete),
    ]
}

/// The queue, and what it must be.
struct World {
    queue: Queue,
    sizes: Sizes,
    /// Effects in the store, with their streams.
    stored: BTreeMap<EffectPlace, u8>,
    /// All that there were.
    all: BTreeMap<EffectPlace, u8>,
    /// Those that were stored when later ones of their stream had been.
    late: BTreeSet<EffectPlace>,
    under_way: BTreeMap<EffectPlace, u8>,
    /// Delivered and still stored.
    settled: Vec<EffectPlace>,
    delivered: BTreeMap<u8, Vec<EffectPlace>>,
    now: Duration,
}

impl World {
    /// The input lies at even places, and what comes late at odd ones.
    fn new(sizes: Sizes, streams: impl IntoIterator<Item = u8>) -> Self {
        let places = (0..).map(|at| place(2 * at));
        let stored: BTreeMap<_, _> = places.zip(streams).collect();
        Self {
            queue: sizes.queue(),
            sizes,
            all: stored.clone(),
            stored,
            late: BTreeSet::new(),
            under_way: BTreeMap::new(),
            settled: Vec::new(),
            delivered: BTreeMap::new(),
            now: Duration::ZERO,
        }
    }

    fn read(&mut self, count: usize) -> bool {
        let Some(wanted) = self.queue.next_read() else {
            return false;
        };
        assert!(wanted.rows > 0);
        // A page may end early, for its bytes.
        let count = count.min(wanted.rows);
        let page = self.stored.range(wanted.from..).take(count);
        let page: Vec<_> = page.map(|(place, own)| sized(*place, *own)).collect();
        let end = page.last().map(|(place, ..)| *place);
        let end = end.filter(|_| page.len() == count);
        self.queue.take_in(wanted, page, end);
        self.check();
        true
    }

    fn read_all(&mut self, count: usize) {
        for _ in 0..10_000 {
            if !self.read(count) {
                return;
            }
        }
        panic!("it reads for ever");
    }

    /// What the queue remembers is so.
    fn check(&self) {
        let queue = &self.queue;
        assert!(queue.len() <= self.sizes.held_max);
        let largest = queue.held.values().map(|held| held.stored.len()).max();
        let but_one = queue.bytes - largest.unwrap_or(0);
        assert!(queue.bytes <= self.sizes.bytes_max || but_one < self.sizes.bytes_max);
        let bytes = |is_in: &dyn Fn(&EffectPlace) -> bool| {
            let held = queue.held.iter().filter(|(place, _)| is_in(place));
            held.map(|(_, held)| held.stored.len()).sum::<usize>()
        };
        assert_eq!(queue.bytes, bytes(&|_| true));
        assert_eq!(queue.failed_bytes, bytes(&|place| queue.has_failed(*place)));
        assert_eq!(
            queue.spare_bytes,
            bytes(&|place| queue.spare.contains(place))
        );
        assert_eq!(queue.under_way, self.under_way.len());
        let failed = |place: &&EffectPlace| queue.has_failed(**place);
        assert_eq!(queue.failed, queue.held.keys().filter(failed).count());
        let stuck = queue.lines.values();
        let stuck = stuck.filter(|line| line.places.first().is_some_and(|first| failed(&first)));
        let behind = stuck.flat_map(|line| line.places.iter().skip(1));
        let spare: BTreeSet<_> = behind.filter(|place| !failed(place)).copied().collect();
        assert_eq!(queue.spare, spare);
        let here: BTreeSet<_> = queue.lines.values().flat_map(|line| &line.places).collect();
        assert!(queue.held.keys().eq(here));
    }

    fn last_of(&self, stream: u8) -> Option<EffectPlace> {
        let mut own = self.all.iter().rev();
        own.find(|(_, own)| **own == stream)
            .map(|(place, _)| *place)
    }

    fn store_late(&mut self, at: Index, stream: u8, count: u64, is_in_order: bool) {
        let last = self.all.last_key_value();
        let last = last.map_or(0, |(place, _)| place.position.offset.0 / 2);
        let own = self.last_of(stream);
        let first = match own.filter(|_| is_in_order) {
            Some(own) => own.position.offset.0 / 2 + 1,
            None => 0,
        };
        let at = first + at.index((1 + last.saturating_sub(first)) as usize) as u64;
        let mut span = None;
        for at in at..at + count {
            let place = place(2 * at + 1);
            if self.all.contains_key(&place) {
                continue;
            }
            if self.last_of(stream).is_some_and(|last| place < last) {
                self.late.insert(place);
            }
            self.all.insert(place, stream);
            self.stored.insert(place, stream);
            span = Some(Span::of(place).with(span));
        }
        if let Some(span) = span {
            self.queue.stored(span);
        }
    }

    fn start(&mut self) -> bool {
        self.queue.wake(self.now);
        if self.under_way.len() == self.sizes.calls {
            return false;
        }
        let Some((place, held)) = self.queue.start() else {
            return false;
        };
        let stream: u8 = held.key.parse().unwrap();
        let mut others = self.under_way.values();
        assert!(!others.any(|own| *own == stream), "two of one stream");
        let open = self.stored.iter();
        let mut open =
            open.filter(|(place, _)| !self.settled.contains(place) && !self.late.contains(place));
        let first = open.find(|(_, own)| **own == stream);
        let first = first.map(|(place, _)| *place);
        assert!(
            self.late.contains(&place) || first == Some(place),
            "not the first of its stream"
        );
        self.under_way.insert(place, stream);
        self.check();
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
        self.check();
    }

    fn delete(&mut self) {
        self.queue.forget(&self.settled);
        for place in self.settled.drain(..) {
            self.stored.remove(&place);
        }
    }

    fn happen(&mut self, what: &Happens) {
        match *what {
            Happens::Read(count) => {
                self.read(count);
            }
            Happens::Late {
                at,
                stream,
                count,
                is_in_order,
            } => self.store_late(at, stream, count, is_in_order),
            Happens::Start => {
                self.start();
            }
            Happens::End(which, is_well) => {
                let places: Vec<_> = self.under_way.keys().copied().collect();
                if !places.is_empty() {
                    self.end(*which.get(&places), is_well);
                }
            }
            Happens::Pass(millis) => self.now += Duration::from_millis(millis),
            Happens::Delete => self.delete(),
        }
    }

    /// Until all is delivered; nothing fails any more. Gives whether that comes about.
    fn finish(&mut self) -> bool {
        for _ in 0..1_000 {
            self.read_all(3);
            self.now += Duration::from_millis(10);
            while self.start() {}
            for place in self.under_way.keys().copied().collect::<Vec<_>>() {
                self.end(place, true);
            }
            self.delete();
            if self.stored.is_empty() {
                // What was passed over and is gone is looked for once more.
                self.read_all(3);
                return true;
            }
        }
        false
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever happens in which order: one of a stream at a time, the first that is stored, and each exactly once.
    #[test]
    fn each_is_delivered_once_in_the_order_of_its_stream(
        sizes in prop::sample::select(&SIZES[..]),
        streams in prop::collection::vec(0..STREAMS_FIRST, 1..60),
        course in prop::collection::vec(happens(), 0..300),
    ) {
        let mut world = World::new(sizes, streams);
        for what in &course {
            world.happen(what);
        }
        prop_assert!(world.finish(), "it does not come to its end");
        let mut all = BTreeSet::new();
        for (stream, places) in &world.delivered {
            let mut in_order = places.iter().filter(|place| !world.late.contains(*place));
            prop_assert!(in_order.by_ref().is_sorted());
            for place in places {
                prop_assert_eq!(world.all.get(place), Some(stream));
                prop_assert!(all.insert(*place), "twice");
            }
        }
        prop_assert_eq!(all.len(), world.all.len());
        let queue = &world.queue;
        prop_assert_eq!((queue.len(), queue.next_due()), (0, None));
        prop_assert!(queue.lines.is_empty() && queue.settled.is_empty() && queue.failed == 0);
        prop_assert_eq!((queue.bytes, queue.failed_bytes, queue.spare_bytes), (0, 0, 0));
    }
}

/// A stream whose effect failed had all of the room for what waits behind that, and the others of its partition waited with it.
#[test]
fn a_stream_that_is_stuck_leaves_room_for_the_others() {
    let stuck = std::iter::repeat_n(0, 100);
    let mut world = World::new(SMALL, stuck.chain((0..100).map(|at| 1 + at % 4)));
    for _ in 0..1_000 {
        world.read_all(10);
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
