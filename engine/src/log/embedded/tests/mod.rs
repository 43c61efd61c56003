//! What a store keeps, and its stream indexes.

mod indexes;
mod upkeep;

use uuid::Uuid;

use super::description::STORE_KEY;
use super::*;
use crate::event::stream_hash;
use crate::log::LogStore as _;
use crate::log::frame::fixtures::{deposit, deposited, frame};
use crate::log::frame::{FrameBuilder, FramePart, Kind, with_checksum};
use crate::time::Timestamp;

fn open(folder: &Path) -> EmbeddedLog {
    let options = EnvironmentOptions {
        map_bytes_max: 64 << 20,
        preallocate_step_bytes: 0,
        ..EnvironmentOptions::default()
    };
    EmbeddedLog::open(folder, 2, options).unwrap()
}

/// A store keeps its identity, has another one than any other, and gets one if an older program made it.
#[test]
fn a_store_has_an_identity() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut log = open(folder.path());
    let id = log.reader.store_id();
    assert!(id.is_some() && id != open(other.path()).reader.store_id());
    // As an older program left it.
    let description = log.reader.environment.table(DESCRIPTION).unwrap();
    let mut txn = log.store.writer.begin().unwrap();
    txn.delete(description, STORE_KEY).unwrap();
    txn.commit().unwrap();
    drop(log);
    let beside = EmbeddedReader::open_beside(folder.path()).unwrap();
    assert_eq!(beside.store_id(), None);
    drop(beside);
    let new = open(folder.path()).reader.store_id();
    assert!(new.is_some() && new != id);
    assert_eq!(open(folder.path()).reader.store_id(), new);
    let beside = EmbeddedReader::open_beside(folder.path()).unwrap();
    assert_eq!(beside.store_id(), new);
}

/// Story: who waited at the end of a partition had its last frame unpacked ten times a second.
#[test]
fn a_frame_before_what_is_wanted_is_not_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let p0 = PartitionId(0);
    let mut bytes = frame(Head::default(), 1, b"abc").bytes.to_vec();
    let mut store = log.store;
    let mut put = |bytes: &[u8]| {
        let mut txn = store.writer.begin().unwrap();
        txn.put(store.tables[0], &[0; 8], bytes).unwrap();
        txn.commit().unwrap();
    };
    // What nobody could unpack, under a checksum that holds.
    let body = bytes.len() - 5;
    bytes[body..].fill(0xff);
    bytes = with_checksum(bytes);
    put(&bytes);
    let read = |from| log.reader.read(p0, Offset(from), 1);
    assert!(matches!(read(0), Err(LogError::Frame { .. })));
    assert!(read(1).unwrap().is_empty());
    // Damage is found all the same.
    bytes[body] ^= 1;
    put(&bytes);
    assert!(matches!(read(1), Err(LogError::Frame { .. })));
}

/// Appends a frame of some events with this payload.
fn append(log: &mut EmbeddedLog, at: &mut Head, events: u32, payload: &[u8]) {
    let mut builder = FrameBuilder::new();
    for number in 0..events {
        let event_type = if number % 10 == 0 { "Seldom" } else { "Often" };
        let kind = builder.kind(&Kind {
            event_type: event_type.into(),
            ..deposited()
        });
        let draft = deposit(kind, at.next.0 + u64::from(number), payload);
        builder.push(Timestamp(1), &draft).unwrap();
    }
    let sealed = builder.seal(PartitionId(0), at.next, Uuid::nil(), at.hash, &[]);
    let sealed = sealed.unwrap();
    let next = Head {
        next: sealed.frame.header().end(),
        hash: sealed.hash,
    };
    log.store.append(&[sealed]).unwrap();
    *at = next;
}

/// Story: a reader that was behind took a megabyte of what was stored, which was twenty and more once it was unpacked.
#[test]
fn a_read_is_bounded_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, mut at) = (open(folder.path()), Head::default());
    for _ in 0..20 {
        append(&mut log, &mut at, 1, &[7; 1 << 20]);
    }
    let frames = log.reader.read(PartitionId(0), Offset(3), 3 << 19).unwrap();
    let offsets: Vec<_> = frames.iter().map(|frame| frame.header().first.0).collect();
    assert_eq!(offsets, [3, 4]);
}

/// Who wants a tenth of the events takes more frames with one read, and nothing is left out.
#[test]
fn a_part_of_the_frames_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, mut at) = (open(folder.path()), Head::default());
    for _ in 0..8 {
        append(&mut log, &mut at, 100, &[7; 1_000]);
    }
    let p0 = PartitionId(0);
    let whole = log.reader.read(p0, Offset(150), 300 << 10).unwrap();
    let seldom = |kind: &Kind| kind.event_type == "Seldom";
    let part = FramePart::Kinds(&seldom);
    let read = log.reader.read_part(p0, Offset(150), 300 << 10, part);
    let read = read.unwrap();
    assert!(whole.len() < read.len() && read.len() == 7);
    let offsets = read.iter().flat_map(|frame| frame.records()).map(|record| {
        assert_eq!(record.kind.event_type, "Seldom");
        record.offset.0
    });
    assert!(offsets.eq((100..800).step_by(10)));
}

/// Who wants nothing of what comes still gets to an end of a read: it looks through so much and no more.
#[test]
fn a_read_is_bounded_in_what_it_passes_over() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, mut at) = (open(folder.path()), Head::default());
    // Nothing that compression makes shorter.
    let noise = (0u64..1 << 20).map(|at| (stream_hash(&at.to_string()) >> 32) as u8);
    let noise: Vec<u8> = noise.collect();
    for _ in 0..20 {
        append(&mut log, &mut at, 2, &noise);
    }
    let part = FramePart::Kinds(&|_| false);
    let read = log
        .reader
        .read_part(PartitionId(0), Offset(0), 1 << 30, part);
    // Each has two megabytes.
    assert_eq!(read.unwrap().len(), 8);
}
