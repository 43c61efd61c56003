//! One turn of a partition: so many commands drained, decided, applied, encoded and sealed into a frame.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use millstream_benches::partition::SoloPartition;

/// Accounts of the partition.
const ACCOUNTS: usize = 100_000;

fn turn(criterion: &mut Criterion) {
    let mut partition = SoloPartition::new(ACCOUNTS).expect("a partition");
    let mut group = criterion.benchmark_group("turn");
    for commands in [1_usize, 64, 1_024] {
        group.throughput(Throughput::Elements(commands as u64));
        group.bench_function(BenchmarkId::new("decide-and-seal", commands), |bencher| {
            // Only the turn is timed: senders and answers have their time between two turns.
            bencher.iter_custom(|turns| {
                let seconds: f64 = (0..turns)
                    .map(|_| partition.deposits(commands).expect("all are accepted"))
                    .sum();
                Duration::from_secs_f64(seconds)
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(2)).sample_size(20);
    targets = turn
}
criterion_main!(benches);
