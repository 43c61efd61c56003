//! Calls that take time, with a clock that the test moves.

mod breaker;
mod rates;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use millstream::dataflow::{Collected, Dataflow, Driver, Feed};
use millstream_operators::function::count;
use millstream_operators::paced::{AsyncCause, AsyncError, AsyncOptions};
use millstream_operators::window::Tumbling;
use proptest::prelude::*;

use crate::support::{Item, case, one, seconds, secs};

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
