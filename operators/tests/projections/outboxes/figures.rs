//! The figures of an outbox are those of what is stored.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Recorder, SharedString, Unit};
use millstream_engine::stage::{StageCore, Step};
use millstream_engine::time::Timestamp;
use millstream_operators::projection::{Outlets, tell_undeclared};

use super::within;
use super::world::World;
use crate::sending::SENT;

/// Gauges by name.
#[derive(Default)]
struct Gauges(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Gauges {
    fn of(&self, name: &str) -> Arc<AtomicU64> {
        let mut all = self.0.lock().unwrap();
        Arc::clone(all.entry(name.to_owned()).or_default())
    }

    fn value(&self, name: &str) -> f64 {
        f64::from_bits(self.of(name).load(Ordering::Relaxed))
    }
}

impl Recorder for Gauges {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &metrics::Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &metrics::Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.of(key.name()))
    }

    fn register_histogram(&self, _: &Key, _: &metrics::Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// Goal: the figures of an outbox are those of what is stored, whoever delivers or does not. Method: a delivery that has no
/// turn, as one that was given up, and effects that come all the same; then one that delivers. Its own figures stood still.
#[tokio::test]
async fn figures_are_those_of_what_is_stored() {
    let (mut world, gauges) = (World::new(), Gauges::default());
    let figures = |world: &World, outlets: &Arc<Outlets>| {
        outlets.observe(&*world.log.clock).unwrap();
        let names = ["effects", "oldest_seconds", "full"];
        names.map(|name| gauges.value(&format!("millstream_outbox_{name}")))
    };
    let bytes = || gauges.value("millstream_outbox_bytes");
    let outlets = metrics::with_local_recorder(&gauges, || world.outlets());
    let delivery = world.bound(&outlets, 3);
    let mut running = world.open::<1>(&outlets);
    assert_eq!(figures(&world, &outlets), [0.0, 0.0, 0.0]);
    world.append(1);
    world.run(&mut running, 1);
    world.log.clock.advance(Duration::from_secs(60));
    assert_eq!(figures(&world, &outlets)[0], 1.0);
    assert!(figures(&world, &outlets)[1] >= 60.0);
    let one = bytes();
    (0..2).for_each(|_| world.append(1));
    world.run(&mut running, 3);
    let [effects, _, is_full] = figures(&world, &outlets);
    assert_eq!((effects, is_full, bytes()), (3.0, 1.0, 3.0 * one));
    drop((running, delivery));
    // The next start finds the same.
    let outlets = metrics::with_local_recorder(&gauges, || world.outlets());
    let mut delivery = world.bound(&outlets, 3);
    let [effects, _, is_full] = figures(&world, &outlets);
    assert_eq!((effects, is_full, bytes()), (3.0, 1.0, 3.0 * one));
    let delivered = async {
        while outlets.depth(SENT.name()) > Some(0) {
            assert!(matches!(delivery.step(), Step::IdleUntil(_)));
            while world.steps.step() {}
            tokio::task::yield_now().await;
        }
    };
    within(delivered).await;
    assert_eq!(figures(&world, &outlets), [0.0, 0.0, 0.0]);
    assert_eq!(bytes(), 0.0);
}

/// Story: where the oldest effect was damaged, the figure of how long it has waited was zero, and no alert came. Goal: it is that
/// of the oldest that can be read; where none can, it grows from when that is seen, and is what it was once one can be read again.
#[test]
fn the_oldest_that_can_be_read_says_how_long_effects_have_waited() {
    let (mut world, gauges) = (World::new(), Gauges::default());
    let outlets = metrics::with_local_recorder(&gauges, || world.outlets());
    let mut running = world.open::<1>(&outlets);
    let oldest = |world: &World| {
        outlets.observe(&*world.log.clock).unwrap();
        gauges.value("millstream_outbox_oldest_seconds").round()
    };
    let seconds = |world: &World, seconds| world.log.clock.advance(Duration::from_secs(seconds));
    world.append(1);
    world.run(&mut running, 1);
    seconds(&world, 60);
    world.append(1);
    world.run(&mut running, 2);
    seconds(&world, 30);
    assert_eq!(oldest(&world), 90.0);
    let damaged = || b"damaged".to_vec();
    let first = world.store_as(0, damaged());
    assert_eq!(oldest(&world), 30.0);
    let second = world.store_as(1, damaged());
    assert_eq!(oldest(&world), 0.0, "seen just now");
    seconds(&world, 400);
    assert_eq!(oldest(&world), 400.0);
    world.store_as(1, second);
    assert_eq!(oldest(&world), 430.0);
    world.store_as(0, first);
    assert_eq!(oldest(&world), 490.0);
}

/// Story: for as long as stamps lay ahead of a clock that had been set back, effects that waited were as old as nothing, and no
/// alert came.
#[test]
fn effects_grow_old_also_after_the_clock_was_set_back() {
    let (mut world, gauges) = (World::new(), Gauges::default());
    let outlets = metrics::with_local_recorder(&gauges, || world.outlets());
    let mut running = world.open::<1>(&outlets);
    let oldest = |world: &World| {
        outlets.observe(&*world.log.clock).unwrap();
        gauges.value("millstream_outbox_oldest_seconds").round()
    };
    let seconds = |world: &World, seconds| world.log.clock.advance(Duration::from_secs(seconds));
    seconds(&world, 3_600);
    (0..2).for_each(|_| world.append(1));
    world.run(&mut running, 2);
    world.log.clock.set(Timestamp::EPOCH);
    assert_eq!(oldest(&world), 0.0, "seen just now");
    seconds(&world, 400);
    assert_eq!(oldest(&world), 400.0);
    world.take_out(0);
    assert_eq!(oldest(&world), 400.0, "the next has been there as long");
    world.append(1);
    world.run(&mut running, 3);
    world.take_out(0);
    assert_eq!(oldest(&world), 0.0);
    seconds(&world, 10);
    assert_eq!(oldest(&world), 10.0);
}

/// Story: effects of an outbox that the next program did not declare waited for ever, and nothing said so. Goal: a start tells how
/// many of each, in figures as well, and passes over those that are declared.
#[test]
fn effects_that_nobody_sends_are_told_of() {
    let (mut world, gauges) = (World::new(), Gauges::default());
    let outlets = metrics::with_local_recorder(&gauges, || world.outlets());
    let mut running = world.open::<1>(&outlets);
    (0..3).for_each(|_| world.append(1));
    world.run(&mut running, 3);
    let (_, row) = world.take_out(2);
    for (outbox, offset) in [("letters", 1), ("letters", 7), ("sent out", 2)] {
        let place: [&[u8]; 4] = [b"\0", &[0; 2], &u64::to_be_bytes(offset), &[0; 4]];
        let key = [outbox.as_bytes(), &place.concat()].concat();
        world.put_back((key, row.clone()));
    }
    let told = |is_declared: fn(&str, &str) -> bool| {
        let told = tell_undeclared(&world.state.store, is_declared).unwrap();
        let told = told.into_iter();
        told.map(|one| (one.projection, one.outbox, one.effects))
            .collect::<Vec<_>>()
    };
    let of = |outbox: &str, effects| ("sends".to_owned(), outbox.to_owned(), effects);
    let all = [of("letters", 2), of("sent", 2), of("sent out", 1)];
    assert_eq!(told(|_, _| false), all);
    assert_eq!(told(|projection, _| projection == "sends"), []);
    metrics::with_local_recorder(&gauges, || {
        assert_eq!(told(|_, outbox| outbox != "sent"), all[1..2]);
    });
    let figure = || gauges.value("millstream_outbox_undeclared_effects");
    assert_eq!(figure(), 2.0);
    // A start of a program that declares it.
    metrics::with_local_recorder(&gauges, || world.outlets());
    assert_eq!(figure(), 0.0);
}
