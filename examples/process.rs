//! An operator of one's own, with state and a timer per key: orders that are not paid within half an hour are told.
//!
//! `cargo run -p millstream-examples --example process`

use std::convert::Infallible;
use std::time::Duration;

use millstream::dataflow::{Dataflow, Driver, Feed};
use millstream_engine::time::Timestamp;
use millstream_operators::keyed::{Context, KeyedProcess, Timer};

#[derive(Clone, Copy)]
enum Order {
    Placed,
    Paid,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Paid(u32),
    Overdue(u32),
}

/// How long an order waits for its payment.
#[derive(Clone)]
struct Payments {
    patience: Duration,
}

impl KeyedProcess<u32, (u32, Order)> for Payments {
    /// When the order must be paid, while it is open.
    type State = Option<Timestamp>;
    type Out = Outcome;
    type Side = Infallible;

    fn item(
        &mut self,
        order: &u32,
        due: &mut Option<Timestamp>,
        time: Timestamp,
        (_, what): (u32, Order),
        ctx: &mut Context<'_, Outcome>,
    ) {
        match (what, *due) {
            (Order::Placed, None) => {
                let until = time.saturating_add(self.patience);
                ctx.set_event_timer(until);
                *due = Some(until);
            }
            // In time by the items' own times, whenever they come to be looked at.
            (Order::Paid, Some(until)) if time < until => {
                ctx.delete_event_timer(until);
                ctx.emit(Outcome::Paid(*order));
                ctx.clear_state();
            }
            // Placed twice, or paid too late: nothing changes.
            (Order::Placed, Some(_)) | (Order::Paid, _) => {}
        }
    }

    fn timer(
        &mut self,
        order: &u32,
        _due: &mut Option<Timestamp>,
        _timer: Timer,
        ctx: &mut Context<'_, Outcome>,
    ) {
        ctx.emit(Outcome::Overdue(*order));
        // Nothing is kept of an order that is over.
        ctx.clear_state();
    }
}

fn minute(minute: i64) -> Timestamp {
    Timestamp::from_seconds(minute * 60)
}

/// Runs on one thread with a source that is fed by hand: how dataflows are tested.
fn main() -> anyhow::Result<()> {
    let orders = Feed::new(1);
    let (dataflow, outcomes) = Dataflow::declare("payments", |flow| {
        flow.source("orders", orders.clone())
            .stream()
            .key_by(|(order, _): &(u32, Order)| *order)
            .process(Payments {
                patience: Duration::from_secs(30 * 60),
            })
            .collect()
    })?;
    let mut driver = Driver::new(dataflow)?;

    orders.push(0, minute(0), (1, Order::Placed));
    orders.push(0, minute(1), (2, Order::Placed));
    orders.push(0, minute(20), (2, Order::Paid));
    driver.run()?;
    assert_eq!(outcomes.take_items(), [Outcome::Paid(2)]);

    orders.watermark(0, minute(29));
    driver.run()?;
    assert!(outcomes.is_empty(), "order 1 has a minute left");

    orders.watermark(0, minute(30));
    driver.run()?;
    let overdue = outcomes.take_items();
    println!("{overdue:?}");
    assert_eq!(overdue, [Outcome::Overdue(1)]);
    Ok(())
}
