//! Danger: a backup of the log is restored beside a state that was kept. Effects of events that the log has lost are never sent,
//! and those of events that come to their places are, each once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_engine::stage::StageCore;
use millstream_engine::time::Timestamp;
use millstream_operators::projection::{
    DeliveryConfig, DeliveryCore, GivenUpEffects, Outlets, QueryError,
};

use super::world::World;
use crate::sending::SENT;

/// The outside: what it was given, and whether it is down. There is a value that it never takes.
#[derive(Clone, Default)]
struct Outside {
    got: Arc<Mutex<Vec<u64>>>,
    is_down: Arc<AtomicBool>,
}

const POISON: u64 = 9;

impl Outside {
    fn take(&self, value: u64) -> Result<(), String> {
        if self.is_down.load(Ordering::SeqCst) || value == POISON {
            return Err(format!("{value} is not taken"));
        }
        self.got.lock().unwrap().push(value);
        Ok(())
    }

    fn deliveries(
        &self,
        world: &World,
        outlets: &Arc<Outlets>,
        config: DeliveryConfig,
    ) -> DeliveryCore {
        let outside = self.clone();
        let deliver = move |effect: millstream_operators::projection::Effect<u64>| {
            let outcome = outside.take(effect.value);
            async { outcome }
        };
        world.deliver_by(outlets, config, deliver).0
    }
}

/// Turns of a delivery until so many effects wait.
async fn until(world: &World, outlets: &Outlets, delivery: &mut DeliveryCore, depth: u64) {
    for _ in 0..1_000 {
        if outlets.depth(SENT.name()) == Some(depth) {
            return;
        }
        turn(world, delivery).await;
    }
    panic!("{:?} wait", outlets.depth(SENT.name()));
}

async fn turn(world: &World, delivery: &mut DeliveryCore) {
    delivery.step();
    while world.steps.step() {}
    tokio::task::yield_now().await;
    world.log.clock.advance(Duration::from_secs(1));
}

/// Values of effects that were given up, and why.
fn given_up(outlets: &Arc<Outlets>) -> Vec<(u64, String)> {
    let listed = GivenUpEffects::<u64>::of(outlets, SENT.name()).list(None, 100);
    let listed = listed.unwrap().into_iter();
    listed
        .map(|(_, one)| one.unwrap())
        .map(|one| (one.effect.value, one.cause))
        .collect()
}

/// Ten events whose effects wait, one of them given up, and a log that has five of the events; with the log that had them all.
async fn restored(outside: &Outside) -> (World, Vec<(Timestamp, u64)>) {
    let mut world = World::new();
    let outlets = world.outlets();
    let mut running = world.open::<1>(&outlets);
    (0..10).for_each(|value| world.append(value));
    world.run(&mut running, 10);
    outside.is_down.store(true, Ordering::SeqCst);
    let config = DeliveryConfig {
        attempts_max: Some(1),
        held_max: 1,
        ..DeliveryConfig::default()
    };
    // The last one first, so that the others wait.
    let kept: Vec<_> = (0..9).map(|_| world.take_out(0)).collect();
    let mut delivery = outside.deliveries(&world, &outlets, config);
    for _ in 0..100 {
        turn(&world, &mut delivery).await;
        if !given_up(&outlets).is_empty() {
            break;
        }
    }
    assert_eq!(given_up(&outlets).len(), 1);
    kept.into_iter().for_each(|row| world.put_back(row));
    drop((running, delivery, outlets));
    let newer = world.history();
    world.restore_log(5);
    world.reset();
    (world, newer)
}

/// Story: effects that waited lay at places that other events came to. The old ones were held in memory and sent, and the new
/// ones, which had been stored in their place, were deleted by that.
#[tokio::test]
async fn effects_of_lost_events_are_put_aside() {
    let outside = Outside::default();
    let (mut world, _) = restored(&outside).await;
    let outlets = world.outlets();
    assert_eq!(outlets.depth(SENT.name()), Some(5));
    let aside = given_up(&outlets);
    assert_eq!(
        aside.iter().map(|(value, _)| *value).collect::<Vec<_>>(),
        [5, 6, 7, 8, 9]
    );
    assert!(
        aside
            .iter()
            .all(|(_, cause)| cause.contains("does not have its event"))
    );
    assert!(
        aside[4].1.contains("after 1 tries: 9 is not taken"),
        "{}",
        aside[4].1
    );
    let mut delivery = outside.deliveries(&world, &outlets, DeliveryConfig::default());
    for _ in 0..3 {
        turn(&world, &mut delivery).await;
    }
    let mut running = world.open::<1>(&outlets);
    (100..105).for_each(|value| world.append(value));
    world.run(&mut running, 10);
    assert_eq!(outlets.depth(SENT.name()), Some(10));
    for _ in 0..3 {
        turn(&world, &mut delivery).await;
    }
    outside.is_down.store(false, Ordering::SeqCst);
    until(&world, &outlets, &mut delivery, 0).await;
    let mut got = outside.got.lock().unwrap().clone();
    got.sort_unstable();
    assert_eq!(got, (0..5).chain(100..105).collect::<Vec<_>>());
    assert!(world.sent().is_empty());
}

/// The log has grown beyond those places before the program was started on it: the times tell that other events stand there. What
/// was put aside cannot be sent again, since it would take the place of another effect; the next start finds it as it is.
#[tokio::test]
async fn effects_of_replaced_events_are_put_aside() {
    let outside = Outside::default();
    let (mut world, _) = restored(&outside).await;
    (100..110).for_each(|value| world.append(value));
    for _ in 0..2 {
        let outlets = world.outlets();
        assert_eq!(world.sent(), (0..5).collect());
        assert_eq!(outlets.depth(SENT.name()), Some(5));
        let aside = given_up(&outlets);
        assert_eq!(aside.len(), 5);
        assert_eq!(aside[4].1.matches("does not have its event").count(), 1);
        let all = GivenUpEffects::<u64>::of(&outlets, SENT.name());
        let (which, _) = all.list(None, 1).unwrap().remove(0);
        let outcome = all.redrive(which).await;
        assert!(
            matches!(outcome, Err(QueryError::EventGone { position }) if position == which.place.position)
        );
    }
}

/// Values of effects that were given up.
fn values(outlets: &Arc<Outlets>) -> Vec<u64> {
    let all = given_up(outlets).into_iter();
    all.map(|(value, _)| value).collect()
}

/// Story: what was put aside for an older log stayed so for ever, also once the newer log was back, and was lost where an effect was
/// given up that had come to its place. And whoever had listed it before threw away that other one.
#[tokio::test]
async fn effects_whose_events_are_back_are_what_they_were() {
    let outside = Outside::default();
    let (mut world, newer) = restored(&outside).await;
    let outlets = world.outlets();
    let all = GivenUpEffects::<u64>::of(&outlets, SENT.name());
    // The second of those that were put aside.
    let (listed_before, six) = all.list(None, 100).unwrap().remove(1);
    assert_eq!(six.unwrap().effect.value, 6);
    let mut running = world.open::<1>(&outlets);
    (100..110).for_each(|value| world.append(value));
    world.run(&mut running, 15);
    let once = DeliveryConfig {
        attempts_max: Some(1),
        ..DeliveryConfig::default()
    };
    let mut delivery = outside.deliveries(&world, &outlets, once);
    until(&world, &outlets, &mut delivery, 0).await;
    let others: Vec<_> = (0..5).chain(100..110).collect();
    assert_eq!(values(&outlets), others);
    // The one that had to make way comes back to its place once that is free.
    let (which, other) = all.list(None, 100).unwrap().remove(6);
    assert_eq!(other.unwrap().effect.value, 101);
    assert_ne!(which, listed_before, "another one has come to the place");
    for settled in [
        all.discard(listed_before).await,
        all.redrive(listed_before).await,
    ] {
        assert!(
            matches!(settled, Err(QueryError::OtherEffect { found, .. }) if found == which.id),
            "{settled:?}"
        );
    }
    assert_eq!(values(&outlets)[6], 101, "it stays");
    assert!(all.discard(which).await.unwrap());
    drop((running, delivery, outlets, all));
    let outlets = world.outlets();
    assert_eq!((values(&outlets)[6], values(&outlets).len()), (6, 15));
    drop(outlets);
    world.put_log(&newer);
    world.reset();
    let expected: Vec<_> = (0..5).chain([100, 102, 103, 9]).chain(105..110).collect();
    for _ in 0..2 {
        let outlets = world.outlets();
        assert_eq!(outlets.depth(SENT.name()), Some(4));
        assert_eq!(world.sent(), (5..9).collect());
        assert_eq!(values(&outlets), expected);
        assert_eq!(given_up(&outlets)[8].1, "9 is not taken");
    }
    let outlets = world.outlets();
    let all = GivenUpEffects::<u64>::of(&outlets, SENT.name());
    let (which, nine) = all.list(None, 100).unwrap().remove(8);
    assert_eq!(nine.unwrap().effect.attempt, 1);
    assert!(all.redrive(which).await.unwrap());
    outside.is_down.store(false, Ordering::SeqCst);
    let mut delivery = outside.deliveries(&world, &outlets, DeliveryConfig::default());
    until(&world, &outlets, &mut delivery, 1).await;
    let mut got = outside.got.lock().unwrap().clone();
    got.sort_unstable();
    assert_eq!(got, [5, 6, 7, 8]);
}

/// The projection applies again what the newer log has behind the older one, and sends it: what was put aside does not come on top.
#[tokio::test]
async fn effects_that_are_sent_anew_are_not_put_back() {
    let outside = Outside::default();
    let (mut world, newer) = restored(&outside).await;
    assert_eq!(values(&world.outlets()), [5, 6, 7, 8, 9]);
    world.put_log(&newer);
    let outlets = world.outlets();
    assert_eq!(given_up(&outlets), []);
    assert_eq!(outlets.depth(SENT.name()), Some(5));
    let mut running = world.open::<1>(&outlets);
    world.run(&mut running, 10);
    assert_eq!(outlets.depth(SENT.name()), Some(10));
    outside.is_down.store(false, Ordering::SeqCst);
    let mut delivery = outside.deliveries(&world, &outlets, DeliveryConfig::default());
    until(&world, &outlets, &mut delivery, 1).await;
    let mut got = outside.got.lock().unwrap().clone();
    got.sort_unstable();
    assert_eq!(got, (0..9).collect::<Vec<_>>());
}

/// Story: a projection that was behind the end of the restored log, and so kept its rows, sent nothing of what came to lie before
/// the place where its effects had begun.
#[test]
fn effects_begin_no_later_than_an_older_log_ends() {
    let mut world = World::new();
    (0..10).for_each(|value| world.append(value));
    drop(world.outlets());
    world.restore_log(5);
    let outlets = world.outlets();
    let mut running = world.open::<1>(&outlets);
    (100..103).for_each(|value| world.append(value));
    world.run(&mut running, 8);
    assert_eq!(world.sent(), (5..8).collect());
}
