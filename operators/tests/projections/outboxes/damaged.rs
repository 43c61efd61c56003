//! Danger: a bit of a stored effect has become another one, which LMDB does not notice and its seal says.
//! Story: one such row was an error of the page that it lay on. The delivery of its partition was given up after its restarts, in
//! every process; or the engine did not start any more, and those that were given up could be neither listed nor discarded.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_engine::stage::{StageCore, Step};
use millstream_operators::projection::{
    DeliveryConfig, DeliveryCore, EffectsThat, GivenUpEffects, Outlets, StoredEffects,
};

use super::world::World;
use crate::sending::SENT;

/// One try each.
fn once() -> DeliveryConfig {
    DeliveryConfig {
        attempts_max: Some(1),
        ..DeliveryConfig::default()
    }
}

/// Values that were delivered.
type Got = Arc<Mutex<Vec<u64>>>;

/// A delivery that takes values from there on.
fn deliveries(world: &World, outlets: &Arc<Outlets>, from: u64) -> (DeliveryCore, Got) {
    let got = Got::default();
    let own = Arc::clone(&got);
    let deliver = move |effect: millstream_operators::projection::Effect<u64>| {
        let is_taken = effect.value >= from;
        if is_taken {
            own.lock().unwrap().push(effect.value);
        }
        async move {
            is_taken
                .then_some(())
                .ok_or_else(|| "it is not taken".to_owned())
        }
    };
    (world.deliver_by(outlets, once(), deliver).0, got)
}

/// Turns of a delivery until no effect waits.
async fn until_empty(world: &World, outlets: &Outlets, delivery: &mut DeliveryCore) {
    for _ in 0..1_000 {
        if outlets.depth(SENT.name()) == Some(0) {
            return;
        }
        let step = delivery.step();
        assert!(!matches!(step, Step::Failed(_)), "{step:?}");
        while world.steps.step() {}
        tokio::task::yield_now().await;
        world.log.clock.advance(Duration::from_secs(1));
    }
    panic!("{:?} wait", outlets.depth(SENT.name()));
}

/// Offsets of effects that were given up and can be read, and of the others.
fn given_up(all: &GivenUpEffects<u64>) -> (Vec<u64>, Vec<u64>) {
    let listed = all.list(None, 100).unwrap();
    let (read, not): (Vec<_>, Vec<_>) = listed.iter().partition(|(_, one)| one.is_ok());
    let offsets = |part: Vec<&(millstream_operators::projection::GivenUpId, _)>| {
        let places = part.into_iter().map(|(which, _)| which.place);
        places.map(|place| place.position.offset.0).collect()
    };
    (offsets(read), offsets(not))
}

/// One that waits fails by itself when it is its turn, and the others are delivered.
#[tokio::test]
async fn a_damaged_effect_keeps_no_other_waiting() {
    let mut world = World::new();
    let outlets = world.outlets();
    let mut running = world.open::<1>(&outlets);
    (0..5).for_each(|value| world.append(value));
    world.run(&mut running, 5);
    (1..=2).for_each(|at| world.damage(at));
    outlets.observe(&*world.log.clock).unwrap();
    let (mut delivery, got) = deliveries(&world, &outlets, 0);
    until_empty(&world, &outlets, &mut delivery).await;
    let mut got = got.lock().unwrap().clone();
    got.sort_unstable();
    assert_eq!(got, [0, 3, 4]);
    let all = GivenUpEffects::<u64>::of(&outlets, SENT.name());
    assert_eq!(given_up(&all), (vec![], vec![1, 2]));
    for (which, _) in all.list(None, 100).unwrap() {
        assert!(all.redrive(which).await.is_err());
        assert!(all.discard(which).await.unwrap());
    }
    assert_eq!(given_up(&all), (vec![], vec![]));
}

/// A start looks at the last that waits and at all that were given up. Whoever looks into the folder sees them as well.
#[tokio::test]
async fn a_start_passes_over_damaged_effects() {
    let mut world = World::new();
    let outlets = world.outlets();
    let mut running = world.open::<1>(&outlets);
    (0..3).for_each(|value| world.append(value));
    world.run(&mut running, 3);
    let (mut delivery, _) = deliveries(&world, &outlets, 3);
    until_empty(&world, &outlets, &mut delivery).await;
    (3..6).for_each(|value| world.append(value));
    world.run(&mut running, 6);
    drop((running, delivery, outlets));
    world.damage(2);
    world.damage_given_up(1);

    let outlets = world.outlets();
    assert_eq!(outlets.depth(SENT.name()), Some(3));
    outlets.observe(&*world.log.clock).unwrap();
    let all = GivenUpEffects::<u64>::of(&outlets, SENT.name());
    assert_eq!(given_up(&all), (vec![0, 2], vec![1]));
    let stored = StoredEffects::all(&world.state.store, None).unwrap();
    for that in [EffectsThat::Wait, EffectsThat::AreGivenUp] {
        let (page, _) = stored[0].page(that, None, 100).unwrap();
        let read = page.iter().filter(|one| one.event.is_some());
        assert_eq!((page.len(), read.count()), (3, 2), "{that:?}");
    }
    let (damaged, _) = all.list(None, 100).unwrap().remove(1);
    assert!(all.discard(damaged).await.unwrap());
    let (mut delivery, got) = deliveries(&world, &outlets, 0);
    until_empty(&world, &outlets, &mut delivery).await;
    let mut got = got.lock().unwrap().clone();
    got.sort_unstable();
    assert_eq!(got, [3, 4]);
    assert_eq!(given_up(&all), (vec![0, 2], vec![5]));
}
