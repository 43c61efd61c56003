//! Functions with other parameters than those of what was stored.
//!
//! Once nothing was noticed: quantiles read buckets of another scale as their own, and sketches of another size ended their
//! stage whenever two of them met, after each restart anew.

use std::time::Duration;

use millstream_engine::flow::Operator;
use millstream_engine::time::Timestamp;

use crate::function::{
    Adapt, AggregateFunction, Buckets, Distribution, count, distinct_approximate, heavy_hitters,
    quantiles, top_k,
};
use crate::keyed::{NoSide, Process, Running, Ttl};
use crate::restart::Saves;
use crate::window::{
    Count, CountLate, CountWindows, Session, SessionWindows, Sliding, SlidingWindows, Trigger,
    Triggered, TriggeredWindows, Tumbling, TumblingWindows,
};

fn key(item: &u64) -> u64 {
    item % 2
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Quantiles as of earlier versions, which stored no parameters.
#[derive(Clone)]
struct Once<A>(A);

impl<A: AggregateFunction<u64, Accumulator = Buckets>> AggregateFunction<u64> for Once<A> {
    type Accumulator = Buckets;
    type Output = A::Output;
    const MERGES: bool = true;

    fn create(&self) -> Buckets {
        self.0.create()
    }

    fn add(&self, buckets: &mut Buckets, time: Timestamp, item: &u64) {
        self.0.add(buckets, time, item);
    }

    fn merge(&self, buckets: &mut Buckets, other: &Buckets) {
        self.0.merge(buckets, other);
    }

    fn finish(&self, buckets: &Buckets) -> A::Output {
        self.0.finish(buckets)
    }
}

fn spread(error: f64) -> impl AggregateFunction<u64, Accumulator = Buckets> {
    let spread = quantiles(error, |item: &u64| *item as f64);
    spread.map(|spread: Distribution| spread.quantile(0.5))
}

fn saved(mut operator: impl Operator<u64>) -> Saves {
    for item in 0..5 {
        operator.item(Timestamp::from_seconds(3), item, &mut |_, _| {});
    }
    operator.watermark(Timestamp::from_seconds(4), &mut |_, _| {});
    let mut saves = Saves::default();
    saves.save(&mut operator);
    saves
}

/// Whether operators that `make` makes of a function know its parameters.
macro_rules! assert_known {
    ($make:expr) => {{
        let said = saved($make(spread(0.01))).refusal(&mut $make(spread(0.02)));
        let said = said.expect("they are others");
        assert!(
            said.contains("of quantiles within 0.01, the stage now has quantiles within 0.02"),
            "{said}"
        );
        let same = saved($make(spread(0.01))).refusal(&mut $make(spread(0.01)));
        assert_eq!(same, None);
        let earlier = saved($make(Once(spread(0.01)))).refusal(&mut $make(spread(0.01)));
        assert_eq!(earlier, None);
    }};
}

/// Windows of a kind, of a function.
macro_rules! windows {
    ($operator:ident::$make:ident($window:expr)) => {
        |function| $operator::$make($window, key, function, CountLate::new())
    };
}

#[test]
fn other_parameters_are_refused_at_the_start() {
    macro_rules! assert_known_in {
        ($($windows:tt)*) => {
            assert_known!({
                fn make<A: AggregateFunction<u64>>(function: A) -> impl Operator<u64> {
                    windows!($($windows)*)(function)
                }
                make
            })
        };
    }
    assert_known_in!(TumblingWindows::new(Tumbling::of(seconds(10))));
    assert_known_in!(SlidingWindows::new(
        Sliding::of(seconds(10)).every(seconds(2))
    ));
    assert_known_in!(SessionWindows::new(Session::gap(seconds(5))));
    assert_known_in!(CountWindows::new(Count::of(4)));
    assert_known_in!(TriggeredWindows::new(Triggered::new(
        Tumbling::of(seconds(10)),
        Trigger::at_watermark()
    )));
}

#[test]
fn running_aggregates_know_them_as_well() {
    fn make<A>(function: A) -> impl Operator<u64>
    where
        A: AggregateFunction<u64, Output: Send + 'static>,
    {
        Process::new(key, Running::new(function, Ttl::Never), NoSide)
    }
    let said = saved(make(top_k(3, u64::clone))).refusal(&mut make(top_k(2, u64::clone)));
    assert!(said.unwrap().contains("of the 3 greatest items, the stage"));
    let said = saved(make(top_k(3, u64::clone))).refusal(&mut make(top_k(3, u64::clone)));
    assert_eq!(said, None);
}

#[test]
fn functions_that_are_made_of_others_say_what_those_do() {
    let distinct = |precision| distinct_approximate(precision, |item: &u64| *item);
    let frequent = |error| heavy_hitters(3, error, |item: &u64| *item);
    let plain = count().only(|item: &u64| *item > 0);
    assert_eq!(AggregateFunction::<u64>::parameters(&plain), "");
    let all = (
        count(),
        distinct(10).only(|item: &u64| *item > 1),
        frequent(0.001).of(|item: &u64| item % 7),
        distinct(12).map(|found: u64| found + 1),
    );
    assert_eq!(
        AggregateFunction::<u64>::parameters(&all),
        "distinct values to a precision of 10, the 3 most frequent keys within 0.001, distinct values to a precision of 12"
    );
}
