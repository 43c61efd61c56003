//! Stream indexes that are damaged: found and named, never in the way of the log, and made anew by the next opening.

use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};

use uuid::Uuid;

use super::super::*;
use crate::event::{StreamId, stream_hash};
use crate::index::{ChunkKey, ChunkKind, IndexEntry, IndexError, RunStore, StreamIndex};
use crate::log::frame::fixtures::{deposit, deposited};
use crate::log::frame::{Draft, Frame, FrameBuilder, SealedFrame};
use crate::log::{Direction, LogStore, StreamReader, StreamRef, for_each_event};
use crate::store::StoreError;
use crate::time::Timestamp;

const P0: PartitionId = PartitionId(0);
const STREAMS: u64 = 5;
/// Entries that make a run.
const RUN: usize = 16;
/// Frames are smaller than runs, since a commit that flushes does not merge.
const EVENTS: u64 = 4;
const FRAMES_PER_RUN: usize = RUN / EVENTS as usize;

/// A log of one partition whose runs are merged as soon as there are `fanout` of a level.
fn open(folder: &Path, fanout: usize) -> EmbeddedLog {
    let options = EnvironmentOptions {
        map_bytes_max: 64 << 20,
        preallocate_step_bytes: 0,
        databases: databases(1),
        ..EnvironmentOptions::default()
    };
    opened(Environment::open(folder, options).unwrap(), fanout)
}

fn opened(environment: Environment, fanout: usize) -> EmbeddedLog {
    let index = IndexConfig {
        tail_entries_max: RUN,
        level_fanout: fanout,
        ..IndexConfig::default()
    };
    EmbeddedLog::of(environment, 1, None, &index).unwrap()
}

/// The next frame, whose events are of each stream in turn.
fn frame(head: Head) -> SealedFrame {
    let mut builder = FrameBuilder::new();
    let kind = builder.kind(&deposited());
    for offset in head.next.0..head.next.0 + EVENTS {
        let stream = (offset % STREAMS).to_string();
        let draft = Draft {
            stream: &stream,
            hash: stream_hash(&format!("account-{stream}")),
            ..deposit(kind, offset / STREAMS, b"abc")
        };
        builder.push(Timestamp(1), &draft).unwrap();
    }
    let id = Uuid::nil();
    builder.seal(P0, head.next, id, head.hash, &[]).unwrap()
}

/// Appends what makes `runs` runs.
fn append(log: &mut EmbeddedLog, runs: usize) {
    for _ in 0..runs * FRAMES_PER_RUN {
        let next = frame(log.reader.head(P0).unwrap());
        log.store.append(&[next]).unwrap();
    }
}

/// Reads every stream either way; gives how many events there were.
fn read_all(reader: &EmbeddedReader) -> Result<u64, LogError> {
    let mut found = 0;
    for stream in 0..STREAMS {
        let id: StreamId = format!("account-{stream}").parse().unwrap();
        let stream = StreamRef::new(&id, 1);
        let (ahead, back) = (Direction::Forwards, Direction::Backwards);
        let take = |_: &Arc<_>, _: &crate::log::frame::Record<'_>| Ok::<_, LogError>(());
        let forwards = for_each_event(reader, stream, 0, usize::MAX, ahead, take)?;
        let backwards = for_each_event(reader, stream, u64::MAX, usize::MAX, back, take)?;
        assert_eq!(forwards, backwards);
        found += forwards as u64;
    }
    Ok(found)
}

fn events(reader: &EmbeddedReader) -> u64 {
    reader.head(P0).unwrap().next.0
}

fn data_of(run: u64) -> ChunkKey {
    let kind = ChunkKind::Data;
    ChunkKey {
        run,
        kind,
        chunk: 0,
    }
}

/// Flips a bit of a stored chunk.
fn flip(log: &mut EmbeddedLog, chunk: ChunkKey) {
    let mut key = P0.0.to_be_bytes().to_vec();
    key.extend_from_slice(&chunk.to_bytes());
    let (environment, table) = (log.reader.environment.clone(), log.store.index_table);
    let read =
        environment.read(|reader| Ok::<_, StoreError>(reader.get(table, &key)?.unwrap().to_vec()));
    let mut value = read.unwrap().unwrap();
    value[30] ^= 1;
    let mut txn = log.store.writer.begin().unwrap();
    txn.put(table, &key, &value).unwrap();
    txn.commit().unwrap();
}

/// Numbers of the runs that have chunks.
fn runs(log: &EmbeddedLog) -> Vec<u64> {
    let (environment, table) = (&log.reader.environment, log.store.index_table);
    let keys = environment.read(|reader| {
        let all = reader.range(table, Bound::Unbounded, Bound::Unbounded)?;
        let runs = all.map(|entry| Ok(ChunkKey::from_bytes(&entry?.0[2..]).unwrap().run));
        runs.collect::<Result<Vec<_>, StoreError>>()
    });
    let mut runs = keys.unwrap().unwrap();
    runs.retain(|run| *run != 0);
    runs.dedup();
    runs
}

fn level_runs(log: &EmbeddedLog) -> Vec<usize> {
    log.reader.index_stats(P0).unwrap().level_runs
}

fn assert_names(found: Result<impl Sized, LogError>, chunk: ChunkKey) {
    let Err(LogError::Index { partition, cause }) = found else {
        panic!("the damage was not found")
    };
    assert_eq!(partition, P0);
    assert!(
        matches!(*cause, IndexError::Corrupt { key, .. } if key == chunk),
        "{cause}"
    );
}

/// Story: the merge that was due met the damage at each start alike, while `verify` called the log whole: a store that
/// never opened again.
#[test]
fn damage_met_by_the_first_merge_does_not_keep_the_log_shut() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path(), 64);
    append(&mut log, 10);
    assert!(level_runs(&log)[0] >= 8, "{:?}", level_runs(&log));
    let highest = runs(&log).pop().unwrap();
    flip(&mut log, data_of(3));
    drop(log);
    let mut log = open(folder.path(), 8);
    assert_eq!(read_all(&log.reader).unwrap(), events(&log.reader));
    log.reader.verify_indexes().unwrap();
    assert!(!log.reader.is_index_noted_damaged(P0));
    append(&mut log, 20);
    assert_eq!(read_all(&log.reader).unwrap(), events(&log.reader));
    // Whoever still reads by the old manifest is never given another run's chunk.
    assert!(runs(&log)[0] > highest, "{:?}", runs(&log));
}

/// Story: damage that no merge came to was met by each look-up of a stream, for good.
#[test]
fn damage_that_a_read_meets_is_gone_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path(), 64);
    append(&mut log, 6);
    flip(&mut log, data_of(2));
    drop(log);
    let log = open(folder.path(), 64);
    assert!(!log.reader.is_index_noted_damaged(P0));
    assert_names(read_all(&log.reader), data_of(2));
    assert!(log.reader.is_index_noted_damaged(P0));
    drop(log);
    let log = open(folder.path(), 64);
    assert_eq!(read_all(&log.reader).unwrap(), events(&log.reader));
    assert!(!log.reader.is_index_noted_damaged(P0));
}

/// Story: what reads everything did not read the index.
#[test]
fn damage_that_verify_finds_is_named_and_gone_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path(), 64);
    append(&mut log, 6);
    let chunks = log.reader.verify_indexes().unwrap();
    assert!(chunks > 3 * runs(&log).len() as u64, "{chunks}");
    flip(&mut log, data_of(2));
    drop(log);
    let beside = EmbeddedReader::open_beside(folder.path()).unwrap();
    beside.verify().unwrap();
    assert_names(beside.verify_indexes(), data_of(2));
    assert!(beside.is_index_noted_damaged(P0));
    drop(beside);
    let log = open(folder.path(), 64);
    log.reader.verify_indexes().unwrap();
    assert_eq!(read_all(&log.reader).unwrap(), events(&log.reader));
    assert!(!log.reader.is_index_noted_damaged(P0));
}

/// Story: after a merge met damage nothing was flushed any more, and all that was appended stayed in memory.
#[test]
fn behind_damage_the_index_goes_on_to_be_flushed() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path(), 8);
    append(&mut log, 6);
    flip(&mut log, data_of(2));
    append(&mut log, 30);
    assert!(log.reader.is_index_noted_damaged(P0));
    let stats = log.reader.index_stats(P0).unwrap();
    assert!(stats.tail_entries <= 2 * RUN, "{stats:?}");
    drop(log);
    let log = open(folder.path(), 8);
    assert_eq!(read_all(&log.reader).unwrap(), events(&log.reader));
}

/// Chunks of a log of which one lies in a page that cannot be read.
struct PageDamaged {
    environment: Environment,
    table: Table,
    chunk: ChunkKey,
    is_met: Arc<AtomicBool>,
}

impl RunStore for PageDamaged {
    fn read(&self, chunk: ChunkKey) -> Result<Option<Vec<u8>>, IndexError> {
        if chunk == self.chunk {
            self.is_met.store(true, Ordering::Relaxed);
            let source = std::io::ErrorKind::InvalidData.into();
            return Err(IndexError::Store { key: chunk, source });
        }
        let mut key = P0.0.to_be_bytes().to_vec();
        key.extend_from_slice(&chunk.to_bytes());
        let read = self
            .environment
            .read(|reader| Ok::<_, StoreError>(reader.get(self.table, &key)?.map(<[u8]>::to_vec)));
        Ok(read.unwrap().unwrap())
    }
}

/// Story: a page under the index was damaged. The running log went on without merging, and was killed before its last entries
/// were flushed: at each start the merge met the page again, and the log did not open.
#[test]
fn a_damaged_page_under_the_index_does_not_keep_the_log_shut() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path(), 64);
    append(&mut log, 10);
    let next = frame(log.reader.head(P0).unwrap());
    log.store.append(&[next]).unwrap();
    let is_met = Arc::new(AtomicBool::new(false));
    let chunks = PageDamaged {
        environment: log.reader.environment.clone(),
        table: log.store.index_table,
        chunk: data_of(3),
        is_met: Arc::clone(&is_met),
    };
    let config = IndexConfig {
        tail_entries_max: RUN,
        level_fanout: 8,
        ..IndexConfig::default()
    };
    let index = StreamIndex::open(Arc::new(chunks), config).unwrap();
    let (table, writer) = (log.store.index_table, &mut log.store.writer);
    index_chunks::feed(&index, &log.reader, P0, |writes| {
        let mut txn = writer.begin()?;
        index_chunks::store(&mut txn, table, P0, writes)?;
        txn.commit()
    })
    .unwrap();
    assert!(is_met.load(Ordering::Relaxed), "no merge came to it");
    assert!(index.stats().tail_entries <= 2 * RUN, "it is not flushed");
}

/// A log whose index leaves out an event of each stream.
struct LeavesOut(EmbeddedReader);

impl LogReader for LeavesOut {
    fn partitions(&self) -> u16 {
        LogReader::partitions(&self.0)
    }

    fn head(&self, partition: PartitionId) -> Result<Head, LogError> {
        self.0.head(partition)
    }

    fn read(&self, from: PartitionId, at: Offset, bytes: usize) -> Result<Vec<Frame>, LogError> {
        self.0.read(from, at, bytes)
    }
}

impl StreamReader for LeavesOut {
    fn locate(
        &self,
        partition: PartitionId,
        hash: u64,
        from_version: u64,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<IndexEntry>, LogError> {
        let found = self
            .0
            .locate(partition, hash, from_version, limit, direction);
        found.map(|mut entries| {
            entries.retain(|entry| entry.version != 2);
            entries
        })
    }

    fn index_failed(&self, partition: PartitionId, cause: &IndexError) {
        self.0.index_failed(partition, cause);
    }
}

/// Story: an aggregate would have been built of what the index gave, and decided on a state that never was.
#[test]
fn a_stream_of_which_the_index_leaves_out_an_event_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path(), 8);
    append(&mut log, 2);
    let reader = LeavesOut(log.reader.clone());
    let id: StreamId = "account-1".parse().unwrap();
    let read = |from, direction| {
        let mut given = Vec::new();
        let stream = StreamRef::new(&id, 1);
        let read = for_each_event(&reader, stream, from, usize::MAX, direction, |_, record| {
            given.push(record.version);
            Ok::<_, LogError>(())
        });
        (read, given)
    };
    let refused = |(read, _): &(Result<usize, LogError>, _), ahead: (u64, u64)| {
        let Err(LogError::Index { cause, .. }) = read else {
            panic!("read as if nothing were missing")
        };
        matches!(**cause, IndexError::Versions { expected, found, .. } if (expected, found) == ahead)
    };
    let found = read(0, Direction::Forwards);
    assert!(refused(&found, (2, 3)) && found.1 == [0, 1], "{found:?}");
    let found = read(2, Direction::Forwards);
    assert!(refused(&found, (2, 3)) && found.1.is_empty(), "{found:?}");
    let found = read(4, Direction::Backwards);
    assert!(refused(&found, (2, 1)) && found.1 == [4, 3], "{found:?}");
    assert!(read(3, Direction::Forwards).0.is_ok());
    assert!(log.reader.is_index_noted_damaged(P0));
}

/// Story: who read streams beside an engine found none any more once the engine had merged its index.
#[test]
fn who_reads_beside_goes_on_behind_a_merge() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path(), 4);
    append(&mut log, 3);
    let beside = log.reader.clone().with_streams().unwrap();
    let (before, first) = (events(&beside), runs(&log));
    assert_eq!(read_all(&beside).unwrap(), before);
    assert!(first.len() >= 2, "{first:?}");
    for _ in 0..3 {
        append(&mut log, 20);
        assert!(runs(&log).iter().all(|run| !first.contains(run)));
        assert!(read_all(&beside).unwrap() >= before);
    }
    // The same if all is made anew, as by an engine that starts again.
    let key = data_of(runs(&log)[0]);
    log.reader.index_failed(P0, &IndexError::Missing { key });
    let highest = runs(&log).pop().unwrap();
    drop(log);
    let log = opened(beside.environment.clone(), 4);
    assert!(runs(&log)[0] > highest, "{:?}", runs(&log));
    assert_eq!(read_all(&beside).unwrap(), events(&log.reader));
    assert!(!beside.is_index_noted_damaged(P0));
}
