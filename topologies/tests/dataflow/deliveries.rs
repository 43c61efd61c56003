//! Results that whoever gets them may refuse, with a clock that the test moves.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream::dataflow::{Dataflow, Driver, Feed, FlowOptions};
use millstream_operators::breaker::BreakerOptions;
use millstream_operators::sink::DeliverOptions;

use crate::support::{seconds, secs};

/// What was given, with its number, and whether it was taken.
type Given = Vec<(u64, u64, bool)>;

#[derive(Clone, Default)]
struct Receiver {
    given: Arc<Mutex<Given>>,
    is_down: Arc<Mutex<bool>>,
}

struct Telling {
    driver: Driver,
    feed: Feed<u64>,
    receiver: Receiver,
}

impl Telling {
    fn new(options: DeliverOptions) -> Self {
        let (feed, receiver) = (Feed::new(1), Receiver::default());
        let one = FlowOptions {
            partitions: 1,
            ..FlowOptions::default()
        };
        let dataflow = Dataflow::build_with("telling", one, |flow| {
            let receiver = receiver.clone();
            let numbers = flow.source("numbers", feed.clone()).stream();
            numbers.deliver_with(options, move |delivery| {
                let is_taken = !*receiver.is_down.lock().unwrap();
                let given = (delivery.id.number, delivery.item, is_taken);
                receiver.given.lock().unwrap().push(given);
                if is_taken { Ok(()) } else { Err("down") }
            });
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
