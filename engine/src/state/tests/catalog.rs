use std::ops::Bound;

use super::*;

#[test]
fn ids_are_kept_and_a_new_version_gets_new_ones() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut writer) = open(folder.path());
    let first = writer.register_projection("p", 1, &["a", "b"]).unwrap();
    let second = writer.register_projection("p", 2, &["b", "a"]).unwrap();
    assert_eq!(
        (first.tables.len(), second.tables.len()),
        (2, 2),
        "a table each"
    );
    assert!(first.id != second.id && first.tables.iter().all(|id| !second.tables.contains(id)));
    commit(&mut writer, vec![put(first.tables[0], b"k", b"old")]);
    drop((store, writer));
    let (store, mut writer) = open(folder.path());
    assert_eq!(
        writer.register_projection("p", 1, &["a", "b"]).unwrap(),
        first
    );
    let turned = writer.register_projection("p", 1, &["b", "a"]).unwrap();
    assert_eq!(turned.tables, [first.tables[1], first.tables[0]]);
    assert_eq!(store.table_id("p", 2, "b").unwrap(), Some(second.tables[0]));
    assert_eq!(store.projection_id("p", 1).unwrap(), Some(first.id));
    assert_eq!(store.projection_id("p", 3).unwrap(), None);
    assert_eq!(store.projections().unwrap(), [first.clone(), second]);
    assert_eq!(store.get(first.tables[0], b"k").unwrap().unwrap(), b"old");
}

#[test]
fn other_tables_under_the_same_version_are_refused_with_both_lists() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, mut writer) = open(folder.path());
    let first = writer.register_projection("p", 1, &["a"]).unwrap();
    for other in [&["b"][..], &["a", "b"], &[]] {
        let error = writer.register_projection("p", 1, other).unwrap_err();
        assert!(
            matches!(&error, StateError::Tables { stored, .. } if stored == &["a"]),
            "{error}"
        );
        assert!(error.to_string().contains("raise its version"));
    }
    for (name, tables) in [
        ("", &["a"][..]),
        ("p\n", &["a"]),
        ("p", &["a", "a"]),
        ("q", &[""]),
    ] {
        let error = writer.register_projection(name, 9, tables).unwrap_err();
        assert!(matches!(error, StateError::Name { .. }), "{error}");
    }
    assert_eq!(writer.register_projection("p", 1, &["a"]).unwrap(), first);
}

/// Dropping goes in slices and goes on after a restart; neighbours and a new registration keep their rows.
#[test]
fn a_dropped_projection_goes_in_slices_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut writer) = open(folder.path());
    let gone = writer.register_projection("gone", 1, &["a", "b"]).unwrap();
    let kept = writer.register_projection("kept", 1, &["a"]).unwrap();
    let rows = |table: TableId, count: u32| {
        (0..count)
            .map(|n| put(table, &n.to_be_bytes(), b"row"))
            .collect()
    };
    commit(&mut writer, rows(gone.tables[0], 6_000));
    commit(&mut writer, rows(gone.tables[1], 6_000));
    commit(&mut writer, rows(kept.tables[0], 10));
    let progress = |projection| StateWrite::Progress {
        projection,
        partition: PartitionId(3),
        progress: progress_at(5),
    };
    commit(&mut writer, vec![progress(gone.id), progress(kept.id)]);
    writer.drop_projection("gone", 1).unwrap();
    assert!(matches!(
        writer.drop_projection("gone", 1),
        Err(StateError::UnknownProjection { .. })
    ));
    assert_eq!(store.projection_id("gone", 1).unwrap(), None);
    assert!(writer.step_drops().unwrap(), "more than a slice");
    assert_eq!(store.count(gone.tables[0]).unwrap(), 6_000 - 4_096);
    drop((store, writer));
    let (store, mut writer) = open(folder.path());
    let again = writer.register_projection("gone", 1, &["a", "b"]).unwrap();
    assert!(again.id > kept.id && again.tables[0] > kept.tables[0]);
    commit(&mut writer, rows(again.tables[0], 3));
    while writer.step_drops().unwrap() {}
    assert_eq!(store.count(gone.tables[0]).unwrap(), 0);
    assert_eq!(store.count(gone.tables[1]).unwrap(), 0);
    assert_eq!(store.progress(gone.id, PartitionId(3)).unwrap(), None);
    assert_eq!(store.count(kept.tables[0]).unwrap(), 10);
    assert_eq!(store.count(again.tables[0]).unwrap(), 3);
    assert_eq!(
        store.progress(kept.id, PartitionId(3)).unwrap(),
        Some(progress_at(5))
    );
    let reset = writer.reset_projection("kept", 1).unwrap();
    assert_eq!(store.count(reset.tables[0]).unwrap(), 0);
    assert!(!writer.step_drops().unwrap());
    assert_eq!(store.count(kept.tables[0]).unwrap(), 0);
}

/// Damage costs time, not data: the folder is put aside and a fresh state takes its place, under its own lock.
#[test]
fn a_damaged_state_is_set_aside_and_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let (store, mut writer) = open(&state);
    writer.register_projection("p", 1, &["t"]).unwrap();
    assert_eq!(writer.set_aside(), None);
    drop((store, writer));
    std::fs::write(state.join("data.mdb"), b"not a store").unwrap();
    let (store, writer) = open(&state);
    let aside = writer.set_aside().unwrap();
    assert_eq!(
        std::fs::read(aside.join("data.mdb")).unwrap(),
        b"not a store"
    );
    assert_eq!(store.projections().unwrap(), []);
    assert!(matches!(
        StateStore::open(&state, options()).map(|_| ()),
        Err(StateError::Store(cause)) if cause.is_retryable()
    ));
}

/// Story: what is known of versions was not looked at before it was needed, and then kept the engine from starting.
#[test]
fn damage_of_any_part_of_the_catalog_is_found_at_once() {
    for key in [&b"ap"[..], b"n", b"d\0\0\0\x07"] {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let (store, mut writer) = open(&state);
        writer.register_projection("p", 1, &["t"]).unwrap();
        writer.activate_version("p", 1).unwrap();
        drop((store, writer));
        let (store, mut writer) = open(&state);
        assert_eq!(writer.set_aside(), None);
        let damaged = writer.transact(|of, txn| Ok(txn.put(of.catalog, key, b"garbage")?));
        damaged.unwrap();
        drop((store, writer));
        let (_, writer) = open(&state);
        assert!(writer.set_aside().is_some(), "{key:?}");
    }
}

/// Tables that stay keep their rows, others begin empty, and what goes is deleted; the rest of the projection is untouched.
#[test]
fn tables_are_added_and_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut writer) = open(folder.path());
    let first = writer.set_tables("p", 1, &["a", "b"], &[]).unwrap();
    for table in &first.tables {
        commit(&mut writer, vec![put(*table, b"k", b"old")]);
    }
    let same = writer.set_tables("p", 1, &["b", "a"], &["a", "b"]).unwrap();
    assert_eq!(same.tables, [first.tables[1], first.tables[0]]);
    let changed = writer.set_tables("p", 1, &["c", "b"], &["a", "b"]).unwrap();
    assert_eq!((changed.id, changed.tables[1]), (first.id, first.tables[1]));
    assert!(!first.tables.contains(&changed.tables[0]));
    drop((store, writer));
    let (store, mut writer) = open(folder.path());
    while writer.step_drops().unwrap() {}
    assert_eq!(store.get(first.tables[0], b"k").unwrap(), None);
    assert_eq!(store.get(first.tables[1], b"k").unwrap().unwrap(), b"old");
    assert_eq!(store.projection("p", 1).unwrap(), Some(changed.clone()));
    // One that does not stay begins empty under the same name.
    let emptied = writer.set_tables("p", 1, &["c", "b"], &["c"]).unwrap();
    assert_eq!(emptied.tables[0], changed.tables[0]);
    assert_eq!(store.get(emptied.tables[1], b"k").unwrap(), None);
    let other = writer.register_projection("q", 1, &["a"]).unwrap();
    let all = [&first.tables[..], &changed.tables, &emptied.tables].concat();
    assert!(!all.contains(&other.tables[0]) && other.id != first.id);
}

/// Story: whoever read a table page by page beside an engine that dropped it got fewer rows and no error. Goal: an error, from the
/// moment of the drop on, also where all rows are there still and where a table of the same name takes its place.
#[test]
fn a_table_that_is_dropped_between_two_pages_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut writer) = open(folder.path());
    let page = |table: &FoundTable, from: Bound<&[u8]>| {
        let page = store.page_of(table, from, Bound::Unbounded, 1)?;
        Ok::<_, StateError>(page.rows.into_iter().map(|(key, _)| key).next())
    };
    let mut drops: [&mut dyn FnMut(&mut StateWriter); 3] = [
        &mut |writer| writer.drop_projection("p", 1).unwrap(),
        &mut |writer| drop(writer.reset_projection("p", 1).unwrap()),
        &mut |writer| drop(writer.set_tables("p", 1, &["a"], &[]).unwrap()),
    ];
    for dropping in &mut drops {
        let registered = writer.set_tables("p", 1, &["a"], &[]).unwrap();
        let table = registered.found(registered.tables[0]);
        let rows = [&b"k"[..], b"l"].map(|key| put(table.id, key, b"row"));
        commit(&mut writer, rows.to_vec());
        assert_eq!(page(&table, Bound::Unbounded).unwrap().unwrap(), b"k");
        dropping(&mut writer);
        while {
            let rest = page(&table, Bound::Excluded(b"k"));
            assert!(matches!(rest, Err(StateError::Dropped { .. })), "{rest:?}");
            writer.step_drops().unwrap()
        } {}
    }
}
