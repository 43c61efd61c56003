//! The order in which results go on; the heads themselves are tested in dataflows.

use std::convert::Infallible;
use std::time::Duration;

use millstream_engine::flow::{Emit, Operator, Pull, stateless, tell_end};
use millstream_engine::time::Timestamp;
use proptest::prelude::*;

use super::AsyncOptions;
use super::order::{Done, Next, Order};
use super::recorder::{Mark, Teller};

fn done(number: usize) -> Done<usize> {
    Done {
        time: Timestamp(number as i64),
        limit: Timestamp::MIN,
        result: number,
    }
}

proptest! {
    /// Things come in one after the other; calls finish in any order; what may go on is taken at once.
    #[test]
    fn marks_are_never_overtaken(
        kinds in prop::collection::vec(prop::bool::weighted(0.7), 1..40),
        order in prop::collection::vec(any::<prop::sample::Index>(), 40),
        is_ordered in any::<bool>(),
    ) {
        let mut queue = Order::new(is_ordered);
        let (mut open, mut given) = (Vec::new(), Vec::new());
        for (number, is_item) in kinds.iter().enumerate() {
            if *is_item {
                open.push((number, queue.add_item()));
            } else {
                queue.add_mark(Mark::Watermark(Timestamp(number as i64)));
            }
        }
        let items = open.len();
        prop_assert_eq!(queue.items(), items);
        let mut take = |queue: &mut Order<usize>| {
            while let Some(next) = queue.next() {
                given.push(match next {
                    Next::Item(done) => (true, done.result),
                    Next::Mark(Mark::Watermark(at)) => (false, at.0 as usize),
                    Next::Mark(other) => panic!("{other:?} was never added"),
                });
            }
        };
        take(&mut queue);
        for choice in order {
            if open.is_empty() {
                break;
            }
            let (number, ticket) = open.swap_remove(choice.index(open.len()));
            queue.finish(ticket, done(number));
            take(&mut queue);
        }
        prop_assert_eq!(queue.items(), 0);
        prop_assert_eq!(given.iter().filter(|(is_item, _)| *is_item).count(), items);
        for (at, (is_item, number)) in given.iter().enumerate() {
            for (later_is_item, later) in &given[at + 1..] {
                let may_overtake = *is_item && *later_is_item && !is_ordered;
                prop_assert!(may_overtake || later > number, "{given:?}");
            }
        }
        // Marks right after one another become one, the last.
        let last_mark = kinds.iter().rposition(|is_item| !is_item);
        let last_given = given.iter().rfind(|(is_item, _)| !is_item).map(|(_, number)| *number);
        prop_assert_eq!(last_given, last_mark);
    }
}

#[test]
fn waits_double_up_to_the_longest() {
    let seconds = Duration::from_secs;
    let options = AsyncOptions::ordered(0).backoff(seconds(1), seconds(60));
    assert_eq!(options.concurrency.get(), 1);
    let waits: Vec<_> = (1..9)
        .map(|tries| options.wait_after(tries).as_secs())
        .collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(options.wait_after(1_000), seconds(60));
}

/// Tells what it is told.
#[derive(Default)]
struct Told(Vec<(&'static str, i64)>);

impl Operator<u8> for Told {
    type Out = Infallible;

    fn item<E: Emit<Infallible>>(&mut self, time: Timestamp, _item: u8, _out: &mut E) {
        self.0.push(("item", time.0));
    }

    fn watermark<E: Emit<Infallible>>(&mut self, watermark: Timestamp, _out: &mut E) {
        self.0.push(("watermark", watermark.0));
    }

    fn late_before(&mut self, limit: Timestamp) {
        self.0.push(("limit", limit.0));
    }

    fn end<E: Emit<Infallible>>(&mut self, _out: &mut E) {
        self.0.push(("end", 0));
    }

    stateless!();
}

/// What a mark makes the operator give out is not judged by the last item's limit, nor is what the clock does after it.
#[test]
fn limits_of_items_hold_for_items_alone() {
    let (mut told, mut teller) = (Told::default(), Teller::new());
    let mark = |at| Mark::Watermark(Timestamp(at));
    teller.mark(&mut told, mark(10));
    teller.item(&mut told, (Timestamp(12), Timestamp(30), 1));
    teller.item(&mut told, (Timestamp(31), Timestamp(30), 2));
    teller.mark(&mut told, mark(20));
    teller.item(&mut told, (Timestamp(31), Timestamp(40), 3));
    teller.rest(&mut told);
    teller.rest(&mut told);
    teller.mark(&mut told, Mark::End);
    assert_eq!(tell_end(&mut told), Pull::Ended);
    let expected = [
        ("watermark", 10),
        ("limit", 30),
        ("item", 12),
        ("item", 31),
        ("limit", 10),
        ("watermark", 20),
        ("limit", 40),
        ("item", 31),
        ("limit", 20),
        ("end", 0),
    ];
    assert_eq!(told.0, expected);
}
