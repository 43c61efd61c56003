//! Rows of a projection: updated as a handler does, then shown to readers.

use std::time::Duration;

use compact_str::{CompactString, ToCompactString};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use millstream::catalog::bank::{BALANCES, Cents};
use millstream_engine::state::{StateOptions, StateStore};
use millstream_operators::projection::{Places, Table, TableSet};

/// The tables of the bank's balances.
type Tables = (Table<CompactString, Cents>,);

/// Events between two publications.
const BATCH: usize = 4_096;

fn table(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (store, writer) =
        StateStore::open(folder.path(), StateOptions::default()).expect("a new store");
    let (handle, thread) = millstream_engine::state::start(writer).expect("its writer");
    let tables: Tables = (BALANCES,);
    let registered = handle
        .register_projection("measured", 1, &tables.names())
        .expect("a new projection");
    let hot = tables.hot();
    let mut writers = tables
        .writers(&Places {
            ids: &registered.tables,
            store: Some(&store),
            hot: &hot,
            is_complete: true,
            actor: 0,
        })
        .expect("a writer per table");
    let mut group = criterion.benchmark_group("table");
    group.throughput(Throughput::Elements(BATCH as u64));
    for rows in [1_000_usize, 100_000] {
        let keys: Vec<_> = (0..rows).map(|key| key.to_compact_string()).collect();
        let mut at = 0;
        group.bench_function(BenchmarkId::new("update-and-publish", rows), |bencher| {
            bencher.iter(|| {
                for _ in 0..BATCH {
                    at = (at + 7_919) % rows;
                    writers.0.update(&keys[at], |balance| {
                        *balance = balance.checked_add(Cents::new(1)).expect("it fits");
                    });
                    Tables::keep(&mut writers).expect("a row that can be kept");
                }
                Tables::publish(&mut writers)
            });
        });
    }
    group.finish();
    drop(handle);
    thread.close().expect("the writer ends");
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(2)).sample_size(20);
    targets = table
}
criterion_main!(benches);
