use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The tables against a map: puts and deletes in batches, read back by key, page, walk and count.
    #[test]
    fn rows_are_what_a_map_would_hold(
        batches in prop::collection::vec(
            prop::collection::vec((0usize..2, prop::collection::vec(0u8..3, 0..4), prop::option::of(any::<u8>())), 1..12),
            1..12,
        ),
        limit in 1usize..5,
        from in prop::collection::vec(0u8..3, 0..3),
        per_group in 1usize..4,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (store, mut writer) = open(folder.path());
        let tables = writer.register_projection("p", 1, &["a", "b"]).unwrap().tables;
        let mut model = [BTreeMap::new(), BTreeMap::new()];
        let mut group = Vec::new();
        for batch in batches {
            let mut writes = Vec::new();
            for (table, key, value) in batch {
                let id = tables[table];
                if let Some(value) = value {
                    model[table].insert(key.clone(), vec![value]);
                    writes.push(put(id, &key, &[value]));
                } else {
                    model[table].remove(&key);
                    writes.push(StateWrite::DeleteRow { table: id, key });
                }
            }
            group.push(StateBatch::new(writes));
            if group.len() == per_group {
                writer.step(std::mem::take(&mut group)).unwrap();
            }
        }
        writer.step(group).unwrap();
        for (model, id) in model.into_iter().zip(tables) {
            let mut walked = BTreeMap::new();
            store.for_each(id, |key, value| {
                assert!(walked.insert(key.to_vec(), value.to_vec()).is_none());
                ControlFlow::Continue(())
            }).unwrap();
            prop_assert_eq!(&walked, &model);
            prop_assert_eq!(store.count(id).unwrap(), model.len() as u64);
            for key in model.keys() {
                prop_assert_eq!(store.get(id, key).unwrap(), model.get(key).cloned());
            }
            let page = store.scan(id, Bound::Excluded(&from), limit).unwrap();
            let range = (Bound::Excluded(from.clone()), Bound::Unbounded);
            let expected: Vec<_> = model.range(range).take(limit).map(|(k, v)| (k.clone(), v.clone())).collect();
            prop_assert_eq!(page, expected);
        }
    }
}

#[test]
fn a_batch_that_cannot_be_stored_stores_nothing_and_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut writer) = open(folder.path());
    let table = writer.register_projection("p", 1, &["t"]).unwrap().tables[0];
    let long = vec![1; ROW_KEY_BYTES_MAX + 1];
    let batch = StateBatch::new(vec![put(table, b"a", b"1"), put(table, &long, b"2")]);
    assert!(matches!(
        writer.step(vec![batch]),
        Err(StateError::RowKey { length: 508, .. })
    ));
    assert!(matches!(
        store.get(table, &long),
        Err(StateError::RowKey { .. })
    ));
    assert_eq!(store.get(table, b"a").unwrap(), None);
    commit(&mut writer, vec![put(table, &long[1..], b"2")]);
    assert_eq!(store.get(table, &long[1..]).unwrap().unwrap(), b"2");
}

/// A reader that asks several questions gets one moment, whatever is committed meanwhile.
#[test]
fn a_view_is_one_moment() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut writer) = open(folder.path());
    let projection = writer.register_projection("p", 1, &["t"]).unwrap();
    let write = |n: u64| {
        let progress = StateWrite::Progress {
            projection: projection.id,
            partition: PartitionId(0),
            progress: progress_at(n),
        };
        vec![put(projection.tables[0], b"n", &n.to_be_bytes()), progress]
    };
    commit(&mut writer, write(1));
    store
        .view(|view| {
            assert_eq!(
                view.get(projection.tables[0], b"n")?,
                Some(&1u64.to_be_bytes()[..])
            );
            commit(&mut writer, write(2));
            let seen = view.progress(projection.id, PartitionId(0))?;
            assert_eq!(seen, Some(progress_at(1)));
            Ok(())
        })
        .unwrap();
    let seen = store.progress(projection.id, PartitionId(0)).unwrap();
    assert_eq!(seen, Some(progress_at(2)));
}
