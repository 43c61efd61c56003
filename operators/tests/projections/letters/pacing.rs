//! Danger: letters are stored with the rows of their position, so storing each at once writes all that changed each time; and
//! those that wait for it are not there when somebody wants to decide about them.

use std::time::Duration;

use millstream_engine::state::{DeadLetter, DeadLetterStatus};
use millstream_engine::time::Timestamp;
use millstream_operators::projection::{
    FailurePolicy, LetterDecision, LetterOrder, ProjectionConfig,
};

use super::world::World;
use crate::support::config;

const EVERY: Duration = Duration::from_millis(500);
const SHORT: Duration = Duration::from_millis(50);

fn slow(attempts_max: u32) -> ProjectionConfig {
    let config = config(attempts_max);
    ProjectionConfig {
        failures: FailurePolicy {
            backoff_first: Duration::from_millis(20),
            ..config.failures
        },
        store_every_ms: EVERY.as_millis() as u64,
        store_every_behind_ms: 10 * EVERY.as_millis() as u64,
        ..config
    }
}

/// Goal: a key that fails again and again within the time between two stores has its letter written once.
#[test]
fn a_letter_waits_as_long_as_rows_do() {
    let mut world = World::<1>::new(slow(4));
    world.poison([0]);
    world.add(&[("a", 0), ("b", 1)]);
    world.go_on(EVERY - SHORT).unwrap();
    assert!(world.letters().is_empty());
    assert_eq!(world.parked_attempts("a"), Some(4));
    world.go_on(2 * SHORT).unwrap();
    assert_eq!(world.waiting()[0].attempts, 4);
}

/// Story: a letter that was stored while the clock was a day ahead was tried again a day after the start. Goal: it is tried as
/// soon as any may be.
#[test]
fn a_letter_that_was_stored_waits_no_longer_than_it_may() {
    const DAY: Timestamp = Timestamp(86_400_000_000);
    let mut world = World::<1>::new(config(u32::MAX));
    world.poison([0]);
    world.set_clock(DAY);
    world.add(&[("a", 0), ("a", 1)]);
    world.go_on(SHORT).unwrap();
    let letters = world.letters();
    let is_ahead = |letter: &DeadLetter| match letter.status {
        DeadLetterStatus::Retrying { at } => at >= DAY,
        DeadLetterStatus::Dead => false,
    };
    assert!(letters.iter().all(is_ahead) && letters.len() == 1);
    world.set_clock(Timestamp::EPOCH);
    world.poison([]);
    world.crash();
    world.go_on(SHORT).unwrap();
    assert_eq!(world.rows()["a"], [0, 1]);
}

/// Goal: what comes of a decision is stored at once: whoever decides next has to see it.
#[test]
fn a_decision_waits_for_no_store() {
    let mut world = World::<1>::new(slow(1));
    world.poison([0]);
    world.add(&[("a", 0), ("b", 1), ("c", 0)]);
    world.go_on(EVERY).unwrap();
    let mut waiting = world.waiting().into_iter();
    let mut order = |key: &str| {
        let letter = waiting.find(|letter| letter.key == key).unwrap();
        LetterOrder::of(&letter, "ann", "why").unwrap()
    };
    let (first, second) = (order("note-a"), order("note-c"));
    // It has just stored, and has something to store again.
    world.add(&[("b", 2)]);
    world.go_on(EVERY).unwrap();
    world.add(&[("b", 3)]);
    world.decide(&LetterDecision::Redriven(first));
    world.go_on(SHORT).unwrap();
    let letters = world.waiting();
    let letter = letters.iter().find(|letter| letter.key == "note-a");
    assert_eq!(letter.unwrap().redrives, 1, "tried again, and failed");
    world.decide(&LetterDecision::Discarded(second));
    world.go_on(SHORT).unwrap();
    let left: Vec<_> = world
        .letters()
        .into_iter()
        .map(|letter| letter.key)
        .collect();
    assert_eq!(left, ["note-a"]);
}

/// Goal: more keys fail than may be parked, sooner than rows are stored. Letters of the frames before are there, and decisions about
/// them make room.
#[test]
fn a_full_projection_leaves_letters_to_decide_about() {
    let mut world = World::<1>::new(ProjectionConfig {
        parked_keys_max: 4,
        ..slow(1)
    });
    world.poison([0]);
    // All in one partition: a projection has a bound for itself.
    let keys = world.keys_of_one_partition(6);
    let fail = |world: &mut World<1>, keys: &[String]| {
        let events: Vec<_> = keys.iter().map(|key| (&**key, 0)).collect();
        world.add(&events);
    };
    fail(&mut world, &keys[..3]);
    fail(&mut world, &keys[3..]);
    for again in 0..2 {
        let halted = world.go_on(EVERY / 2);
        assert!(halted.unwrap_err().contains("parked_keys_max"));
        assert_eq!(world.waiting().len(), 3);
        if again == 1 {
            for letter in &world.waiting()[..2] {
                let order = LetterOrder::of(letter, "ann", "in the way").unwrap();
                world.decide(&LetterDecision::Discarded(order));
            }
        }
        world.open();
    }
    world.settle();
    assert_eq!(world.waiting().len(), 4);
}

/// Story: after a start all that had been redriven was tried at once, before any live event, whatever
/// `redrives_per_second` said.
#[test]
fn redrives_keep_their_rate_over_a_start() {
    const SECOND: Duration = Duration::from_secs(1);
    let mut world = World::<1>::new(ProjectionConfig {
        parked_keys_max: 100,
        redrives_per_second: 1,
        ..slow(1)
    });
    world.poison([0]);
    world.add(&[("a", 0), ("b", 0), ("c", 0)]);
    world.settle();
    for letter in world.waiting() {
        let order = LetterOrder::of(&letter, "ann", "repaired").unwrap();
        world.decide(&LetterDecision::Redriven(order));
    }
    world.add(&[("d", 1)]);
    world.poison([]);
    world.crash();
    // Hardly any time goes by.
    while world.step().unwrap() {}
    let rows = world.rows();
    assert!(rows.contains_key("d") && rows.len() <= 2, "{rows:?}");
    for tried in 1..=3 {
        world.go_on(SHORT).unwrap();
        assert_eq!(world.rows().len(), 1 + tried);
        world.go_on(SECOND - SHORT).unwrap();
    }
}

/// Story: a projection that had half of what may be parked, and tried keys again all the time, read nothing more.
#[test]
fn keys_that_are_tried_again_hold_nothing_up() {
    let mut world = World::<1>::new(ProjectionConfig {
        parked_keys_max: 4,
        failures: FailurePolicy {
            attempts_max: u32::MAX,
            backoff_first: Duration::ZERO,
            backoff_max: Duration::ZERO,
        },
        ..slow(1)
    });
    world.poison([0]);
    let keys = world.keys_of_one_partition(4);
    for key in &keys[..3] {
        world.add(&[(key, 0)]);
    }
    world.go_on_while_due(2 * EVERY).unwrap();
    assert_eq!(world.letters().len(), 3);
    world.add(&[(&keys[3], 1)]);
    world.go_on_while_due(SHORT).unwrap();
    assert_eq!(world.rows()[&keys[3]], [1]);
}
