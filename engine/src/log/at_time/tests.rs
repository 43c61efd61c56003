//! The search against a walk over all events, and against heads that lie.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::log::frame::fixtures::{deposit, deposited};
use crate::log::frame::{Draft, FrameBuilder};
use crate::log::{EmbeddedLog, EmbeddedReader, Head, LogStore};
use crate::store::EnvironmentOptions;

const P0: PartitionId = PartitionId(0);

/// A log whose partition 0 has these frames, each with the recorded times of its events.
fn log(folder: &Path, frames: &[Vec<i64>]) -> EmbeddedReader {
    let options = EnvironmentOptions {
        map_bytes_max: 64 << 20,
        preallocate_step_bytes: 1 << 20,
        ..EnvironmentOptions::default()
    };
    let EmbeddedLog { mut store, reader } = EmbeddedLog::open(folder, 2, options).unwrap();
    let (mut head, mut builder, mut group) = (Head::default(), FrameBuilder::new(), Vec::new());
    for times in frames {
        let kind = builder.kind(&deposited());
        for (version, time) in (head.next.0..).zip(times) {
            let draft = Draft {
                event_time: Some(Timestamp(time / 2)),
                ..deposit(kind, version, b"abc")
            };
            builder.push(Timestamp(*time), &draft).unwrap();
        }
        let ids = uuid::Uuid::nil();
        let frame = builder.seal(P0, head.next, ids, head.hash, &[]).unwrap();
        head = Head {
            next: head.next.plus(times.len() as u64),
            hash: frame.hash,
        };
        group.push(frame);
    }
    store.append(&group).unwrap();
    reader
}

/// Frames of one to five events, the times of which stand still as often as they go on.
fn frames() -> impl Strategy<Value = Vec<Vec<i64>>> {
    let steps = prop::collection::vec(prop::collection::vec(0i64..3, 1..5), 0..40);
    steps.prop_map(|frames| {
        let mut now = -20;
        let mut next = |step: i64| {
            now += step / 2;
            now
        };
        let times = |steps: Vec<i64>| steps.into_iter().map(&mut next).collect();
        frames.into_iter().map(times).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_search_finds_what_a_walk_finds(frames in frames()) {
        let folder = tempfile::tempdir().unwrap();
        let reader = log(folder.path(), &frames);
        let times: Vec<i64> = frames.concat();
        let last = times.last().copied().unwrap_or(0);
        for time in (-22..=last + 2).chain([i64::MIN, i64::MAX]) {
            let walked = times.iter().take_while(|at| **at < time).count() as u64;
            let found = reader.first_recorded_at(P0, Timestamp(time)).unwrap();
            prop_assert_eq!(found, Offset(walked));
            // What any reader of a log does, without heads of its own.
            let whole = |offset| Ok(reader.frame_at(P0, offset)?.map(|frame| *frame.header()));
            let slowly = first_recorded_at(&reader, P0, Timestamp(time), &whole).unwrap();
            prop_assert_eq!(slowly, found);
        }
        let empty = reader.first_recorded_at(PartitionId(1), Timestamp(0)).unwrap();
        prop_assert_eq!(empty, Offset(0));
    }
}

/// Goal: the reads of a search grow with the logarithm of the frames.
#[test]
fn a_search_reads_few_heads() {
    let folder = tempfile::tempdir().unwrap();
    let frames: Vec<_> = (0..1_000).map(|n| vec![n * 10, n * 10 + 5]).collect();
    let reader = log(folder.path(), &frames);
    for time in [0, 1, 4_444, 5_000, 9_995, 20_000] {
        let heads = std::cell::Cell::new(0);
        let counted = |offset| {
            heads.set(heads.get() + 1);
            reader.frame_head(P0, offset)
        };
        first_recorded_at(&reader, P0, Timestamp(time), &counted).unwrap();
        assert!(heads.get() <= 12, "{} heads for {time}", heads.get());
    }
}

/// Heads are read without their checksum: one that lies about its times costs the answer, and gives no other one.
#[test]
fn a_head_that_lies_gives_no_wrong_answer() {
    let folder = tempfile::tempdir().unwrap();
    let frames: Vec<_> = (0..64).map(|n| vec![n * 10, n * 10 + 5]).collect();
    let reader = log(folder.path(), &frames);
    let mut refused = 0;
    for liar in 0..64u64 {
        for shift in [-10_000, -15, 15, 10_000] {
            let lying = |offset| {
                let mut head = reader.frame_head(P0, offset)?;
                if let Some(head) = head.as_mut().filter(|head| head.first == Offset(2 * liar)) {
                    head.recorded_first.0 += shift;
                    head.recorded_last.0 += shift;
                }
                Ok(head)
            };
            for time in [0, 7, 100, 313, 635] {
                let truth = reader.first_recorded_at(P0, Timestamp(time)).unwrap();
                match first_recorded_at(&reader, P0, Timestamp(time), &lying) {
                    Ok(found) => assert_eq!(found, truth, "frame {liar} by {shift}, time {time}"),
                    Err(LogError::Chain { .. }) => refused += 1,
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }
    assert!(refused > 0, "no lie was met");
}
