use millstream_engine::state::StateBatch;

use super::super::{AnyReader, HandedOver, TableSet};
use super::{Key, Row, Stored};

type Tables = (super::Table<Key, Row>,);

fn key(number: u8) -> Key {
    (number, String::new())
}

const EMPTY: Row = Row {
    tag: None,
    code: None,
};

/// Shows what changed, and stores it.
fn store(stored: &mut Stored, tables: &mut <Tables as TableSet>::Writers) {
    tables.0.publish();
    let mut writes = Vec::new();
    let handed_over = tables.0.store(&mut writes).unwrap();
    stored.writer.step(vec![StateBatch::new(writes)]).unwrap();
    handed_over.iter().for_each(HandedOver::settle);
}

/// Goal: what is let go is the half that was used longest ago, reading included; every row is there afterwards.
#[test]
fn rows_that_are_used_stay_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let mut stored = Stored::new(folder.path());
    let mut tables = (stored.open(true, 0),);
    for number in 0..100 {
        tables.0.put(&key(number), EMPTY);
        tables.0.check().unwrap();
        tables.0.keep();
    }
    for number in 0..20 {
        assert_eq!(tables.0.get(&key(number)), Some(&EMPTY));
        tables.0.check().unwrap();
        tables.0.keep();
    }
    store(&mut stored, &mut tables);
    Tables::shrink(&mut tables);
    let in_memory = |stored: &Stored| -> Vec<u8> {
        let all = (0..100).filter(|number| stored.hot.find(&key(*number)).is_some());
        all.collect()
    };
    let expected: Vec<u8> = (0..20).chain(71..100).collect();
    assert_eq!(in_memory(&stored), expected);
    assert_eq!(tables.0.rows(), expected.len());
    for number in 0..100 {
        assert_eq!(stored.reader.get(&key(number)).unwrap(), Some(EMPTY));
        assert_eq!(tables.0.get(&key(number)), Some(&EMPTY));
    }
    // All of one event: some are let go nevertheless, or the bound would be exceeded for ever.
    tables.0.check().unwrap();
    tables.0.keep();
    Tables::shrink(&mut tables);
    assert_eq!((tables.0.rows(), in_memory(&stored)), (0, Vec::new()));
    assert_eq!(tables.0.get(&key(7)), Some(&EMPTY));
    assert_eq!(tables.0.get(&key(101)), None);
}

/// Story: rows that an actor had shown and stored before it failed stayed in the readers' map for ever, and no bound counted them.
/// Goal: the next one lets them go, but not those of another actor; readers see what is stored.
#[test]
fn rows_of_an_actor_that_failed_are_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let mut stored = Stored::new(folder.path());
    let other = {
        let mut other = stored.open(true, 1);
        other.put(&key(200), EMPTY);
        other.check().unwrap();
        other.keep();
        other
    };
    let mut others = (other,);
    store(&mut stored, &mut others);
    for restart in 0..3u8 {
        let mut tables = (stored.open(restart == 0, 0),);
        for number in 0..20 {
            tables.0.put(&key(20 * restart + number), EMPTY);
            tables.0.check().unwrap();
            tables.0.keep();
            if number == 9 {
                store(&mut stored, &mut tables);
            }
        }
        // Shown and not stored: taken back, and made anew by whoever comes next.
        tables.0.publish();
        let shown = (0..=200).filter(|number| stored.hot.find(&key(*number)).is_some());
        assert_eq!(shown.count(), 20 + 1, "after {restart} restarts");
    }
    drop(stored.open(false, 0));
    let shown = |number: &u8| stored.hot.find(&key(*number)).is_some();
    assert_eq!((0..=200).filter(shown).collect::<Vec<_>>(), [200]);
    for restart in 0..3u8 {
        let row = |number: u8| stored.reader.get(&key(20 * restart + number)).unwrap();
        assert_eq!((row(0), row(9), row(10)), (Some(EMPTY), Some(EMPTY), None));
    }
}

/// Story: rows and keys of a version that was dropped stayed in memory until the process ended. Goal: they go, those as well that
/// an actor has which is about to be gone; of a version that was not dropped nothing goes.
#[test]
fn rows_of_a_version_that_was_dropped_are_freed() {
    let folder = tempfile::tempdir().unwrap();
    let mut stored = Stored::new(folder.path());
    let mut open = |actor: u16| {
        let mut tables = (stored.open(true, actor),);
        for number in 0..10 {
            tables.0.put(&(number, actor.to_string()), EMPTY);
            tables.0.check().unwrap();
            tables.0.keep();
        }
        store(&mut stored, &mut tables);
        tables
    };
    let (gone, late) = (open(0), open(1));
    drop(gone);
    let in_memory = |stored: &Stored| (stored.hot.all().len(), stored.hot.left_count());
    stored.reader.free_dropped();
    assert_eq!(in_memory(&stored), (20, 10));
    stored.reader.board().drop_version();
    stored.reader.free_dropped();
    assert_eq!(in_memory(&stored), (0, 0));
    drop(late);
    assert_eq!(in_memory(&stored), (0, 0));
}
