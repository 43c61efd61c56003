//! Damaged files: whatever the bytes, opening and reading ends in an answer or a typed error, never in a signal or
//! a panic.
//!
//! Each case runs in a process of its own, since a signal would take the test with it. A process tries a run
//! of cases and says before each one which it is, so that the one that killed it is known.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ops::Bound;
use std::path::Path;

use millstream_engine::store::structure::Scope;
use millstream_engine::store::{Environment, EnvironmentOptions, StoreError, open_or_reset};

use support::random;

mod support;

const TABLES: [&str; 3] = ["wide", "deep", "gone"];

fn options() -> EnvironmentOptions {
    EnvironmentOptions {
        map_bytes_max: 64 << 20,
        preallocate_step_bytes: 0,
        ..EnvironmentOptions::with_databases(&TABLES)
    }
}

/// A file with every kind of page: branches, leaves, overflow runs, and lists of free pages.
fn whole_file(folder: &Path) -> Vec<u8> {
    let environment = Environment::open(folder, options()).unwrap();
    let tables = TABLES.map(|name| environment.table(name).unwrap());
    let mut writer = environment.writer().unwrap();
    let mut seed = 1;
    for round in 0..12u64 {
        let mut txn = writer.begin().unwrap();
        for n in 0..150u64 {
            let key = random(&mut seed).to_be_bytes();
            txn.put(tables[1], &key, &[round as u8; 60]).unwrap();
            let key = (round << 32 | n).to_be_bytes();
            txn.put(tables[2], &key, &[1; 40]).unwrap();
        }
        txn.put(tables[0], &[round as u8; 200], &vec![2; 9_000])
            .unwrap();
        txn.commit().unwrap();
    }
    let mut txn = writer.begin().unwrap();
    for key in (0..6u64).flat_map(|round| (0..150u64).map(move |n| round << 32 | n)) {
        txn.delete(tables[2], &key.to_be_bytes()).unwrap();
    }
    txn.commit().unwrap();
    drop((writer, environment));
    std::fs::read(folder.join("data.mdb")).unwrap()
}

/// Opens, walks, reads everything and writes a little: all that the engine would do with the file.
fn use_everything(folder: &Path) -> Result<u64, StoreError> {
    let environment = Environment::open(folder, options())?;
    environment.check(Scope::Full)?;
    let mut found = 0;
    for name in TABLES {
        let table = environment.table(name)?;
        found += environment.read(|reader| -> Result<u64, StoreError> {
            let mut entries = 0;
            for entry in reader.range(table, Bound::Unbounded, Bound::Unbounded)? {
                let (key, value) = entry?;
                assert!(key.len() + value.len() < 1 << 20);
                entries += 1;
                reader.get(table, key)?;
            }
            Ok(entries)
        })??;
    }
    let mut writer = environment.writer()?;
    for round in 0..3u8 {
        let mut txn = writer.begin()?;
        for name in TABLES {
            txn.put(environment.table(name)?, &[round; 9], &[round; 5_000])?;
        }
        txn.commit()?;
    }
    Ok(found)
}

/// Case `n`: one bit, or, in every sixteenth case, the file's end.
fn damage(bytes: &mut Vec<u8>, n: u64) {
    let mut seed = n;
    if n.is_multiple_of(16) {
        bytes.truncate(random(&mut seed) as usize % bytes.len());
        return;
    }
    // Half of the flips hit the first 64 bytes of a page: headers and pointers, where damage matters most.
    support::flip(bytes, &mut seed, |at| {
        if n.is_multiple_of(2) {
            at & !0xfff | at & 0x3f
        } else {
            at
        }
    });
}

/// Tries the cases that it is told. Does nothing by itself.
#[test]
fn damage_victim() {
    let whole = std::cell::LazyCell::new(|| whole_file(tempfile::tempdir().unwrap().path()));
    support::tried_cases(|n| {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = whole.clone();
        damage(&mut bytes, n);
        std::fs::write(folder.path().join("data.mdb"), bytes).unwrap();
        match use_everything(folder.path()) {
            Ok(_) => "read".to_owned(),
            Err(error) if error.is_damage() => "damage".to_owned(),
            Err(error) => format!("other: {error}"),
        }
    });
}

#[test]
fn flipped_bits_never_end_in_a_signal_or_a_panic() {
    let outcomes = support::try_damage("damage_victim", 300);
    let damage = outcomes
        .iter()
        .filter(|outcome| *outcome == "damage")
        .count();
    // Flips in values and in pages that nothing refers to are read as they are; the others are named.
    assert!(damage > outcomes.len() / 5, "{outcomes:?}");
}

/// State can be rebuilt, so a damaged one is put aside, kept for inspection, and a fresh one made.
#[test]
fn a_damaged_state_is_set_aside_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let whole = whole_file(&state);
    for n in 1..=3 {
        std::fs::write(state.join("data.mdb"), &whole[..whole.len() / 2]).unwrap();
        assert!(
            Environment::open(&state, options())
                .unwrap_err()
                .is_damage()
        );
        let opened = open_or_reset(&state, options()).unwrap();
        let aside = opened.set_aside.expect("it was damaged");
        assert!(aside.ends_with(format!("state.damaged-{n}")), "{aside:?}");
        assert_eq!(
            std::fs::metadata(aside.join("data.mdb")).unwrap().len(),
            whole.len() as u64 / 2
        );
        let table = opened.environment.table("deep").unwrap();
        let entries = opened.environment.read(|reader| reader.len(table)).unwrap();
        assert_eq!(entries.unwrap(), 0);
        let mut writer = opened.environment.writer().unwrap();
        let mut txn = writer.begin().unwrap();
        txn.put(table, b"k", b"v").unwrap();
        txn.commit().unwrap();
        drop((writer, opened.environment));
        let again = open_or_reset(&state, options()).unwrap();
        assert_eq!(again.set_aside, None);
    }
}

/// Story: a database whose name had a wrong bit was missing, so it was made anew beside the other one, and all in it was gone.
/// For a log as for a state.
#[test]
fn a_database_with_another_name_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let whole = whole_file(folder.path());
    let path = folder.path().join("data.mdb");
    for name in TABLES {
        let places = whole.windows(name.len()).enumerate();
        let places = places.filter(|(_, bytes)| *bytes == name.as_bytes());
        let mut named = 0;
        for (place, _) in places {
            for bit in 0..name.len() * 8 {
                let mut damaged = whole.clone();
                damaged[place + bit / 8] ^= 1 << (bit % 8);
                std::fs::write(&path, &damaged).unwrap();
                match Environment::open(folder.path(), options()) {
                    Err(error) => assert!(error.is_damage(), "{error}"),
                    // One of the pages that nothing refers to any more.
                    Ok(environment) => {
                        let table = environment.table(name).unwrap();
                        let entries = environment.read(|reader| reader.len(table)).unwrap();
                        assert_ne!(entries.unwrap(), 0, "{name} is empty");
                        continue;
                    }
                }
                named += 1;
            }
        }
        assert!(named >= name.len() * 8, "{named} of {name}");
    }
}

/// Databases that a later program has besides are none of its business.
#[test]
fn more_databases_than_are_asked_for_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    whole_file(folder.path());
    for names in [&TABLES[..1], &TABLES[1..]] {
        let fewer = EnvironmentOptions {
            databases: names.iter().map(|name| (*name).to_owned()).collect(),
            ..options()
        };
        drop(Environment::open(folder.path(), fewer).unwrap());
    }
    assert!(use_everything(folder.path()).is_ok());
}
