use millstream_engine::state::StateBatch;

use super::super::{HandedOver, TableSet};
use super::{Key, Row, Stored};

type Tables = (super::Table<Key, Row>,);

fn key(number: u8) -> Key {
    (number, String::new())
}

const EMPTY: Row = Row {
    tag: None,
    code: None,
};

/// Goal: what is let go is the half that was used longest ago, reading included; every row is there afterwards.
#[test]
fn rows_that_are_used_stay_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let mut stored = Stored::new(folder.path());
    let mut tables = (stored.open(true, 0),);
    let mut store = |tables: &mut <Tables as TableSet>::Writers| {
        tables.0.publish();
        let mut writes = Vec::new();
        let handed_over = tables.0.store(&mut writes).unwrap();
        stored.writer.step(vec![StateBatch::new(writes)]).unwrap();
        handed_over.iter().for_each(HandedOver::settle);
    };
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
    store(&mut tables);
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
