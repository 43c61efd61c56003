//! Stream index: what an entry costs to push, to flush and merge, and a stream to look up.
//!
//! Run: `cargo bench -p millstream-engine --bench stream_index`; tiny: append `-- --test`.
//! `push` is per frame of 100 entries with a flush when due, both in memory only. Look-ups run over
//! 2,000,000 entries in runs and a part in the tail; the store is a map that copies each value, so
//! the figures hold the index's own work and none of a database's.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::{Arc, Mutex};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use millstream_engine::index::{
    ChunkKey, IndexConfig, IndexEntry, IndexError, IndexWrite, RunStore, StreamIndex,
};

const FRAME_ENTRIES: u64 = 100;
const PUSH_ENTRIES: u64 = 200_000;
const LOOKUP_ENTRIES: u64 = 2_100_000;
const COLD_STREAMS: u64 = 300_000;
const HOT_STREAM: u64 = u64::MAX;
const BUDGET_BYTES: usize = 1 << 20;

#[derive(Default)]
struct MemoryStore {
    chunks: Mutex<BTreeMap<ChunkKey, Vec<u8>>>,
}

impl RunStore for MemoryStore {
    fn read(&self, key: ChunkKey) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(self
            .chunks
            .lock()
            .expect("no panic holds it")
            .get(&key)
            .cloned())
    }
}

impl MemoryStore {
    fn commit(&self, writes: Vec<IndexWrite>) {
        let mut chunks = self.chunks.lock().expect("no panic holds it");
        for write in writes {
            match write {
                IndexWrite::Put { key, value } => chunks.insert(key, value),
                IndexWrite::Delete { key } => chunks.remove(&key),
            };
        }
    }
}

fn spread(number: u64) -> u64 {
    let x = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Every tenth event is of the hot stream, the others of random cold ones.
fn entries(count: u64) -> Vec<IndexEntry> {
    let mut versions = BTreeMap::<u64, u64>::new();
    (0..count)
        .map(|offset| {
            let cold = spread(offset) % COLD_STREAMS;
            let stream = if offset % 10 == 0 { HOT_STREAM } else { cold };
            let version = versions.entry(stream).or_default();
            *version += 1;
            IndexEntry {
                hash: spread(stream),
                version: *version - 1,
                offset,
            }
        })
        .collect()
}

fn open(store: &Arc<MemoryStore>) -> StreamIndex {
    let store = Arc::clone(store) as Arc<dyn RunStore>;
    StreamIndex::open(store, IndexConfig::default()).expect("an empty store opens")
}

fn maintain(index: &StreamIndex, store: &MemoryStore) {
    while let Some(writes) = index.maintain(BUDGET_BYTES).expect("nothing is damaged") {
        store.commit(writes);
        index.applied();
    }
}

fn push(c: &mut Criterion) {
    let mut group = c.benchmark_group("stream_index");
    let entries = entries(PUSH_ENTRIES);
    group
        .throughput(Throughput::Elements(PUSH_ENTRIES))
        .sample_size(20);
    for frame in [1, FRAME_ENTRIES] {
        group.bench_function(format!("push/frame_{frame}"), |b| {
            let empty = || open(&Arc::default());
            b.iter_batched_ref(
                empty,
                |index| {
                    entries
                        .chunks(frame as usize)
                        .for_each(|frame| index.push(frame))
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.bench_function("push_and_flush", |b| {
        let empty = || {
            let store = Arc::default();
            (open(&store), store)
        };
        b.iter_batched_ref(
            empty,
            |(index, store)| {
                entries
                    .chunks(FRAME_ENTRIES as usize)
                    .for_each(|frame| index.push(frame));
                index
                    .flush_all(BUDGET_BYTES, |writes| {
                        store.commit(writes);
                        Ok::<_, IndexError>(())
                    })
                    .expect("nothing is damaged");
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn look_up(c: &mut Criterion) {
    let store = Arc::new(MemoryStore::default());
    let index = open(&store);
    for frame in entries(LOOKUP_ENTRIES).chunks(FRAME_ENTRIES as usize) {
        index.push(frame);
        maintain(&index, &store);
    }
    println!("{:#?}", index.stats());
    let mut group = c.benchmark_group("stream_index");
    let mut number = 0;
    let mut next = move || {
        number += 1;
        spread(number) % COLD_STREAMS
    };
    group.bench_function("scan/cold_stream", |b| {
        b.iter(|| index.scan(spread(next()), 0, black_box(1_000)));
    });
    group.bench_function("last/cold_stream", |b| {
        b.iter(|| index.last(spread(next()), black_box(1)));
    });
    group.bench_function("last/hot_stream", |b| {
        b.iter(|| index.last(spread(HOT_STREAM), black_box(10)));
    });
    group.bench_function("scan/miss", |b| {
        b.iter(|| index.scan(spread(next() + COLD_STREAMS), 0, black_box(1_000)));
    });
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("scan/hot_stream_page_of_1000", |b| {
        b.iter(|| index.scan(spread(HOT_STREAM), (next() % 200) * 1_000, black_box(1_000)));
    });
    group.finish();
    println!("{:#?}", index.stats());
}

criterion_group!(benches, push, look_up);
criterion_main!(benches);
