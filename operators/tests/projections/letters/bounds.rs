//! Danger: much waits behind one failed event, failed events are large, or many were edited. What may wait is bounded, the bound
//! is named, and a decision makes room; edits stay in the log.

use std::collections::BTreeSet;

use millstream_operators::projection::{LetterDecision, LetterOrder, ProjectionConfig};

use super::world::World;
use crate::support::config;

/// Steps until it halts; gives why.
fn halted(world: &mut World<1>) -> String {
    for _ in 0..1_000 {
        if let Err(cause) = world.step() {
            return cause;
        }
    }
    panic!("it does not halt");
}

/// Goal: whether the bound is on events or bytes, the letter is stored before the projection halts, starting again
/// changes nothing, and it goes on once somebody has decided, with the same bound.
#[test]
fn followers_are_bounded() {
    let bounds = [
        ProjectionConfig {
            followers_max: 3,
            ..config(1)
        },
        ProjectionConfig {
            followers_bytes_max: 3 * br#"{"Value":1}"#.len() as u64,
            ..config(1)
        },
    ];
    for config in bounds {
        let mut world = World::<1>::new(config);
        world.poison([0]);
        world.add(&[("a", 0), ("a", 1), ("a", 2), ("a", 3), ("b", 1)]);
        world.settle();
        world.add(&[("a", 4), ("b", 2)]);
        for again in 0..3 {
            let cause = halted(&mut world);
            for part in ["note-a", "followers_max", "followers_bytes_max"] {
                assert!(cause.contains(part), "{cause} does not say {part}");
            }
            let letter = world.waiting().remove(0);
            assert_eq!(letter.followers, 4, "the letter that is stored says so");
            if again == 2 {
                let order = LetterOrder::of(&letter, "ann", "in the way").unwrap();
                world.decide(&LetterDecision::Discarded(order));
            }
            world.open();
        }
        world.settle();
        assert!(world.letters().is_empty());
        assert_eq!(world.rows()["a"], [1, 2, 3, 4]);
        assert_eq!(world.rows()["b"], [1, 2]);
    }
}

/// Goal: letters take no more bytes than they may, but for one; a redrive that succeeds makes room.
#[test]
fn bytes_of_letters_are_bounded() {
    let mut world = World::<1>::new(ProjectionConfig {
        parked_bytes_max: 1,
        ..config(1)
    });
    world.poison([0]);
    world.add(&[("a", 0), ("a", 1)]);
    world.settle();
    world.add(&[("b", 0)]);
    let cause = halted(&mut world);
    for part in [
        "1 keys are parked",
        "parked_bytes_max",
        "note-b",
        "cannot bear 0",
    ] {
        assert!(cause.contains(part), "{cause} does not say {part}");
    }
    let order = LetterOrder::of(&world.waiting()[0], "ann", "mended").unwrap();
    world.decide(&LetterDecision::Redriven(order));
    world.poison([]);
    world.open();
    world.settle();
    assert_eq!(world.rows()["a"], [0, 1]);
    assert_eq!(world.rows()["b"], [0]);
}

/// Goal: edits are held to the same bound. One that succeeds needs no room, whatever it takes; one that is larger than its event,
/// has no room and fails halts the projection once its letter shows it, again after each start, until a decision makes room.
#[test]
fn edits_of_letters_are_bounded() {
    const LARGE: usize = 1 << 16;
    let mut world = World::<1>::new(ProjectionConfig {
        parked_bytes_max: LARGE / 2,
        ..config(1)
    });
    world.poison([0]);
    world.add(&[("a", 0), ("b", 0), ("c", 0), ("d", 0)]);
    world.settle();
    let edit = |world: &mut World<1>, key: &str, value: u32| {
        let mut waiting = world.waiting().into_iter();
        let letter = waiting.find(|letter| letter.key == key).unwrap();
        let order = LetterOrder::of(&letter, "ann", "why").unwrap();
        let payload = format!(r#"{{"Value":{value}{}}}"#, " ".repeat(LARGE));
        world.decide(&LetterDecision::Edited { order, payload });
    };
    let shown = |world: &World<1>, key: &str| {
        let letters = world.letters();
        let letter = letters.iter().find(|letter| letter.key == key);
        letter.map(|letter| letter.payload.len() > LARGE)
    };
    edit(&mut world, "note-a", 4);
    world.settle();
    // The first that fails has room beside small ones, and leaves none.
    edit(&mut world, "note-b", 0);
    world.settle();
    assert_eq!(shown(&world, "note-b"), Some(true));
    edit(&mut world, "note-c", 4);
    world.settle();
    assert_eq!(
        (&world.rows()["a"][..], &world.rows()["c"][..]),
        (&[4][..], &[4][..])
    );
    edit(&mut world, "note-d", 0);
    for again in 0..3 {
        let cause = halted(&mut world);
        for part in [
            "2 keys are parked",
            "parked_bytes_max",
            "as edited",
            "cannot bear 0",
        ] {
            assert!(cause.contains(part), "{cause} does not say {part}");
        }
        assert_eq!(shown(&world, "note-d"), Some(true));
        if again == 2 {
            let mut waiting = world.waiting().into_iter();
            let letter = waiting.find(|letter| letter.key == "note-b").unwrap();
            let order = LetterOrder::of(&letter, "ann", "in the way").unwrap();
            world.decide(&LetterDecision::Discarded(order));
        }
        world.open();
    }
    world.add(&[("e", 1)]);
    world.settle();
    assert_eq!(
        (shown(&world, "note-b"), shown(&world, "note-d")),
        (None, Some(true))
    );
    assert_eq!(world.rows()["e"], [1]);
}

/// Goal: a projection that begins holds no payload of an edit, however many there are and however large: each is read from the
/// log when its event comes. Method: what is read of the log by single events, once the decisions were.
#[test]
fn payloads_of_edits_stay_in_the_log() {
    let mut world = World::<1>::new(config(1));
    world.poison([0]);
    world.add(&[("a", 0), ("b", 0), ("c", 0), ("d", 0), ("a", 1), ("b", 2)]);
    world.settle();
    let mut edits = BTreeSet::new();
    for letter in world.waiting() {
        let order = LetterOrder::of(&letter, "ann", "why").unwrap();
        let payload = format!(r#"{{"Value":4{}}}"#, " ".repeat(1 << 16));
        let edit = LetterDecision::Edited { order, payload };
        edits.insert((letter.position.partition.0, world.decide(&edit)));
    }
    assert_eq!(edits.len(), 4);
    world.settle();
    let rows = world.rows();
    assert_eq!((&rows["a"][..], &rows["d"][..]), (&[4, 1][..], &[4][..]));
    let asked = world.note_reads();
    world.rebuild();
    asked.lock().unwrap().clear();
    world.settle();
    assert_eq!(world.rows(), rows);
    let mut read = asked.lock().unwrap().clone();
    read.retain(|place| edits.contains(place));
    read.sort_unstable();
    assert!(read.iter().eq(&edits), "{read:?} of {edits:?}");
}
