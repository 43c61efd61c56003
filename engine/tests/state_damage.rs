//! Flipped bits in the file of the state: opened and read, each ends in an answer, a typed error or a fresh state, never
//! in a signal or a panic. As in `store_damage`, the cases run in processes of their own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ops::ControlFlow;
use std::path::Path;

use millstream_engine::event::{Offset, PartitionId, Position, StreamId};
use millstream_engine::log::frame::{Encoding, FrameHash, Kind};
use millstream_engine::state::{
    DeadLetter, DeadLetterStatus, Progress, Snapshot, StateBatch, StateError, StateOptions,
    StateStore, StateWrite,
};
use millstream_engine::time::Timestamp;

use support::random;

mod support;

const STREAMS: u64 = 6;

fn options() -> StateOptions {
    StateOptions {
        map_bytes_max: 64 << 20,
        preallocate_step_bytes: 0,
        ..StateOptions::default()
    }
}

fn stream(n: u64) -> StreamId {
    format!("account-{n}").parse().unwrap()
}

/// The state of a stream; every version is told by its first byte.
fn state_of(n: u64, version: u8) -> Vec<u8> {
    let mut seed = n;
    let mut bytes: Vec<u8> = (0..10_000)
        .flat_map(|_| random(&mut seed).to_le_bytes())
        .collect();
    bytes[0] = version;
    bytes
}

/// A state with something in every database, whose snapshots are chains of three parts.
fn whole_file(folder: &Path) -> Vec<u8> {
    let (store, mut writer) = StateStore::open(folder, options()).unwrap();
    let projection = writer.register_projection("p", 1, &["t"]).unwrap();
    writer.register_projection("gone", 1, &["t"]).unwrap();
    writer.drop_projection("gone", 1).unwrap();
    let mut writes = Vec::new();
    for n in 0..500u64 {
        writes.push(StateWrite::PutRow {
            table: projection.tables[0],
            key: n.to_be_bytes().to_vec(),
            value: vec![n as u8; 50],
        });
    }
    for (n, version) in (0..3).flat_map(|version| (0..STREAMS).map(move |n| (n, version))) {
        let position = Position {
            partition: PartitionId(1),
            offset: Offset(n),
        };
        let snapshot = Snapshot {
            aggregate_version: 1,
            stream_version: u64::from(version),
            position,
            frame: FrameHash([3; 32]),
            bytes: state_of(n, version),
        };
        let stream = stream(n);
        writes.push(StateWrite::Snapshot { stream, snapshot });
        writes.push(StateWrite::Progress {
            projection: projection.id,
            partition: PartitionId(n as u16),
            progress: Progress::default(),
        });
        writes.push(StateWrite::DeadLetter(Box::new(DeadLetter {
            projection: projection.id,
            stage: "project".into(),
            version: 1,
            key: "account-42".into(),
            status: DeadLetterStatus::Dead,
            cause: vec!["no such account".into()],
            attempts: 3,
            first_failed: Timestamp(1),
            last_failed: Timestamp(2),
            position,
            kind: Kind {
                category: "account".into(),
                event_type: "Deposited".into(),
                schema_version: 1,
                encoding: Encoding::Binary,
            },
            dictionary: vec![1; 20],
            payload: vec![2; 200],
            earlier: Vec::new(),
            redrives: 0,
            followers_bytes: 0,
            followers: 1,
            class: "error".into(),
            follower_offsets: vec![Offset(n + 1)],
        })));
    }
    writer.step(vec![StateBatch::new(writes)]).unwrap();
    drop((store, writer));
    std::fs::read(folder.join("data.mdb")).unwrap()
}

/// Reads everything and writes a little. `true` when the state was set aside at open.
fn use_everything(folder: &Path) -> Result<bool, StateError> {
    let (store, mut writer) = StateStore::open(folder, options())?;
    let projection = writer.register_projection("p", 1, &["t"])?;
    let is_new = writer.set_aside().is_some();
    store.for_each(projection.tables[0], |_, _| ControlFlow::Continue(()))?;
    store.count(projection.tables[0])?;
    store.projections()?;
    store.progress(projection.id, PartitionId(0))?;
    for n in 0..STREAMS {
        // A snapshot is the one that was stored, or none.
        if let Some(snapshot) = store.snapshot(&stream(n)) {
            let version = snapshot.stream_version as u8;
            assert!(snapshot.bytes == state_of(n, version) && version < 3);
        }
        let snapshot = Snapshot {
            aggregate_version: 1,
            stream_version: 3,
            position: Position {
                partition: PartitionId(1),
                offset: Offset(n),
            },
            frame: FrameHash([3; 32]),
            bytes: state_of(n, 3),
        };
        let write = StateWrite::Snapshot {
            stream: stream(n),
            snapshot: snapshot.clone(),
        };
        writer.step(vec![StateBatch::new(vec![write])])?;
        assert_eq!(store.snapshot(&stream(n)), Some(snapshot));
    }
    while writer.step_drops()? {}
    store.dead_letters(None, None, 1_000)?;
    store.dead_letter_count(Some(projection.id))?;
    Ok(is_new)
}

/// Tries the cases that it is told. Does nothing by itself.
#[test]
fn state_damage_victim() {
    let whole = std::cell::LazyCell::new(|| whole_file(tempfile::tempdir().unwrap().path()));
    support::tried_cases(|n| {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = whole.clone();
        support::flip(&mut bytes, &mut { n }, |at| at);
        let state = folder.path().join("state");
        std::fs::create_dir(&state).unwrap();
        std::fs::write(state.join("data.mdb"), bytes).unwrap();
        match use_everything(&state) {
            Ok(false) => "used".to_owned(),
            Ok(true) => "made anew".to_owned(),
            Err(error) => error.to_string(),
        }
    });
}

#[test]
fn flipped_bits_in_state_never_end_in_a_signal_or_a_panic() {
    let outcomes = support::try_damage("state_damage_victim", 200);
    assert!(
        outcomes.iter().any(|outcome| outcome == "used"),
        "{outcomes:?}"
    );
}
