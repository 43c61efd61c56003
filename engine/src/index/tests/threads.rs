//! Goal: readers beside the writer and the maintenance always see a stream without gap or repeat.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{Fixture, small_config, spread};

const STREAMS: u64 = 8;

fn assert_gap_free(fixture: &Fixture, stream: u64, rounds: &AtomicU64) {
    let least = rounds.load(Ordering::Acquire);
    let found = fixture.index.scan(spread(stream), 0, usize::MAX).unwrap();
    assert!(
        found.len() as u64 >= least,
        "{} events, {least} were pushed",
        found.len()
    );
    assert!(
        found
            .iter()
            .zip(0..)
            .all(|(entry, version)| entry.version == version)
    );
    let back = fixture.index.last(spread(stream), 20).unwrap();
    assert!(back.is_sorted_by(|newer, older| newer.version == older.version + 1));
    assert!(back.first().is_none_or(|last| last.version + 1 >= least));
}

#[test]
fn readers_see_no_gap_while_runs_are_merged_and_deleted() {
    let fixture = Fixture::new(small_config(), spread);
    let rounds = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in 0..2 {
            let (fixture, rounds, stop) = (&fixture, &rounds, &stop);
            scope.spawn(move || {
                let mut stream = reader;
                while !stop.load(Ordering::Acquire) {
                    assert_gap_free(fixture, stream % STREAMS, rounds);
                    stream += 1;
                }
            });
        }
        let maintainer = scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                if !fixture.maintain(700) {
                    std::thread::yield_now();
                }
            }
        });
        for round in 0..6_000_u64 {
            let frame: Vec<_> = (0..STREAMS)
                .map(|stream| super::IndexEntry {
                    hash: spread(stream),
                    version: round,
                    offset: round * STREAMS + stream,
                })
                .collect();
            fixture.index.push(&frame);
            rounds.store(round + 1, Ordering::Release);
            // Without this the writer would be done before the first merge.
            while fixture.index.stats().tail_entries > 1_000 {
                std::thread::yield_now();
            }
        }
        stop.store(true, Ordering::Release);
        maintainer.join().unwrap();
    });
    fixture.settle();
    let stats = fixture.index.stats();
    assert_eq!(
        stats.run_entries + stats.tail_entries as u64,
        6_000 * STREAMS
    );
    assert!(stats.merge_bytes_total > 0);
}
