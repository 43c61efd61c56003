//! Promise: what is counted of dead letters comes and goes: each that is added is redriven or given up later, in the same class.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Recorder, SharedString, Unit};
use millstream_operators::projection::{LetterDecision, LetterOrder};

use super::world::World;
use crate::support::config;

/// Counters of dead letters, of all classes together.
#[derive(Default)]
struct Counters(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Counters {
    fn of(&self, name: &str) -> Arc<AtomicU64> {
        let mut all = self.0.lock().unwrap();
        Arc::clone(all.entry(name.to_owned()).or_default())
    }

    /// Added, redriven, discarded.
    fn figures(&self) -> [u64; 3] {
        ["added", "redriven", "discarded"].map(|what| {
            let counter = self.of(&format!("millstream_dead_letters_{what}_total"));
            counter.load(Ordering::Relaxed)
        })
    }
}

impl Recorder for Counters {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &metrics::Metadata<'_>) -> Counter {
        Counter::from_arc(self.of(key.name()))
    }

    fn register_gauge(&self, _: &Key, _: &metrics::Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &metrics::Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

fn order(world: &World<1>) -> LetterOrder {
    let waiting = world.waiting();
    assert_eq!(waiting.len(), 1);
    LetterOrder::of(&waiting[0], "ann", "why").unwrap()
}

/// Story: an event was counted as a dead letter at its first failure, although it was tried again and recovered, which counted
/// as a redrive; one that failed behind another was not counted at all, and a discard was a redrive besides.
#[test]
fn what_is_added_is_what_somebody_has_to_decide_about() {
    let counters = Counters::default();
    metrics::with_local_recorder(&counters, || {
        let mut world = World::<1>::new(config(3));
        world.poison([0, 1]);
        world.add(&[("a", 0)]);
        while world.step().unwrap() {}
        assert_eq!(world.parked_attempts("a"), Some(1));
        assert_eq!(counters.figures(), [0, 0, 0]);
        world.poison([]);
        world.settle();
        assert_eq!(world.parked_attempts("a"), None);
        assert_eq!(counters.figures(), [0, 0, 0]);

        world.poison([0, 1]);
        world.add(&[("b", 0), ("b", 1)]);
        world.settle();
        assert_eq!(counters.figures(), [1, 0, 0]);
        let redriven = order(&world);
        world.decide(&LetterDecision::Redriven(redriven));
        world.settle();
        assert_eq!(counters.figures(), [1, 0, 0], "it has failed again");
        world.poison([1]);
        let redriven = order(&world);
        world.decide(&LetterDecision::Redriven(redriven));
        world.settle();
        assert_eq!(
            counters.figures(),
            [2, 1, 0],
            "what came behind it has failed"
        );
        // Over a start as well.
        world.crash();
        let discarded = order(&world);
        world.decide(&LetterDecision::Discarded(discarded));
        world.settle();
        world.go_on(Duration::from_millis(50)).unwrap();
        assert_eq!(counters.figures(), [2, 1, 1]);
    });
}
