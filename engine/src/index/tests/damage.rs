//! Goal: damaged chunks are typed errors that name run and chunk; nothing panics on hostile bytes.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::block::DataChunk;
use super::super::chunk::{HEADER_BYTES, payload, seal, start};
use super::super::encode::ChunkEncoder;
use super::super::key::Key;
use super::super::manifest::Manifest;
use super::super::{ChunkKey, ChunkKind, IndexEntry, IndexError, StreamIndex};
use super::{Fixture, small_config, spread};

/// Three runs; two when they are merged.
fn filled() -> Fixture {
    let mut fixture = Fixture::new(small_config(), spread);
    for round in 0..2_u64 {
        fixture.push((0..900).map(|i| i % 200 + round));
        fixture.flush_all();
    }
    fixture
}

fn scan_all(index: &StreamIndex) -> Result<(), IndexError> {
    (0..300).try_for_each(|stream| index.scan(spread(stream), 0, 1_000).map(drop))
}

#[test]
fn every_damaged_chunk_is_detected_and_named() {
    let keys = filled().store.keys();
    assert!(
        keys.iter()
            .any(|key| key.kind == ChunkKind::Data && key.chunk > 1),
        "several chunks"
    );
    for key in keys {
        for place in [0, 1, 2, 5, 9, 17, HEADER_BYTES, usize::MAX] {
            let fixture = filled();
            fixture.store.change(key, |value| {
                let place = place.min(value.len() - 1);
                value[place] ^= 0x10;
            });
            let error = match StreamIndex::open(Arc::new(fixture.store.clone()), small_config()) {
                Ok(index) => scan_all(&index).unwrap_err(),
                Err(error) => error,
            };
            let found = matches!(error, IndexError::Corrupt { key: named, .. } if named == key);
            assert!(found, "{key}, byte {place}: {error}");
            assert!(!error.is_retryable());
        }
    }
}

#[test]
fn a_missing_or_misplaced_chunk_is_detected() {
    let fixture = filled();
    let data = |chunk| ChunkKey {
        run: 1,
        kind: ChunkKind::Data,
        chunk,
    };
    let mut other = Vec::new();
    fixture
        .store
        .change(data(1), |value| other.clone_from(value));
    fixture.store.change(data(0), |value| *value = other);
    let error = scan_all(&fixture.index).unwrap_err();
    assert!(
        matches!(error, IndexError::Corrupt { key, .. } if key == data(0)),
        "{error}"
    );
    fixture.store.remove(data(0));
    let error = scan_all(&fixture.index).unwrap_err();
    assert!(
        matches!(error, IndexError::Missing { key } if key == data(0)),
        "{error}"
    );
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let fixture = filled();
    fixture.store.change(ChunkKey::MANIFEST, |value| {
        value[0] = 9;
        *value = seal(std::mem::take(value));
    });
    let error = StreamIndex::open(Arc::new(fixture.store), small_config()).unwrap_err();
    assert!(
        matches!(
            error,
            IndexError::UnknownFormat {
                found: 9,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
}

/// A merge that cannot read a chunk says so once; flushes go on, and no chunk is left behind.
#[test]
fn a_corrupt_chunk_ends_merges_but_not_flushes() {
    let mut fixture = filled();
    let bad = ChunkKey {
        run: 1,
        kind: ChunkKind::Data,
        chunk: 2,
    };
    fixture.store.change(bad, |value| value[30] ^= 1);
    fixture.push((0..300).map(|i| i + 1_000));
    let error = loop {
        match fixture.index.maintain(1_000) {
            Ok(writes) => fixture.store.commit(writes.expect("the merge is due")),
            Err(error) => break error,
        }
        fixture.index.applied();
    };
    assert!(
        matches!(error, IndexError::Corrupt { key, .. } if key == bad),
        "{error}"
    );
    fixture.push((0..400).map(|i| i + 2_000));
    fixture.settle();
    let stats = fixture.index.stats();
    assert_eq!((stats.tail_entries, stats.level_runs), (0, vec![4]));
    let stored = fixture
        .store
        .chunks
        .lock()
        .unwrap()
        .iter()
        .filter(|(key, _)| key.run != 0)
        .map(|(_, value)| value.len() as u64)
        .sum::<u64>();
    assert_eq!(stored, stats.run_bytes, "the unfinished run was deleted");
    assert_eq!(fixture.read(2_005, 0, 10), fixture.expected(2_005));
}

#[test]
fn a_slice_must_be_applied_before_the_next() {
    let mut fixture = Fixture::new(small_config(), spread);
    fixture.push(0..400);
    fixture.index.maintain(1_000).unwrap();
    let error = fixture.index.maintain(1_000).unwrap_err();
    assert!(matches!(error, IndexError::SliceOutstanding), "{error}");
}

fn a_data_chunk(key: ChunkKey) -> Vec<u8> {
    let mut encoder = ChunkEncoder::new(0, 4_096);
    for offset in 0..100 {
        let entry = IndexEntry {
            hash: (offset / 7) << 57,
            version: offset % 7,
            offset,
        };
        assert!(encoder.push(entry).is_none());
    }
    let [None, Some(encoded)] = encoder.finish() else {
        panic!("one chunk")
    };
    encoded.into_value(key)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// The checksum is made to fit, so the decoders themselves meet the bytes.
    #[test]
    fn hostile_payloads_never_panic(
        noise in prop::collection::vec(any::<u8>(), 0..200),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let key = ChunkKey { run: 3, kind: ChunkKind::Data, chunk: 1 };
        let mut mutated = a_data_chunk(key);
        for (place, byte) in &changes {
            let place = HEADER_BYTES + place.index(mutated.len() - HEADER_BYTES);
            mutated[place] = *byte;
        }
        let mut random = start(key, noise.len());
        random.extend_from_slice(&noise);
        for value in [seal(mutated), seal(random), noise.clone()] {
            if let Ok(chunk) = DataChunk::open(key, value) {
                let _ = chunk.entries();
                let mut out = Vec::new();
                let _ = chunk.scan(Key { hash: 2 << 57, version: 0 }, 10, &mut out);
                let _ = chunk.scan_back(Key { hash: u64::MAX, version: 5 }, 10, &mut out);
            }
        }
        let mut manifest = start(ChunkKey::MANIFEST, noise.len());
        manifest.extend_from_slice(&noise);
        let _ = Manifest::decode(&seal(manifest));
    }

    #[test]
    fn data_chunks_give_back_what_was_put_in(
        mut entries in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 1..600),
        bytes_max in 1_024..8_192_usize,
    ) {
        // Few hashes and versions near each other, but also the extremes.
        for (number, entry) in entries.iter_mut().enumerate() {
            if number % 3 != 0 { entry.0 %= 5; entry.1 %= 50; }
        }
        let mut entries: Vec<_> = entries
            .into_iter()
            .map(|(hash, version, offset)| IndexEntry { hash, version, offset })
            .collect();
        entries.sort_unstable();
        let base = entries.iter().map(|entry| entry.offset).min().unwrap();
        let mut encoder = ChunkEncoder::new(base, bytes_max);
        let mut chunks: Vec<_> = entries.iter().filter_map(|entry| encoder.push(*entry)).collect();
        chunks.extend(encoder.finish().into_iter().flatten());
        let mut found = Vec::new();
        for (number, encoded) in chunks.into_iter().enumerate() {
            let key = ChunkKey { run: 1, kind: ChunkKind::Data, chunk: number as u32 };
            let first = encoded.first;
            let value = encoded.into_value(key);
            prop_assert!(value.len() <= bytes_max, "{} bytes", value.len());
            prop_assert!(payload(key, &value).is_ok());
            let part = DataChunk::open(key, value).unwrap().entries().unwrap();
            prop_assert_eq!(part[0].key(), first);
            found.extend(part);
        }
        prop_assert_eq!(found, entries);
    }
}

#[test]
fn keys_sort_as_their_bytes() {
    let mut keys = filled().store.keys();
    keys.push(ChunkKey {
        run: 1 << 40,
        kind: ChunkKind::Directory,
        chunk: u32::MAX,
    });
    assert!(keys.is_sorted());
    assert!(keys.is_sorted_by_key(|key| key.to_bytes()));
    assert!(
        keys.iter()
            .all(|key| ChunkKey::from_bytes(&key.to_bytes()) == Some(*key))
    );
    assert_eq!(ChunkKey::from_bytes(&[4; ChunkKey::BYTES]), None);
    assert_eq!(ChunkKey::from_bytes(&[]), None);
}
