//! Results that whoever gets them may refuse, with a clock that the test moves.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream::dataflow::{Dataflow, Driver, Feed};
use millstream_engine::checkpoint::InMemory;
use millstream_engine::flow::Resources;
use millstream_operators::breaker::BreakerOptions;
use millstream_operators::failing::ItemPolicy;
use millstream_operators::function::count;
use millstream_operators::sink::{DeliverOptions, Delivery};
use millstream_operators::window::{Sliding, Windowed};

use crate::support::{one, one_with_checkpoints, seconds, secs};

/// What was given, with its number, and whether it was taken.
type Given = Vec<(u64, u64, bool)>;

#[derive(Clone, Default)]
struct Receiver {
    given: Arc<Mutex<Given>>,
    is_down: Arc<Mutex<bool>>,
}

impl Receiver {
    fn receive(&self, delivery: &Delivery<u64>) -> Result<(), &'static str> {
        let is_taken = !*self.is_down.lock().unwrap();
        let given = (delivery.id.number, delivery.item, is_taken);
        self.given.lock().unwrap().push(given);
        if is_taken { Ok(()) } else { Err("down") }
    }
}

struct Telling {
    driver: Driver,
    feed: Feed<u64>,
    receiver: Receiver,
}

impl Telling {
    fn new(options: DeliverOptions) -> Self {
        let (feed, receiver) = (Feed::new(1), Receiver::default());
        let dataflow = Dataflow::build_with("telling", one(), |flow| {
            let receiver = receiver.clone();
            let numbers = flow.source("numbers", feed.clone()).stream();
            numbers.deliver_with(options, move |delivery| receiver.receive(delivery));
        });
        Self {
            driver: Driver::new(dataflow.unwrap()).unwrap(),
            feed,
            receiver,
        }
    }

    fn set_down(&self, is_down: bool) {
        *self.receiver.is_down.lock().unwrap() = is_down;
    }

    fn push(&mut self, number: u64) {
        self.feed.push(0, seconds(number as i64), number);
        self.driver.run().unwrap();
    }

    fn given(&self) -> Given {
        std::mem::take(&mut self.receiver.given.lock().unwrap())
    }

    fn given_after(&mut self, wait: Duration) -> Given {
        self.driver.advance(wait).unwrap();
        self.given()
    }
}

/// What is refused is given again, at growing distances, before all else; then everything is there once, in its order.
#[test]
fn what_is_refused_is_given_again_first() {
    let mut telling = Telling::new(DeliverOptions::default().backoff(secs(1), secs(3)));
    telling.push(10);
    telling.set_down(true);
    telling.push(11);
    telling.push(12);
    assert_eq!(telling.given(), [(0, 10, true), (1, 11, false)]);
    for wait in [1, 2, 3, 3] {
        let before = secs(wait) - Duration::from_millis(1);
        assert_eq!(telling.given_after(before), []);
        let given = telling.given_after(Duration::from_millis(1));
        assert_eq!(given, [(1, 11, false)]);
    }
    telling.set_down(false);
    let given = telling.given_after(secs(3));
    assert_eq!(given, [(1, 11, true), (2, 12, true)]);
    telling.feed.end_all();
    telling.driver.run().unwrap();
    assert!(telling.driver.is_ended());
}

#[test]
fn nobody_is_called_while_a_breaker_is_open() {
    let breaker = BreakerOptions::after(2).cool_down(secs(10), secs(60));
    let options = DeliverOptions::default()
        .backoff(secs(1), secs(1))
        .breaker(breaker);
    let mut telling = Telling::new(options);
    telling.set_down(true);
    telling.push(10);
    assert_eq!(telling.given_after(secs(1)), [(0, 10, false); 2]);
    assert_eq!(telling.given_after(secs(9)), []);
    telling.push(11);
    assert_eq!(telling.given_after(secs(1)), [(0, 10, false)]);
    telling.set_down(false);
    assert_eq!(telling.given_after(secs(19)), []);
    let given = telling.given_after(secs(1));
    assert_eq!(given, [(0, 10, true), (1, 11, true)]);
}

#[test]
fn a_breaker_may_have_the_stage_fail() {
    let breaker = BreakerOptions::after(2).failing();
    let options = DeliverOptions::default()
        .backoff(secs(1), secs(1))
        .breaker(breaker);
    let mut telling = Telling::new(options);
    telling.set_down(true);
    telling.push(10);
    let failure = telling.driver.advance(secs(1)).unwrap_err();
    assert_eq!(
        failure.cause,
        "2 results in a row were refused, the last: down"
    );
}

/// Steps that are more than enough for whatever is to be done at one time.
const STEPS: usize = 10_000;

/// Refuses what it is given for a minute.
fn minute() -> DeliverOptions {
    DeliverOptions::default().backoff(secs(60), secs(60))
}

/// Story: behind a barrier nothing is tried again while a result is refused; what was due had the stage step without end.
#[test]
fn what_is_tried_again_waits_for_a_refused_result_behind_a_barrier() {
    let (feed, receiver) = (Feed::new(1), Receiver::default());
    let dataflow = Dataflow::build_with("telling", one_with_checkpoints(), |flow| {
        let receiver = receiver.clone();
        let numbers = flow.source("numbers", feed.clone()).stream();
        let policy = ItemPolicy::skip().attempts(1_000, secs(1));
        let odd = |number: &u64| (number % 2 == 1).then_some(*number).ok_or("even");
        let tried = numbers.try_map(policy, odd);
        tried.deliver_with(minute(), move |delivery| receiver.receive(delivery));
    });
    let storage = InMemory::default();
    let driver = Driver::with_checkpoints(dataflow.unwrap(), 3, Resources::new(), storage);
    let mut telling = Telling {
        driver: driver.unwrap(),
        feed,
        receiver,
    };
    telling.set_down(true);
    telling.push(10);
    telling.push(11);
    telling.driver.ask_for_checkpoint();
    telling.driver.run().unwrap();
    assert_eq!(telling.given(), [(0, 11, false)]);
    telling.driver.ask_for_checkpoint();
    telling.driver.run().unwrap();
    telling.driver.clock().advance(secs(10));
    assert_eq!(telling.driver.run_steps(STEPS), Ok(false), "it is at rest");
    telling.set_down(false);
    assert_eq!(telling.given_after(secs(50)), [(0, 11, true)]);
}

/// The same of what is left to be tried when the input has ended: nothing bounds the tries, and what succeeds finds no room.
#[test]
fn what_is_tried_at_the_end_waits_for_a_refused_result() {
    for seed in 0..4 {
        let (feed, receiver) = (Feed::new(1), Receiver::default());
        let (tries, is_mended) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let dataflow = Dataflow::build_with("telling", one(), |flow| {
            let (tries, is_mended) = (Arc::clone(&tries), Arc::clone(&is_mended));
            let receiver = receiver.clone();
            let numbers = flow.source("numbers", feed.clone()).stream();
            let policy = ItemPolicy::skip().attempts(u32::MAX, secs(1));
            let odd = move |number: &u64| {
                tries.fetch_add(1, Ordering::Relaxed);
                let is_good = number % 2 == 1 || is_mended.load(Ordering::Relaxed);
                is_good.then_some(*number).ok_or("even")
            };
            let tried = numbers.try_map(policy, odd);
            tried.deliver_with(minute(), move |delivery| receiver.receive(delivery));
        });
        let driver = Driver::with(dataflow.unwrap(), seed, Resources::new());
        let mut telling = Telling {
            driver: driver.unwrap(),
            feed,
            receiver,
        };
        telling.set_down(true);
        telling.push(10);
        // The end comes with what is refused.
        telling.feed.push(0, seconds(11), 11);
        telling.feed.end_all();
        assert_eq!(telling.driver.run_steps(STEPS), Ok(false), "seed {seed}");
        assert_eq!(telling.given(), [(0, 11, false)]);
        let tried = tries.load(Ordering::Relaxed);
        telling.driver.clock().advance(secs(30));
        assert_eq!(telling.driver.run_steps(STEPS), Ok(false), "seed {seed}");
        assert_eq!(tries.load(Ordering::Relaxed), tried);
        is_mended.store(true, Ordering::Relaxed);
        telling.set_down(false);
        let given = telling.given_after(secs(30));
        assert_eq!(given, [(0, 11, true), (1, 10, true)], "seed {seed}");
        assert!(telling.driver.is_ended());
    }
}

/// The same after the end of the input, where no window is given out any more, with one that is due.
#[test]
fn a_window_that_is_due_waits_for_a_refused_result_at_the_end() {
    for seed in 0..16 {
        let (feed, receiver) = (Feed::new(1), Receiver::default());
        let dataflow = Dataflow::build_with("telling", one(), |flow| {
            let receiver = receiver.clone();
            let numbers = flow.source("numbers", feed.clone()).stream();
            let windows = numbers.key_by(|number: &u64| *number);
            let window = Sliding::of(secs(20)).every(secs(10));
            let counted = windows.window(window.in_processing_time());
            let counted = counted.aggregate(count());
            let counted = counted.map(|window: Windowed<u64, u64>| window.key);
            counted.deliver_with(minute(), move |delivery| receiver.receive(delivery));
        });
        let driver = Driver::with(dataflow.unwrap(), seed, Resources::new());
        let mut telling = Telling {
            driver: driver.unwrap(),
            feed,
            receiver,
        };
        telling.set_down(true);
        telling.push(10);
        telling.driver.clock().advance(secs(10));
        telling.driver.begin_stop();
        assert_eq!(telling.driver.run_steps(STEPS), Ok(false), "seed {seed}");
        assert_eq!(telling.given(), [(0, 10, false)]);
        telling.driver.clock().advance(secs(20));
        assert_eq!(telling.driver.run_steps(STEPS), Ok(false), "seed {seed}");
    }
}
