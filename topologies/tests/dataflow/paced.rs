//! Calls that take time and rates, with a clock that the test moves.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use millstream::dataflow::{Collected, Dataflow, DataflowFault, Driver, Feed};
use millstream_engine::checkpoint::InMemory;
use millstream_engine::flow::Resources;
use millstream_operators::breaker::BreakerOptions;
use millstream_operators::function::count;
use millstream_operators::paced::{AsyncCause, AsyncError, AsyncOptions};
use millstream_operators::window::Tumbling;
use proptest::prelude::*;

use crate::support::{Item, Shape, case, one, one_with_checkpoints, seconds, secs};

/// What is answered to a call.
type Answer = Result<u64, &'static str>;

#[derive(Default)]
struct Asked {
    answer: Option<Answer>,
    waker: Option<Waker>,
}

/// Calls that wait until the test answers them.
#[derive(Clone, Default)]
struct Service {
    calls: Arc<Mutex<BTreeMap<u64, Asked>>>,
    made: Arc<AtomicUsize>,
}

impl Service {
    async fn call(self, number: u64) -> Answer {
        self.made.fetch_add(1, Ordering::Relaxed);
        self.calls.lock().unwrap().insert(number, Asked::default());
        poll_fn(|context| {
            let mut calls = self.calls.lock().unwrap();
            let asked = calls.get_mut(&number).unwrap();
            match asked.answer.take() {
                Some(answer) => {
                    calls.remove(&number);
                    Poll::Ready(answer)
                }
                None => {
                    asked.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn answer(&self, number: u64, answer: Answer) {
        let mut calls = self.calls.lock().unwrap();
        let asked = calls.get_mut(&number).unwrap();
        asked.answer = Some(answer);
        if let Some(waker) = asked.waker.take() {
            waker.wake();
        }
    }

    fn waiting(&self) -> Vec<u64> {
        self.calls.lock().unwrap().keys().copied().collect()
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }
}

type Outcome = Result<u64, AsyncError<u64, &'static str>>;

struct Asking {
    driver: Driver,
    feed: Feed<u64>,
    service: Service,
    results: Collected<Outcome>,
}

impl Asking {
    fn new(options: AsyncOptions) -> Self {
        let (feed, service, mut results) = (Feed::new(1), Service::default(), None);
        let dataflow = Dataflow::build_with("asking", one(), |flow| {
            let service = service.clone();
            let call = move |number| service.clone().call(number);
            let stream = flow.source("numbers", feed.clone()).stream();
            results = Some(stream.map_async(options, call).collect());
        });
        let driver = Driver::new(dataflow.unwrap()).unwrap();
        Self {
            driver,
            feed,
            service,
            results: results.unwrap(),
        }
    }

    fn push(&mut self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.feed.push(0, seconds(number as i64), number);
        }
        self.driver.run().unwrap();
    }

    fn answer(&mut self, number: u64) {
        self.service.answer(number, Ok(number * 10));
        self.driver.run().unwrap();
    }

    fn values(&self) -> Vec<u64> {
        let results = self.results.take_items();
        results.into_iter().map(|result| result.unwrap()).collect()
    }
}

#[test]
fn ordered_results_keep_the_order_and_wait_for_each_other() {
    let mut asking = Asking::new(AsyncOptions::ordered(3));
    asking.push(0..10);
    assert_eq!(asking.service.waiting(), [0, 1, 2]);
    asking.answer(2);
    asking.answer(1);
    assert!(asking.results.is_empty());
    assert_eq!(
        asking.service.waiting(),
        [0],
        "results that wait take up room"
    );
    asking.answer(0);
    assert_eq!(asking.values(), [0, 10, 20]);
    assert_eq!(asking.service.waiting(), [3, 4, 5]);
}

#[test]
fn unordered_results_go_on_when_they_are_there() {
    let mut asking = Asking::new(AsyncOptions::unordered(3));
    asking.push(0..5);
    asking.answer(2);
    asking.answer(1);
    assert_eq!(asking.values(), [20, 10]);
    assert_eq!(asking.service.waiting(), [0, 3, 4]);
    asking.feed.end_all();
    for number in [4, 0, 3] {
        asking.answer(number);
    }
    assert_eq!(asking.values(), [40, 0, 30]);
    assert!(asking.driver.is_ended());
}

#[test]
fn each_try_has_its_time_and_further_ones_wait_longer() {
    let options = AsyncOptions::ordered(4)
        .timeout(secs(10))
        .retries(3)
        .backoff(secs(2), secs(5));
    let mut asking = Asking::new(options);
    asking.push(0..1);
    let made_after = |asking: &mut Asking, wait: u64| {
        asking.driver.advance(secs(wait)).unwrap();
        asking.service.made()
    };
    assert_eq!(made_after(&mut asking, 9), 1);
    assert_eq!(made_after(&mut asking, 1), 1); // Timed out; waits 2 seconds.
    assert_eq!(made_after(&mut asking, 1), 1);
    assert_eq!(made_after(&mut asking, 1), 2);
    asking.service.answer(0, Err("busy"));
    asking.driver.run().unwrap(); // Failed; waits 4 seconds.
    assert_eq!(made_after(&mut asking, 3), 2);
    assert_eq!(made_after(&mut asking, 1), 3);
    asking.service.answer(0, Err("busy"));
    asking.driver.run().unwrap(); // Waits 5 seconds, not 8.
    assert_eq!(made_after(&mut asking, 5), 4);
    asking.driver.advance(secs(10)).unwrap();
    let error = AsyncError {
        item: 0,
        tries: 4,
        cause: AsyncCause::TimedOut,
    };
    assert_eq!(asking.results.take_items(), [Err(error)]);
    assert_eq!(asking.service.made(), 4);
}

#[test]
fn a_failure_that_is_not_tried_again_goes_out_with_its_item() {
    let mut asking = Asking::new(AsyncOptions::unordered(4));
    asking.push(7..8);
    asking.service.answer(7, Err("no such thing"));
    asking.driver.run().unwrap();
    let [Err(error)] = &asking.results.take_items()[..] else {
        panic!("it failed");
    };
    assert_eq!((error.item, error.tries), (7, 1));
    assert_eq!(error.cause, AsyncCause::Failed("no such thing"));
}

/// A breaker that opens after two failures in a row, for one second, two, four.
fn breaker() -> BreakerOptions {
    BreakerOptions::after(2).cool_down(secs(1), secs(4))
}

/// Nobody is called while it is open, one call is made then, and all are once that was answered; nothing is lost, and the
/// order is kept.
#[test]
fn an_open_breaker_holds_calls_back_until_a_probe_is_answered() {
    let options = AsyncOptions::ordered(3)
        .retries(9)
        .backoff(secs(0), secs(0));
    let mut asking = Asking::new(options.breaker(breaker()));
    asking.push(0..10);
    assert_eq!(asking.service.waiting(), [0, 1, 2]);
    for number in [0, 1] {
        asking.service.answer(number, Err("down"));
    }
    asking.driver.run().unwrap();
    // The third was under way before, and its answer counts for nothing but itself.
    asking.answer(2);
    assert!(asking.service.waiting().is_empty());
    assert_eq!(asking.service.made(), 3);
    for (wait, made) in [(1, 4), (2, 5), (4, 6), (4, 7)] {
        asking
            .driver
            .advance(secs(wait) - Duration::from_millis(1))
            .unwrap();
        assert_eq!(asking.service.made(), made - 1, "open for {wait} s");
        asking.driver.advance(Duration::from_millis(1)).unwrap();
        assert_eq!(asking.service.made(), made);
        let probe = asking.service.waiting();
        assert_eq!(probe.len(), 1);
        if made < 7 {
            asking.service.answer(probe[0], Err("still down"));
            asking.driver.run().unwrap();
        } else {
            asking.answer(probe[0]);
        }
    }
    asking.feed.end_all();
    asking.driver.run().unwrap();
    while let Some(number) = asking.service.waiting().first().copied() {
        asking.answer(number);
    }
    assert_eq!(
        asking.values(),
        (0..10).map(|number| number * 10).collect::<Vec<_>>()
    );
    assert!(asking.driver.is_ended());
}

/// A call without a timeout that never comes back does not hold back all others for ever: the next one is the probe.
#[test]
fn a_probe_that_never_comes_back_is_followed_by_another() {
    let options = AsyncOptions::unordered(3)
        .retries(9)
        .backoff(secs(0), secs(0));
    let mut asking = Asking::new(options.breaker(breaker()));
    asking.push(0..3);
    for number in [0, 1] {
        asking.service.answer(number, Err("down"));
    }
    asking.driver.run().unwrap();
    asking.answer(2);
    asking.driver.advance(secs(1)).unwrap();
    assert_eq!(asking.service.waiting(), [0]);
    // For the longest that it may be open, and then it is, for two seconds.
    asking.driver.advance(secs(4)).unwrap();
    assert_eq!(asking.service.waiting(), [0]);
    asking.driver.advance(secs(2)).unwrap();
    assert_eq!(asking.service.waiting(), [0, 1]);
    asking.answer(1);
    asking.push(3..4);
    assert_eq!(asking.service.waiting(), [0, 3]);
}

#[test]
fn an_open_breaker_may_have_calls_fail_at_once() {
    let options = AsyncOptions::ordered(2).breaker(breaker().failing());
    let mut asking = Asking::new(options);
    asking.push(0..2);
    for number in [0, 1] {
        asking.service.answer(number, Err("down"));
    }
    asking.driver.run().unwrap();
    asking.results.take_items();
    asking.push(2..5);
    let failed = asking.results.take_items().into_iter();
    let failed: Vec<_> = failed.map(|result| result.unwrap_err()).collect();
    let not_called = |item| AsyncError {
        item,
        tries: 0,
        cause: AsyncCause::NotCalled,
    };
    assert_eq!(failed, [2, 3, 4].map(not_called));
    assert_eq!(asking.service.made(), 2);
    asking.driver.advance(secs(1)).unwrap();
    asking.push(5..7);
    // One is a probe.
    assert_eq!(asking.service.waiting(), [5]);
    asking.answer(5);
    asking.push(7..8);
    asking.answer(7);
    let results = asking.results.take_items();
    assert_eq!(results, [Ok(50), Err(not_called(6)), Ok(70)]);
}

/// Gives way some times and then answers.
async fn give_way(times: u64) {
    let left = RefCell::new(times);
    poll_fn(move |context| {
        let mut left = left.borrow_mut();
        if *left == 0 {
            return Poll::Ready(());
        }
        *left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Story: before a limit of a thousand items a second as many full batches waited as its mailbox takes, minutes of them, and
/// barriers behind those. What waits there now passes within a second, behind what the source has read in one turn.
#[test]
fn a_barrier_waits_for_little_before_a_rate_limit() {
    let (feed, mut passed) = (Feed::new(1), None);
    let dataflow = Dataflow::build_with("rate", one_with_checkpoints(), |flow| {
        let stream = flow.source("numbers", feed.clone()).stream();
        passed = Some(stream.rate_limit(1_000.0, 1).collect());
    });
    let storage = InMemory::default();
    let driver = Driver::with_checkpoints(dataflow.unwrap(), 3, Resources::new(), storage);
    let (mut driver, passed) = (driver.unwrap(), passed.unwrap());
    (0..200_000).for_each(|number| feed.push(0, seconds(0), number));
    driver.advance(secs(10)).unwrap();
    let before = passed.len();
    assert!((9_000..11_000).contains(&before), "{before}");
    driver.ask_for_checkpoint();
    driver.advance(secs(30)).unwrap();
    let status = driver.checkpoints().unwrap();
    assert!(status.completed.is_some(), "{status:?}");
    let after = passed.len() - before;
    assert!(
        (29_000..31_000).contains(&after),
        "the rate is kept: {after}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn windows_behind_calls_are_as_without_them(
        case in case(50), concurrency in 1usize..6, is_ordered in any::<bool>()
    ) {
        let options = if is_ordered {
            AsyncOptions::ordered(concurrency)
        } else {
            AsyncOptions::unordered(concurrency)
        };
        let run = |calls: bool| {
            let (windows, late) = case.shape.run(&case.input(), |flow, feed| {
                let late = flow.side_output::<Item>("late");
                let stream = feed.source(flow).stream();
                let call = |item: Item| async move {
                    give_way(item.1.unsigned_abs() % 7).await;
                    Ok::<_, ()>(item)
                };
                let stream = if calls {
                    stream.map_async(options.clone(), call).map(Result::unwrap).new_stage()
                } else {
                    stream.new_stage()
                };
                let windows = stream.key_by(|item: &Item| item.0).window(Tumbling::of(secs(5)));
                (windows.late_to(&late).aggregate(count()).collect(), flow.side(&late).collect())
            });
            let mut windows = windows.take();
            windows.sort();
            let mut late = late.take();
            late.sort();
            (windows, late)
        };
        prop_assert_eq!(run(true), run(false));
    }

    #[test]
    fn a_rate_limit_drops_nothing_and_keeps_the_rate(
        items in 1usize..60, per_second in 1u32..20, burst in 1u32..8
    ) {
        let (feed, mut passed) = (Feed::new(1), None);
        let shape = Shape::plain(5, 1);
        let dataflow = Dataflow::build_with("rate", shape.options(), |flow| {
            let stream = flow.source("numbers", feed.clone()).stream();
            passed = Some(stream.rate_limit(f64::from(per_second), burst).collect());
        });
        let (passed, mut driver) = (passed.unwrap(), Driver::new(dataflow.unwrap()).unwrap());
        (0..items).for_each(|number| feed.push(0, seconds(0), number));
        feed.end_all();
        driver.run().unwrap();
        let (mut elapsed, mut count) = (Duration::ZERO, passed.len());
        prop_assert_eq!(count, items.min(burst as usize));
        while count < items {
            let step = Duration::from_millis(10);
            driver.advance(step).unwrap();
            elapsed += step;
            count = passed.len();
            // A little is saved up besides the burst.
            let allowed = f64::from(burst) + (elapsed.as_secs_f64() + 0.01) * f64::from(per_second);
            prop_assert!(count as f64 <= allowed + 1e-6, "{} after {:?}", count, elapsed);
            prop_assert!(count == items || count as f64 > allowed - 1.3, "{} after {:?}", count, elapsed);
        }
        prop_assert_eq!(passed.take_items(), (0..items).collect::<Vec<_>>());
        prop_assert!(driver.is_ended());
    }
}

#[test]
fn a_rate_of_nothing_is_a_fault() {
    for (per_second, burst) in [(0.0, 1), (-1.0, 1), (f64::NAN, 1), (1.0, 0)] {
        let built = Dataflow::build("rate", |flow| {
            let stream = flow.source("numbers", Feed::<u64>::new(1)).stream();
            stream.rate_limit(per_second, burst).for_each(|_, _| {});
        });
        let faults = built.unwrap_err().faults;
        assert!(matches!(faults[..], [DataflowFault::Impossible { .. }]));
    }
}

#[tokio::test]
async fn calls_may_use_the_runtime_that_the_dataflow_runs_on() {
    let mut results = None;
    let dataflow = Dataflow::build("runtime", |flow| {
        let numbers = millstream::dataflow::Generate::each(|_, _| 0..1_000u64);
        let call = |number: u64| async move {
            let squared = tokio::spawn(async move { number * number });
            squared.await.map_err(|error| error.to_string())
        };
        let stream = flow.source("numbers", numbers).stream();
        results = Some(stream.map_async(AsyncOptions::ordered(32), call).collect());
    });
    dataflow.unwrap().run().await.unwrap();
    let mut results: Vec<_> = results
        .unwrap()
        .take_items()
        .into_iter()
        .map(Result::unwrap)
        .collect();
    results.sort_unstable();
    let expected: Vec<_> = (0..1_000).map(|number| number * number).collect();
    assert!(
        results.len() % 1_000 == 0
            && results
                .chunks(results.len() / 1_000)
                .map(|same| same[0])
                .eq(expected)
    );
}
