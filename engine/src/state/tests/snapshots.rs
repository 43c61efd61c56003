use proptest::prelude::*;

use super::*;
use crate::state::chain;

const STATE_BYTES: usize = 1 << 20;

/// Random bytes, so that nothing but the state before helps to compress them.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..bytes / 8).flat_map(|_| next().to_le_bytes()).collect()
}

pub(super) fn snapshot(stream_version: u64, bytes: Vec<u8>) -> Snapshot {
    Snapshot {
        aggregate_version: 2,
        stream_version,
        position: Position {
            partition: PartitionId(1),
            offset: Offset(stream_version + 10),
        },
        frame: FrameHash([stream_version as u8; 32]),
        bytes,
    }
}

fn stream() -> StreamId {
    "account-42".parse().unwrap()
}

fn store_snapshot(writer: &mut StateWriter, snapshot: &Snapshot) {
    let write = StateWrite::Snapshot {
        stream: stream(),
        snapshot: snapshot.clone(),
    };
    commit(writer, vec![write]);
}

/// Numbers and sizes of the stored parts.
fn parts(store: &StateStore) -> Vec<(u8, usize)> {
    let links = store.view(|view| view.links(&stream())).unwrap();
    links.iter().map(|(n, value)| (*n, value.len())).collect()
}

/// Changes one record of 128 bytes in a hundred.
fn change(bytes: &mut [u8], round: u64) {
    for at in 0..STATE_BYTES / 128 / 100 {
        let record = (at * 97 + round as usize * 31) % (STATE_BYTES / 128);
        let new = noise(round * 1_000 + at as u64 + 1, 128);
        bytes[record * 128..][..128].copy_from_slice(&new);
    }
}

/// What is written follows what changed, for 24 snapshots of a large state, and each of them is read back.
#[test]
fn a_large_state_costs_what_changed() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut writer) = open(folder.path());
    let mut bytes = noise(1, STATE_BYTES);
    let mut written = 0;
    for round in 1..=24 {
        change(&mut bytes, round);
        let next = snapshot(round, bytes.clone());
        store_snapshot(&mut writer, &next);
        assert_eq!(store.snapshot(&stream()), Some(next));
        let parts = parts(&store);
        assert!(parts.len() <= 8);
        let (number, size) = *parts.last().unwrap();
        if number > 0 {
            assert!(size < STATE_BYTES / 20, "1 % changed, {size} bytes written");
        }
        written += size;
    }
    // Three full ones, and 21 changes of about 1 % each.
    assert!(
        written < 3 * (STATE_BYTES + 1_000) + 21 * STATE_BYTES / 25,
        "{written}"
    );
}

/// An insertion at the front moves everything; the long-distance matcher finds it again.
#[test]
fn a_shifted_state_is_a_small_change() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut writer) = open(folder.path());
    let mut bytes = noise(3, 4 * STATE_BYTES);
    store_snapshot(&mut writer, &snapshot(1, bytes.clone()));
    bytes.splice(0..0, *b"a few bytes more");
    store_snapshot(&mut writer, &snapshot(2, bytes.clone()));
    let parts = parts(&store);
    assert!(parts.len() == 2 && parts[1].1 < 20_000, "{parts:?}");
    assert_eq!(store.snapshot(&stream()).unwrap().bytes, bytes);
}

#[test]
fn small_states_and_states_that_changed_a_lot_are_stored_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut writer) = open(folder.path());
    assert_eq!(store.snapshot(&stream()), None);
    store_snapshot(&mut writer, &snapshot(1, noise(1, 100_000)));
    store_snapshot(&mut writer, &snapshot(2, noise(2, 100_000)));
    assert_eq!(parts(&store).len(), 1);
    let mut bytes = noise(2, 100_000);
    bytes[5] ^= 1;
    store_snapshot(&mut writer, &snapshot(3, bytes));
    assert_eq!(parts(&store).len(), 2);
    // Smaller than before: whole again, and nothing of the chain stays behind.
    let small = snapshot(4, b"small".to_vec());
    store_snapshot(&mut writer, &small);
    assert_eq!(store.snapshot(&stream()), Some(small));
    assert_eq!(parts(&store).len(), 1);
    let empty = snapshot(5, Vec::new());
    store_snapshot(&mut writer, &empty);
    assert_eq!(store.snapshot(&stream()), Some(empty));
    let stream = stream();
    commit(&mut writer, vec![StateWrite::DeleteSnapshot { stream }]);
    assert_eq!(parts(&store), []);
}

/// Streams whose names begin alike do not see each other's parts.
#[test]
fn snapshots_belong_to_their_stream() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut writer) = open(folder.path());
    let near: StreamId = "account-421".parse().unwrap();
    let longest: StreamId = format!("a-{}", "x".repeat(253)).parse().unwrap();
    for (n, stream) in [&near, &longest, &stream()].into_iter().enumerate() {
        let write = StateWrite::Snapshot {
            stream: stream.clone(),
            snapshot: snapshot(n as u64, noise(n as u64 + 1, 80_000)),
        };
        commit(&mut writer, vec![write]);
    }
    let stream = stream();
    commit(&mut writer, vec![StateWrite::DeleteSnapshot { stream }]);
    assert_eq!(store.snapshot(&near).unwrap().stream_version, 0);
    assert_eq!(store.snapshot(&longest).unwrap().stream_version, 1);
}

fn chain_of(links: usize, state_bytes: usize) -> Vec<(u8, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut writer) = open(folder.path());
    let mut bytes = noise(9, state_bytes);
    for round in 0..links as u64 {
        let at = round as usize * 1_000;
        bytes[at..at + 64].copy_from_slice(&noise(round + 50, 64));
        store_snapshot(&mut writer, &snapshot(round, bytes.clone()));
    }
    store.view(|view| view.links(&stream())).unwrap()
}

#[test]
fn a_missing_or_foreign_part_is_no_snapshot() {
    let links = chain_of(5, 70_000);
    let other = chain_of(3, 80_000);
    assert!(chain::read_or_warn(&stream(), &links).is_some());
    for missing in 0..links.len() - 1 {
        let mut fewer = links.clone();
        fewer.remove(missing);
        assert_eq!(chain::read_or_warn(&stream(), &fewer), None, "{missing}");
        // Also when the others moved up: a part knows its own number.
        for (n, link) in fewer.iter_mut().enumerate() {
            link.0 = n as u8;
        }
        assert_eq!(chain::read_or_warn(&stream(), &fewer), None, "{missing}");
    }
    let mut foreign = links;
    foreign[2] = other[2].clone();
    assert_eq!(chain::read_or_warn(&stream(), &foreign), None);
}

/// A bad part in the store is a warning for the reader, and the next snapshot is whole again.
#[test]
fn a_broken_chain_is_replaced_by_the_next_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut writer) = open(folder.path());
    let mut bytes = noise(5, 100_000);
    for round in 0..3 {
        bytes[round] ^= 1;
        store_snapshot(&mut writer, &snapshot(round as u64, bytes.clone()));
    }
    assert_eq!(parts(&store).len(), 3);
    let key = chain::link_key(&stream(), 1);
    writer
        .transact(|databases, txn| Ok(txn.delete(databases.snapshots, &key)?))
        .unwrap();
    assert_eq!(store.snapshot(&stream()), None);
    let next = snapshot(9, bytes);
    store_snapshot(&mut writer, &next);
    assert_eq!(store.snapshot(&stream()), Some(next));
    assert_eq!(parts(&store).len(), 1);
}

#[test]
fn every_flipped_bit_of_a_head_and_many_of_the_rest_are_no_snapshot() {
    let links = chain_of(3, 70_000);
    for part in 0..links.len() {
        let length = links[part].1.len();
        let sampled = (0..length).filter(|at| *at < 90 || at % 997 == 0 || length - at < 8);
        for at in sampled {
            let mut broken = links.clone();
            broken[part].1[at] ^= 1 << (at % 8);
            assert_eq!(
                chain::read_or_warn(&stream(), &broken),
                None,
                "part {part}, byte {at}"
            );
        }
    }
}

fn at(store: &StateStore, version: u64) -> Option<Snapshot> {
    store.snapshot_fitting(&stream(), |head| head.stream_version <= version)
}

/// Goal: of a stream's snapshots so many stay as is said, spread over its events, each as it was. Method: 200 of them,
/// small, and every version asked for, also after the store was opened again.
#[test]
fn earlier_snapshots_are_kept_and_spread() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut writer) = open(folder.path());
    for version in 1..=200 {
        store_snapshot(&mut writer, &snapshot(version * 10, noise(version, 64)));
    }
    drop((store, writer));
    let (store, mut writer) = open(folder.path());
    let places = u64::from(StateOptions::default().snapshot_earlier_max);
    let mut kept = std::collections::BTreeSet::new();
    for version in 0..=2_005u64 {
        let Some(found) = at(&store, version) else {
            assert!(version <= 2_000 * 2 / places, "nothing at {version}");
            continue;
        };
        let distance = version - found.stream_version;
        assert!(distance <= 2_000 * 2 / places, "{distance} at {version}");
        let made = snapshot(found.stream_version, noise(found.stream_version / 10, 64));
        assert_eq!(found, made);
        kept.insert(found.stream_version);
    }
    assert_eq!(kept.len() as u64, places + 1, "{kept:?}");
    // A state of another shape makes them useless, and so does a stream that is shorter than it was.
    let reshaped = Snapshot {
        aggregate_version: 3,
        ..snapshot(2_010, noise(1, 64))
    };
    store_snapshot(&mut writer, &reshaped);
    assert_eq!(at(&store, 2_009), None);
    assert_eq!(at(&store, 2_010), Some(reshaped));
    let stream = stream();
    commit(&mut writer, vec![StateWrite::DeleteSnapshot { stream }]);
    assert_eq!(at(&store, u64::MAX), None);
    let sizes = store.view(|view| view.sizes()).unwrap();
    assert!(sizes.contains(&("snapshots".into(), 0)), "{sizes:?}");
}

/// Without places for them no earlier snapshot is kept, and with fewer places those that were kept go. Story: with none any
/// more those of before stayed.
#[test]
fn places_for_earlier_snapshots_are_a_choice() {
    let folder = tempfile::tempdir().unwrap();
    let mut next = 0;
    for (places, kept) in [(0, 0), (5, 5), (2, 2), (0, 0)] {
        let options = StateOptions {
            snapshot_earlier_max: places,
            ..options()
        };
        let (store, mut writer) = StateStore::open(folder.path(), options).unwrap();
        for _ in 0..20 {
            next += 1;
            store_snapshot(&mut writer, &snapshot(next, noise(next, 64)));
        }
        let found: std::collections::BTreeSet<_> = (0..=next)
            .filter_map(|version| at(&store, version))
            .map(|found| found.stream_version)
            .collect();
        assert_eq!(found.len(), kept + 1, "{found:?}");
    }
}

/// Story: the snapshot of one moment, stored a second time, was taken for that of a stream that had become shorter: all
/// earlier ones went.
#[test]
fn a_snapshot_that_is_stored_twice_leaves_the_earlier_ones() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut writer) = open(folder.path());
    let all: Vec<_> = (1..=3)
        .map(|version| snapshot(version, noise(version, 64)))
        .collect();
    for made in all.iter().chain(all.last()) {
        store_snapshot(&mut writer, made);
    }
    for (made, version) in all.iter().zip(1..) {
        assert_eq!(at(&store, version).as_ref(), Some(made));
    }
    // Another frame at the same version is of another stream, one that was begun anew.
    let other = Snapshot {
        frame: FrameHash([9; 32]),
        ..snapshot(3, noise(9, 64))
    };
    store_snapshot(&mut writer, &other);
    assert_eq!(at(&store, 2), None);
    assert_eq!(at(&store, 3), Some(other));
}

/// Parts of a large state are earlier snapshots themselves; when a chain is replaced, its last one stays.
#[test]
fn chains_are_earlier_snapshots() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut writer) = open(folder.path());
    let (mut bytes, mut all) = (noise(1, 100_000), Vec::new());
    for version in 1..=20 {
        bytes[version as usize * 8..][..8].copy_from_slice(&noise(version + 7, 8));
        all.push(snapshot(version, bytes.clone()));
        store_snapshot(&mut writer, all.last().unwrap());
    }
    // Of the first two chains of eight the last part is left, and the one in use is complete.
    for (version, kept) in [(7, None), (8, Some(8)), (15, Some(8)), (16, Some(16))] {
        let expected = kept.map(|kept| all[kept - 1].clone());
        assert_eq!(at(&store, version), expected, "at {version}");
    }
    for version in 17..=20 {
        assert_eq!(at(&store, version).as_ref(), all.get(version as usize - 1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bytes_that_nobody_wrote_are_no_snapshot(parts in prop::collection::vec((0u8..3, prop::collection::vec(any::<u8>(), 0..200)), 1..4)) {
        prop_assert_eq!(chain::read_or_warn(&stream(), &parts), None);
    }
}
