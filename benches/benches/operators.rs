//! Operators of dataflows one by one, each driven directly with prepared batches: no stage, no mailbox, no clock.
//!
//! A batch is followed by a watermark at its last time, so that what windows and joins hold stays as large as it is in a
//! dataflow that runs. Times go on from batch to batch. Making a batch is not timed.

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main,
};
use millstream_engine::batch::Batch;
use millstream_engine::flow::{ByKey, Operator, Route, Side, Then};
use millstream_engine::time::Timestamp;
use millstream_operators::function::{
    AggregateFunction, count, distinct_approximate, quantiles, sum, top_k,
};
use millstream_operators::join::{
    AsOf, AsOfJoin, Bounds, Inner, IntervalJoin, SlidingJoin, UniqueJoin,
};
use millstream_operators::keyed::Process;
use millstream_operators::pattern::{Pattern, PatternMatcher};
use millstream_operators::stateless::{Filter, Map};
use millstream_operators::window::{
    CountLate, Session, SessionWindows, Sliding, SlidingWindows, Tumbling, TumblingWindows,
};

/// Items of a batch.
const ITEMS: u64 = 4_096;
/// Event time between two items.
const STEP: Duration = Duration::from_micros(10);
/// Keys of what keeps state per key.
const KEYS: u64 = 10_000;
/// Keys where each has many items.
const FEW_KEYS: u64 = 16;
/// Partitions that the exchange chooses from.
const TARGETS: usize = 4;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// A key and a quantity that look random, of item number `number` since the beginning.
fn item(number: u64) -> (u64, u64) {
    let mut word = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^= word >> 31;
    (((word >> 32) * KEYS) >> 32, word & 0xffff)
}

/// Batch number `turn`, of what `make` makes of each item's number.
fn batch<T>(turn: u64, make: impl Fn(u64) -> T) -> Batch<T> {
    let mut batch = Batch::with_capacity(ITEMS as usize);
    let step = STEP.as_micros() as i64;
    for number in turn * ITEMS..(turn + 1) * ITEMS {
        batch.push(Timestamp(number as i64 * step), make(number));
    }
    batch
}

/// Drives an operator with batch after batch.
fn drive<T, O: Operator<T>>(
    group: &mut Group<'_>,
    name: &str,
    mut operator: O,
    make: impl Fn(u64) -> T,
) {
    let mut turn = 0;
    let mut emit = |_: Timestamp, item: O::Out| {
        black_box(item);
    };
    group.bench_function(name, |bencher| {
        bencher.iter_batched_ref(
            || {
                turn += 1;
                batch(turn, &make)
            },
            |batch| {
                let last = batch.times.last().copied().unwrap_or(Timestamp::MIN);
                operator.batch(batch, &mut emit);
                operator.watermark(last, &mut emit);
            },
            BatchSize::SmallInput,
        );
    });
}

fn stateless(group: &mut Group<'_>) {
    let chain = Then {
        first: Map::new(|(key, quantity): (u64, u64)| (key, quantity * 3)),
        second: Then {
            first: Filter::new(|&(_, quantity): &(u64, u64)| quantity % 2 == 0),
            second: Map::new(|(key, quantity): (u64, u64)| key ^ quantity),
        },
    };
    drive(group, "map-filter-map", chain, item);
}

fn exchange(group: &mut Group<'_>) {
    let mut route = ByKey::new(|&(key, _): &(u64, u64)| key);
    let mut targets: Vec<Batch<(u64, u64)>> = (0..TARGETS).map(|_| Batch::new()).collect();
    group.bench_function("exchange-route", |bencher| {
        bencher.iter_batched_ref(
            || batch(1, item),
            |batch| {
                for (&time, item) in batch.times.iter().zip(batch.items.drain(..)) {
                    route.route(time, item, TARGETS, |at, time, item| {
                        targets[at].push(time, item);
                    });
                }
                for target in &mut targets {
                    black_box(&target.items);
                    target.clear();
                }
            },
            BatchSize::SmallInput,
        );
    });
}

fn key(&(key, _): &(u64, u64)) -> u64 {
    key
}

fn few(&(key, _): &(u64, u64)) -> u64 {
    key % FEW_KEYS
}

fn windows(group: &mut Group<'_>) {
    let second = Duration::from_secs(1);
    let late = CountLate::new;
    let tumbling = TumblingWindows::new(Tumbling::of(second), key, count(), late());
    drive(group, "tumbling-count", tumbling, item);
    let quantity = sum(|&(_, quantity): &(u64, u64)| quantity);
    let window = Sliding::of(second).every(Duration::from_millis(100));
    let sliding = SlidingWindows::new(window, key, quantity, late());
    drive(group, "sliding-sum", sliding, item);
    // A key comes every 100 ms in the mean, so that about a third of all gaps are longer than this.
    let gap = Session::gap(Duration::from_millis(110));
    let session = SessionWindows::new(gap, key, count(), late());
    drive(group, "session-count", session, item);
}

/// One right item after three left ones.
fn side(number: u64) -> Side<(u64, u64), (u64, u64)> {
    if number % 4 == 3 {
        Side::Right(item(number))
    } else {
        Side::Left(item(number))
    }
}

fn joins(group: &mut Group<'_>) {
    let pair = Inner(|_: &u64, left: &(u64, u64), right: &(u64, u64)| left.1 + right.1);
    let bounds = Bounds::between(Duration::from_millis(100), Duration::from_millis(100));
    let interval = IntervalJoin::new(bounds, key, key, pair, CountLate::new());
    drive(group, "interval-join", interval, side);
    let interval = IntervalJoin::new(bounds, few, few, pair, CountLate::new());
    drive(group, "interval-join-few-keys", interval, side);
    let window = Sliding::of(Duration::from_millis(100)).every(Duration::from_millis(20));
    let sliding = SlidingJoin::new(window, key, key, pair, CountLate::new());
    drive(group, "sliding-join", sliding, side);
    let as_of = AsOfJoin::new(AsOf::new(), key, key, pair, CountLate::new());
    drive(group, "as-of-join", as_of, side);
    let held = AsOf::new().allowed_lateness(Duration::from_millis(100));
    let as_of = AsOfJoin::new(held, few, few, pair, CountLate::new());
    drive(group, "as-of-join-few-keys", as_of, side);
    // After the first batches each key has its right item: left items meet it, right ones replace it.
    let unique = UniqueJoin::new(key, key, pair);
    drive(group, "unique-join", unique, side);
}

fn patterns(group: &mut Group<'_>) {
    let pattern = Pattern::begin("small", |&(_, quantity): &(u64, u64)| quantity < 0x2000)
        .followed_by("large", |&(_, quantity): &(u64, u64)| quantity >= 0xe000)
        .within(Duration::from_millis(500));
    let matcher = PatternMatcher::new(pattern).expect("the pattern is bounded");
    let process = Process::new(key, matcher, CountLate::new());
    drive(group, "pattern", process, item);
}

/// Adds batches to one accumulator.
fn add<A: AggregateFunction<(u64, u64)>>(group: &mut Group<'_>, name: &str, function: A) {
    let mut accumulator = function.create();
    let mut turn = 0;
    group.bench_function(name, |bencher| {
        bencher.iter_batched_ref(
            || {
                turn += 1;
                batch(turn, item)
            },
            |batch| {
                for (time, item) in batch.iter() {
                    function.add(&mut accumulator, time, item);
                }
            },
            BatchSize::SmallInput,
        );
    });
    black_box(function.finish(&accumulator));
}

fn functions(group: &mut Group<'_>) {
    let top = top_k(100, |&(_, quantity): &(u64, u64)| quantity);
    add(group, "top-100-add", top);
    let distinct = distinct_approximate(12, |&(_, quantity): &(u64, u64)| quantity);
    add(group, "hyperloglog-add", distinct);
    let quantile = quantiles(0.01, |&(_, quantity): &(u64, u64)| quantity as f64);
    add(group, "quantiles-add", quantile);
}

fn operators(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("operators");
    group.throughput(Throughput::Elements(ITEMS));
    stateless(&mut group);
    exchange(&mut group);
    windows(&mut group);
    joins(&mut group);
    patterns(&mut group);
    functions(&mut group);
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(2)).sample_size(20);
    targets = operators
}
criterion_main!(benches);
