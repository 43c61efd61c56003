use super::*;
use crate::log::frame::fixtures::frame;
use crate::log::frame::{Frame, FrameHeader, SealedFrame};
use crate::log::{EmbeddedLog, Head, LogError, LogReader, LogStore};
use crate::store::EnvironmentOptions;

/// A log of one partition with frames of 3 and 2 events.
fn log(folder: &Path, payload: &[u8]) -> (EmbeddedLog, [SealedFrame; 2]) {
    let options = EnvironmentOptions {
        map_bytes_max: 16 << 20,
        preallocate_step_bytes: 0,
        ..EnvironmentOptions::default()
    };
    let mut log = EmbeddedLog::open(folder, 1, options).unwrap();
    let first = frame(Head::default(), 3, payload);
    let head = Head {
        next: Offset(3),
        hash: first.hash,
    };
    let second = frame(head, 2, payload);
    log.store.append(&[first.clone(), second.clone()]).unwrap();
    (log, [first, second])
}

#[test]
fn progress_is_compared_with_the_log() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (ours, [first, second]) = log(folders[0].path(), b"a");
    let (other, _) = log(folders[1].path(), b"b");
    let check = |next: u64, of: &SealedFrame, log: &EmbeddedLog| {
        let frame = Some((of.first, of.hash));
        let next = Offset(next);
        let progress = Progress { next, frame };
        progress.check(&log.reader, PartitionId(0)).unwrap()
    };
    use ProgressStanding::{AheadOfLog, OtherHistory, Valid};
    assert_eq!(
        Progress::default()
            .check(&ours.reader, PartitionId(0))
            .unwrap(),
        Valid
    );
    for (next, of, expected) in [
        (1, &first, Valid),
        (3, &first, Valid),
        (4, &second, Valid),
        (5, &second, Valid),
        (4, &first, OtherHistory),
        (3, &second, OtherHistory),
        (0, &first, OtherHistory),
        (6, &second, AheadOfLog),
    ] {
        assert_eq!(
            check(next, of, &ours),
            expected,
            "next {next}, frame {}",
            of.first
        );
    }
    assert_eq!(check(4, &second, &other), OtherHistory);
    let unproved = Progress {
        next: Offset(2),
        frame: None,
    };
    assert_eq!(
        unproved.check(&ours.reader, PartitionId(0)).unwrap(),
        OtherHistory
    );
    assert!(unproved_partition(&ours.reader).is_err());
}

fn unproved_partition(reader: &impl LogReader) -> Result<ProgressStanding, LogError> {
    progress_at(1).check(reader, PartitionId(9))
}

/// A log that gives heads of frames, and would be wrong to be asked for more.
struct HeadsAlone<'a>(&'a dyn LogReader);

impl LogReader for HeadsAlone<'_> {
    fn partitions(&self) -> u16 {
        self.0.partitions()
    }

    fn head(&self, _: PartitionId) -> Result<Head, LogError> {
        panic!("the last frame is unpacked")
    }

    fn read(&self, _: PartitionId, _: Offset, _: usize) -> Result<Vec<Frame>, LogError> {
        panic!("a frame is unpacked")
    }

    fn frame_head(
        &self,
        partition: PartitionId,
        offset: Offset,
    ) -> Result<Option<FrameHeader>, LogError> {
        self.0.frame_head(partition, offset)
    }
}

/// Two frames were unpacked for each snapshot that was looked at, whatever their size.
#[test]
fn a_snapshot_is_compared_with_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (log, [first, second]) = log(folder.path(), b"a");
    let check = |offset: u64, frame: FrameHash| {
        let snapshot = Snapshot {
            aggregate_version: 1,
            stream_version: offset + 1,
            position: Position {
                partition: PartitionId(0),
                offset: Offset(offset),
            },
            frame,
            bytes: Vec::new(),
        };
        snapshot.check(&HeadsAlone(&log.reader)).unwrap()
    };
    assert_eq!(check(2, first.hash), ProgressStanding::Valid);
    assert_eq!(check(4, second.hash), ProgressStanding::Valid);
    assert_eq!(check(2, second.hash), ProgressStanding::OtherHistory);
    assert_eq!(check(5, second.hash), ProgressStanding::AheadOfLog);
}

#[test]
fn what_was_stored_is_read_or_refused() {
    for progress in [Progress::default(), progress_at(1), progress_at(u64::MAX)] {
        let bytes = progress.encode();
        assert_eq!(Progress::decode(&bytes), Some(progress));
        assert_eq!(Progress::decode(&bytes[..bytes.len() - 1]), None);
        let mut newer = bytes.clone();
        newer[0] += 1;
        assert_eq!(Progress::decode(&newer), None);
    }
}
