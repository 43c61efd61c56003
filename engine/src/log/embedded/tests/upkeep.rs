//! Upkeep of an index whose store cannot be read for a moment.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::append::upkeep;
use super::super::*;
use crate::index::{ChunkKey, IndexEntry, IndexError, IndexWrite, RunStore, StreamIndex};
use crate::log::index_damage::Damage;

/// Entries that make a run.
const RUN: u64 = 16;

/// Chunks in memory, which cannot be read now and then.
#[derive(Default)]
struct Failing {
    chunks: Mutex<BTreeMap<ChunkKey, Vec<u8>>>,
    is_failing: AtomicBool,
}

impl RunStore for Failing {
    fn read(&self, key: ChunkKey) -> Result<Option<Vec<u8>>, IndexError> {
        if self.is_failing.load(Ordering::Relaxed) {
            let source = std::io::Error::other("no reader slot is free");
            return Err(IndexError::Store { key, source });
        }
        Ok(self.chunks.lock().unwrap().get(&key).cloned())
    }
}

/// Story: one moment without a free reader slot ended the upkeep of an index until the process was started again.
#[test]
fn a_merge_that_could_not_be_read_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let environment = super::open(folder.path()).reader.environment;
    let store = Arc::new(Failing::default());
    let config = IndexConfig {
        tail_entries_max: RUN as usize,
        level_fanout: 2,
        ..IndexConfig::default()
    };
    let own = [OwnIndex {
        index: StreamIndex::open(Arc::clone(&store) as _, config).unwrap(),
        damage: Damage::of(&environment, PartitionId(0)),
    }];
    let (mut next, mut told) = (0, [false]);
    let mut turn = || {
        let did = upkeep(&own, &mut next, &mut told, 1 << 16, |_, writes| {
            let mut chunks = store.chunks.lock().unwrap();
            for write in writes {
                match write {
                    IndexWrite::Put { key, value } => chunks.insert(key, value),
                    IndexWrite::Delete { key } => chunks.remove(&key),
                };
            }
            Ok(())
        });
        own[0].index.applied();
        did.unwrap().is_some()
    };
    for run in 0..2 {
        let entries = (run * RUN..(run + 1) * RUN).map(|offset| IndexEntry {
            hash: offset,
            version: 0,
            offset,
        });
        own[0].index.push(&entries.collect::<Vec<_>>());
        assert!(turn());
    }
    store.is_failing.store(true, Ordering::Relaxed);
    assert!(!turn(), "the merge that is due cannot be read");
    store.is_failing.store(false, Ordering::Relaxed);
    while turn() {}
    assert_eq!(own[0].index.stats().level_runs, [0, 1]);
    assert!(!own[0].damage.is_noted());
}
