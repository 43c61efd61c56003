//! The same where what may fail stands inside of another operator.
//!
//! Story: such an operator passed neither on that the end is held nor that something is to be done before it. So at most a
//! thousand of the last tries were made, and those behind the sink inside heard of no end.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use millstream::dataflow::{Dataflow, Driver, Feed, Flow};
use millstream_engine::flow::{Discard, Emit, Operator, Then, inner_sink, stateless};
use millstream_engine::time::Timestamp;
use millstream_operators::failing::ItemPolicy;
use millstream_operators::stateless::{Fork, NoOrder, ToAll, TryItems, TryMap};

use super::{Stubborn, feed, run};
use crate::support::{Item, one, seconds, secs};

/// Gives items on, and a copy of each to a sink.
#[derive(Clone)]
struct Copied<S> {
    sink: S,
}

impl<S: Operator<Item, Out = Infallible>> Operator<Item> for Copied<S> {
    type Out = Item;

    fn item<E: Emit<Item>>(&mut self, time: Timestamp, item: Item, out: &mut E) {
        self.sink.item(time, item, &mut Discard);
        out.emit(time, item);
    }

    inner_sink!(sink);
}

/// What came to a sink, and how often it was told of the end of time and of its input.
#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<(Vec<i64>, u64, u64)>>);

impl Seen {
    /// How many items came, and how often the ends were told.
    fn counts(&self) -> (usize, u64, u64) {
        let seen = self.0.lock().unwrap();
        (seen.0.len(), seen.1, seen.2)
    }
}

impl Operator<Item> for Seen {
    type Out = Infallible;

    fn item<E: Emit<Infallible>>(&mut self, _time: Timestamp, item: Item, _out: &mut E) {
        let mut seen = self.0.lock().unwrap();
        assert_eq!((seen.1, seen.2), (0, 0), "{item:?} comes behind the end");
        seen.0.push(item.1);
    }

    fn watermark<E: Emit<Infallible>>(&mut self, watermark: Timestamp, _out: &mut E) {
        self.0.lock().unwrap().1 += u64::from(watermark == Timestamp::MAX);
    }

    fn end<E: Emit<Infallible>>(&mut self, _out: &mut E) {
        self.0.lock().unwrap().2 += 1;
    }

    stateless!();
}

/// Tries what is stubborn as often as it takes, in front of a sink.
fn tried(
    stubborn: &Stubborn,
    seen: &Seen,
) -> impl Operator<Item, Out = Infallible> + Clone + use<> {
    let stubborn = stubborn.clone();
    let policy = ItemPolicy::skip().attempts(u32::MAX, secs(1));
    let function = TryMap(move |item: &Item| stubborn.take(item));
    Then {
        first: TryItems::new(policy, 0, NoOrder, function),
        second: seen.clone(),
    }
}

/// Steps a dataflow that has read all that there is until it has ended, which it is asked to do.
fn run_to_the_end(stubborn: &Stubborn, declare: impl FnOnce(&Flow)) {
    let flow = Dataflow::build_with("ending", one(), declare);
    let mut driver = Driver::new(flow.unwrap()).unwrap();
    run(&mut driver, stubborn, 1);
    driver.begin_stop();
    run(&mut driver, stubborn, u64::MAX);
    assert!(driver.is_ended());
}

/// What has no end of its own, as at a stop.
fn stopped(items: i64) -> Feed<Item> {
    let feed = Feed::new(1);
    (0..items).for_each(|value| feed.push(0, seconds(value), (1, value)));
    feed
}

#[test]
fn a_sink_inside_of_an_operator_makes_its_last_tries() {
    for (feed, ends) in [(feed(50), 1), (stopped(50), 0)] {
        let stubborn = Stubborn::until(20_000);
        let (inner, outer) = (Seen::default(), Seen::default());
        run_to_the_end(&stubborn, |flow| {
            let copied = Copied {
                sink: tried(&stubborn, &inner),
            };
            let items = flow.source("items", feed.clone()).stream();
            items.then(copied).end(outer.clone());
        });
        assert_eq!(inner.counts(), (50, ends, 1));
        assert_eq!(outer.counts(), (50, ends, 1));
    }
}

/// Each of them has tries of its own to make, and the end comes to none before.
#[test]
fn sinks_of_a_fork_make_their_last_tries() {
    for (feed, ends) in [(feed(50), 1), (stopped(50), 0)] {
        let slow = Stubborn::until(20_000);
        let stubborn = [Stubborn::until(5_000), slow.clone()];
        let seen = [Seen::default(), Seen::default()];
        run_to_the_end(&slow, |flow| {
            let sinks = stubborn.iter().zip(&seen);
            let sinks: Vec<_> = sinks
                .map(|(stubborn, seen)| tried(stubborn, seen))
                .collect();
            let items = flow.source("items", feed.clone()).stream();
            items.end(Fork::new(sinks, ToAll));
        });
        assert_eq!(seen[0].counts(), (50, ends, 1));
        assert_eq!(seen[1].counts(), (50, ends, 1));
    }
}
