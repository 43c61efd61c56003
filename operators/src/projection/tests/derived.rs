//! Answers that are kept are those that would be made now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use millstream_engine::state::StateBatch;
use proptest::prelude::*;

use super::super::{AnyReader, Derived, HandedOver, TableMut};
use super::{BY_TAG, Key, ROWS, Row, Stored};

type Map = BTreeMap<Key, Row>;

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Asked {
    Row(Key),
    Rows(Vec<Key>),
    /// Rows whose keys begin so.
    Below(u8),
    Tagged(u8),
    Nothing,
}

/// How it is answered, and how often it had to be.
fn derived(stored: &Stored) -> (Derived<Asked, Map>, Arc<AtomicUsize>) {
    let made = Arc::new(AtomicUsize::new(0));
    let readers: Vec<(_, Arc<dyn AnyReader>)> = vec![("rows", Arc::new(stored.reader.clone()))];
    let count = Arc::clone(&made);
    let board = Arc::clone(&stored.board);
    let derived = Derived::of("asked", board, readers, 8, move |rows, asked: &Asked| {
        count.fetch_add(1, Ordering::Relaxed);
        if *asked == Asked::Nothing {
            return Ok(Map::new());
        }
        let table = rows.table(&ROWS)?;
        let found: Vec<(Key, Row)> = match asked {
            Asked::Row(key) => {
                let row = table.get(key)?;
                row.map(|row| (key.clone(), row)).into_iter().collect()
            }
            Asked::Rows(keys) => {
                let rows = table.get_many(keys)?;
                let rows = keys.iter().cloned().zip(rows);
                rows.filter_map(|(key, row)| Some((key, row?))).collect()
            }
            Asked::Below(first) => table.prefix(first).all()?,
            Asked::Tagged(tag) => {
                let from = (*tag, String::new());
                let rows = table.by_range(&BY_TAG, from..)?.all()?;
                rows.into_iter()
                    .filter(|(_, row)| row.tag == Some(*tag))
                    .collect()
            }
            Asked::Nothing => Vec::new(),
        };
        Ok(found.into_iter().collect())
    });
    (derived, made)
}

fn expected(shown: &Map, asked: &Asked) -> Map {
    let rows = shown.clone().into_iter();
    rows.filter(|(key, row)| match asked {
        Asked::Row(own) => key == own,
        Asked::Rows(keys) => keys.contains(key),
        Asked::Below(first) => key.0 == *first,
        Asked::Tagged(tag) => row.tag == Some(*tag),
        Asked::Nothing => false,
    })
    .collect()
}

#[derive(Clone, Debug)]
enum Step {
    Change(Key, Option<u8>),
    Publish,
    Store,
    Shrink,
    /// What was shown and not stored is taken back.
    Restart,
    Ask(Asked),
}

fn key() -> impl Strategy<Value = Key> {
    (0..3_u8, "[ab]{0,1}")
}

fn step() -> impl Strategy<Value = Step> {
    let asked = prop_oneof![
        key().prop_map(Asked::Row),
        prop::collection::vec(key(), 0..3).prop_map(Asked::Rows),
        (0..3_u8).prop_map(Asked::Below),
        (0..3_u8).prop_map(Asked::Tagged),
        Just(Asked::Nothing),
    ];
    prop_oneof![
        6 => (key(), prop::option::weighted(0.7, 0..3_u8)).prop_map(|(key, tag)| Step::Change(key, tag)),
        4 => Just(Step::Publish),
        2 => Just(Step::Store),
        1 => Just(Step::Shrink),
        1 => Just(Step::Restart),
        8 => asked.prop_map(Step::Ask),
    ]
}

fn change(table: &mut TableMut<Key, Row>, rows: &mut Map, key: &Key, tag: Option<u8>) {
    let row = tag.map(|tag| Row {
        tag: Some(tag),
        code: None,
    });
    match row {
        Some(row) => {
            table.put(key, row.clone());
            rows.insert(key.clone(), row);
        }
        None => {
            table.remove(key);
            rows.remove(key);
        }
    }
    table.check().unwrap();
    table.keep();
}

fn store(stored: &mut Stored, table: &mut TableMut<Key, Row>) {
    let mut writes = Vec::new();
    let handed_over = table.store(&mut writes).unwrap();
    stored.writer.step(vec![StateBatch::new(writes)]).unwrap();
    handed_over.iter().for_each(HandedOver::settle);
}

fn publish(stored: &Stored, table: &mut TableMut<Key, Row>) {
    let _shown = stored.board.show_together();
    table.publish();
}

proptest! {
    /// Goal: an answer is what the rows that are shown say, whatever was shown, stored, let go and taken back since it was
    /// made; asked for again at once it is not made again.
    #[test]
    fn answers_hold_until_their_rows_change(steps in prop::collection::vec(step(), 1..80)) {
        let folder = tempfile::tempdir().unwrap();
        let mut stored = Stored::new(folder.path());
        let mut table = stored.open(true, 0);
        let (derived, made) = derived(&stored);
        let (mut applied, mut shown, mut in_store) = (Map::new(), Map::new(), Map::new());
        for step in steps {
            match step {
                Step::Change(key, tag) => change(&mut table, &mut applied, &key, tag),
                Step::Publish => {
                    publish(&stored, &mut table);
                    shown.clone_from(&applied);
                }
                Step::Store | Step::Shrink => {
                    publish(&stored, &mut table);
                    store(&mut stored, &mut table);
                    shown.clone_from(&applied);
                    in_store.clone_from(&applied);
                    if matches!(step, Step::Shrink) {
                        table.halve();
                    }
                }
                Step::Restart => {
                    let _shown = stored.board.show_together();
                    table = stored.open(false, 0);
                    applied.clone_from(&in_store);
                    shown.clone_from(&in_store);
                }
                Step::Ask(asked) => {
                    let answer = derived.get(&asked).unwrap();
                    prop_assert_eq!(&*answer, &expected(&shown, &asked), "{:?}", asked);
                    let before = made.load(Ordering::Relaxed);
                    prop_assert!(Arc::ptr_eq(&answer, &derived.get(&asked).unwrap()));
                    prop_assert_eq!(made.load(Ordering::Relaxed), before);
                }
            }
        }
    }
}

/// Goal: rows that an answer was not made of do not cost it.
#[test]
fn other_rows_leave_an_answer_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut stored = Stored::new(folder.path());
    let mut table = stored.open(true, 0);
    let (derived, made) = derived(&stored);
    let mut rows = Map::new();
    let own = (0, String::new());
    let own_place = stored.hot.changes().place(&own);
    let others = (1..200).map(|number| (number, String::new()));
    let others = others.filter(|key| stored.hot.changes().place(key) != own_place);
    let others: Vec<Key> = others.collect();
    change(&mut table, &mut rows, &own, Some(1));
    publish(&stored, &mut table);
    let asked = Asked::Row(own.clone());
    let answer = derived.get(&asked).unwrap();
    for other in &others {
        change(&mut table, &mut rows, other, Some(2));
        publish(&stored, &mut table);
        store(&mut stored, &mut table);
        assert!(Arc::ptr_eq(&answer, &derived.get(&asked).unwrap()));
    }
    assert_eq!(made.load(Ordering::Relaxed), 1);
    change(&mut table, &mut rows, &own, Some(3));
    publish(&stored, &mut table);
    let changed = derived.get(&asked).unwrap();
    assert_eq!(changed[&own].tag, Some(3));
    assert_eq!(made.load(Ordering::Relaxed), 2);
}

/// Goal: with rows shown all the time an answer is of one moment, and never older than what was shown before it was asked.
/// Method: in each batch all rows get the same number; two threads ask for one of them, and for all.
#[test]
fn answers_beside_a_writer_are_of_one_moment() {
    const ROUNDS: u8 = 200;
    let folder = tempfile::tempdir().unwrap();
    let stored = Stored::new(folder.path());
    let mut table = stored.open(true, 0);
    let (derived, _) = derived(&stored);
    let keys: Vec<Key> = (0..20).map(|number| (number, String::new())).collect();
    let (shown, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|threads| {
        for all in [false, true] {
            let (derived, keys, shown, is_over) = (&derived, &keys, &shown, &is_over);
            threads.spawn(move || {
                let asked = if all {
                    keys.clone()
                } else {
                    vec![keys[7].clone()]
                };
                let asked = Asked::Rows(asked);
                while !is_over.load(Ordering::Acquire) {
                    let at_least = shown.load(Ordering::Acquire);
                    let answer = derived.get(&asked).unwrap();
                    let tags: Vec<_> = answer.values().map(|row| row.tag).collect();
                    assert!(tags.windows(2).all(|two| two[0] == two[1]), "{tags:?}");
                    let found = tags.first().copied().flatten().unwrap_or(0);
                    assert!(usize::from(found) >= at_least, "{found} {at_least}");
                }
            });
        }
        for round in 1..=ROUNDS {
            for key in &keys {
                change(&mut table, &mut Map::new(), key, Some(round));
            }
            publish(&stored, &mut table);
            shown.store(round.into(), Ordering::Release);
        }
        is_over.store(true, Ordering::Release);
    });
}
