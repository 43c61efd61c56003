//! Promise: changes as bytes, for those who do not know the types of a table, are the changes of its feed.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_engine::codec::to_vec;
use millstream_engine::state::StateError;
use millstream_operators::projection::{
    ChangeCursor, ChangesFrom, RawChange, RawChanges, RawChangesError, Retention, RowChange,
};

use super::world::World;

/// Changes that one read gives.
const PAGE: u64 = 256;

fn all(changes: &mut RawChanges) -> Vec<RawChange> {
    std::iter::from_fn(|| changes.try_next().unwrap()).collect()
}

/// Those of each actor.
fn by_actor(changes: &[RawChange]) -> BTreeMap<u16, Vec<&RawChange>> {
    let mut found = BTreeMap::<_, Vec<_>>::new();
    for change in changes {
        found.entry(change.actor).or_default().push(change);
    }
    found
}

/// All of the feed.
fn typed(world: &World<false>) -> Vec<RowChange<String, Vec<u32>>> {
    let changes = world.list().changes(ChangesFrom::Oldest).unwrap();
    let mut changes = changes.with_before();
    std::iter::from_fn(|| changes.try_next().unwrap()).collect()
}

/// Many events of one partition, and a few of the other in between.
fn uneven(world: &mut World<false>) {
    // One key of each partition.
    let (many, few) = (
        "a",
        if of_first("a") == of_first("b") {
            "c"
        } else {
            "b"
        },
    );
    assert_ne!(of_first(many), of_first(few), "one of each partition");
    for n in 0..400 {
        world.add(&[(many, 1 + n % 5)]);
        if n % 16 == 0 {
            world.add(&[(few, 1 + n % 3)]);
        }
        world.advance(Duration::from_millis(1));
    }
    world.settle();
}

/// Whether a key is of the first of two partitions.
fn of_first(key: &str) -> bool {
    let stream = millstream_engine::event::StreamId::new("note", key).unwrap();
    stream.partition(2).0 == 0
}

/// Goal: changes of several actors come once, as they were recorded, over several pages, whoever goes on from wherever; and an
/// actor that has nothing more is not read again for each change of another.
#[test]
fn changes_of_several_actors_come_page_by_page() {
    let mut world = World::<false>::new(Retention::FOREVER);
    uneven(&mut world);
    let mut changes = world.raw().changes(None).unwrap();
    let found = all(&mut changes);
    let counts: Vec<_> = by_actor(&found)
        .values()
        .map(|own| own.len() as u64)
        .collect();
    assert_eq!(counts.iter().sum::<u64>(), 2 * 425);
    assert!(counts.iter().any(|count| *count > 2 * PAGE), "{counts:?}");
    assert!(counts.iter().any(|count| *count < PAGE), "{counts:?}");
    // A page that is not full may be followed by another one, of either actor, and so may the end.
    let pages: u64 = counts.iter().map(|count| count.div_ceil(PAGE)).sum();
    assert!(changes.reads() >= pages, "{} reads", changes.reads());
    assert!(
        changes.reads() <= pages + 2 * counts.len() as u64,
        "{} reads",
        changes.reads()
    );
    assert!(found.is_sorted_by_key(|change| change.stamp.recorded_at));
    for own in by_actor(&found).values() {
        assert!(
            own.iter()
                .map(|change| change.number)
                .eq(1..=own.len() as u64)
        );
    }
    // The same as with its types.
    let place = |stamp: &millstream_operators::projection::Stamp, key: &[u8]| {
        (
            stamp.position.partition,
            stamp.position.offset,
            key.to_vec(),
        )
    };
    let row = |row: Option<&Vec<u32>>| row.map(|row| to_vec(row).unwrap());
    let mut raw: Vec<_> = found
        .iter()
        .map(|one| {
            (
                place(&one.stamp, &one.key),
                one.before.clone(),
                one.row.clone(),
            )
        })
        .collect();
    let mut typed: Vec<_> = typed(&world)
        .iter()
        .map(|one| {
            let place = place(&one.stamp, one.key.as_bytes());
            (place, row(one.before.as_ref()), row(one.row.as_ref()))
        })
        .collect();
    raw.sort_unstable();
    typed.sort_unstable();
    assert_eq!(raw, typed);
}

/// Goal: a place that was given goes on behind what was given, and what comes later is found by who had come to the end.
#[test]
fn it_goes_on_from_any_place() {
    let mut world = World::<false>::new(Retention::FOREVER);
    uneven(&mut world);
    let mut changes = world.raw().changes(None).unwrap();
    let mut found = Vec::new();
    let mut places = vec![changes.cursor()];
    while let Some(change) = changes.try_next().unwrap() {
        found.push(change);
        places.push(changes.cursor());
    }
    for given in [0, 1, 33, 255, 256, 257, 511, found.len() - 1, found.len()] {
        let place: ChangeCursor = places[given].to_string().parse().unwrap();
        let mut rest = world.raw().changes(Some(&place)).unwrap();
        assert_eq!(all(&mut rest), found[given..], "behind {given}");
        assert_eq!(rest.cursor(), places[found.len()]);
    }
    world.add(&[("a", 2), ("b", 2), ("c", 2)]);
    world.settle();
    let later = all(&mut changes);
    assert_eq!(later.len(), 2 * 3);
    assert_eq!(all(&mut world.raw().changes(places.last()).unwrap()), later);
}

/// Goal: changes of events that waited behind one that failed are marked, and no others.
#[test]
fn what_was_freed_late_says_so() {
    let mut world = World::<false>::new(Retention::FOREVER);
    world.add(&[("a", 1), ("b", 1)]);
    world.settle();
    world.poison([5]);
    world.add(&[("a", 5), ("a", 2), ("b", 2), ("c", 2)]);
    world.settle();
    world.poison([]);
    world.settle();
    let found = all(&mut world.raw().changes(None).unwrap());
    let late = found.iter().filter(|change| change.is_late);
    let rows = late.filter(|change| change.key == b"a");
    let rows: Vec<_> = rows.map(|change| change.row.clone().unwrap()).collect();
    assert_eq!(
        rows,
        [&[1, 5][..], &[1, 5, 2]].map(|row| to_vec(&row).unwrap())
    );
    // Each event changes the row of its key and one more.
    assert_eq!(found.iter().filter(|change| change.is_late).count(), 2 * 2);
    assert_eq!(found.len(), 2 * 6);
}

/// Story: of a table that was dropped meanwhile there was not one change, as of one in which nothing ever happened.
#[test]
fn a_table_that_was_dropped_is_no_table_without_changes() {
    let mut world = World::<false>::new(Retention::FOREVER);
    world.add(&[("a", 1), ("b", 1)]);
    world.settle();
    let raw = world.raw();
    assert!(raw.changes(None).unwrap().try_next().unwrap().is_some());
    world.drop_projection();
    let refused = raw.changes(None).unwrap_err();
    let is_dropped = |error: &StateError| matches!(error, StateError::Dropped { .. });
    assert!(
        matches!(&refused, RawChangesError::State(error) if is_dropped(error)),
        "{refused}"
    );
    assert!(is_dropped(&raw.history(b"a").unwrap_err()));
}

/// Goal: who is ahead of what is stored is told so, and what can be done; and is served once it is stored again.
#[test]
fn a_place_that_is_not_stored_is_told() {
    let mut world = World::<false>::new(Retention::FOREVER);
    world.add(&[("a", 1), ("b", 1), ("c", 1)]);
    world.settle();
    world.keep_state();
    world.add(&[("a", 2), ("b", 2), ("c", 2)]);
    world.settle();
    let mut changes = world.raw().changes(None).unwrap();
    assert_eq!(all(&mut changes).len(), 2 * 6);
    let place = changes.cursor();
    drop(changes);
    world.lose_state();
    let refused = world.raw().changes(Some(&place)).unwrap_err();
    assert!(matches!(refused, RawChangesError::NotStored), "{refused}");
    assert!(
        refused.to_string().contains("begin without a cursor"),
        "{refused}"
    );
    world.settle();
    assert_eq!(
        world
            .raw()
            .changes(Some(&place))
            .unwrap()
            .try_next()
            .unwrap(),
        None
    );
}
