//! The window of command ids, full: a new id comes and the oldest goes, and an id is looked up.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use millstream_engine::event::Offset;
use millstream_engine::partition::{CommandId, DedupLimits, DedupWindow, Moment, Seen};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

/// Commands between two calls of `forget`, as in a turn.
const TURN: u64 = 256;

fn command(random: &mut SmallRng) -> CommandId {
    CommandId(Uuid::from_u128(random.random()))
}

fn remember(window: &mut DedupWindow, random: &mut SmallRng, next: &mut u64) {
    for _ in 0..TURN {
        let seen = Seen {
            first: Offset(*next),
            events: 1,
            version: 0,
        };
        window.insert(random.random(), command(random), seen, Moment::default());
        *next += 1;
    }
    window.forget(Offset(*next), Moment::default());
}

fn window(criterion: &mut Criterion) {
    let limits = DedupLimits::default();
    let (mut window, mut next) = (DedupWindow::new(limits), 0);
    let mut random = SmallRng::seed_from_u64(millstream_benches::SEED);
    while next <= limits.ids_max as u64 {
        remember(&mut window, &mut random, &mut next);
    }
    let mut group = criterion.benchmark_group("dedup");
    group.throughput(Throughput::Elements(TURN));
    group.bench_function("remember-and-forget", |bencher| {
        bencher.iter(|| remember(&mut window, &mut random, &mut next));
    });
    let unknown: Vec<_> = (0..TURN)
        .map(|_| (random.random(), command(&mut random)))
        .collect();
    group.bench_function("look-up-unknown", |bencher| {
        bencher.iter(|| {
            unknown
                .iter()
                .filter(|&&(stream, id)| window.get(stream, id).is_some())
                .count()
        });
    });
    assert_eq!(black_box(window.len()), limits.ids_max);
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(2)).sample_size(20);
    targets = window
}
criterion_main!(benches);
