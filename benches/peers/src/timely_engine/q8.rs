//! q8: people and auctions in one stream by person, joined within the window, whichever comes first.

use compact_str::CompactString;
use millstream::catalog::nexmark::NexmarkEvent;
use millstream::catalog::nexmark::rows::NewSellerAuction;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Map;

use super::local::Open;
use super::{Either, Events, FastMap, Millis, spread};
use crate::input::{WINDOW_MILLIS, millis, timestamp};

/// A person's number, a window's end, and the person's name or an auction's reserve.
type Side = (u64, Millis, Either<CompactString, u64>);

/// The people of a window, and the auctions that wait for theirs.
#[derive(Default)]
struct Joined {
    people: FastMap<u64, CompactString>,
    waiting: FastMap<u64, Vec<u64>>,
}

fn window_end(time: millstream::prelude::Timestamp) -> Millis {
    millis(time) / WINDOW_MILLIS * WINDOW_MILLIS + WINDOW_MILLIS
}

pub(super) fn q8<'scope>(events: Events<'scope>) -> StreamVec<'scope, Millis, NewSellerAuction> {
    let sides = events.flat_map(|event| match event {
        NexmarkEvent::Person(person) => Some((
            person.id,
            window_end(person.date_time),
            Either::Person(person.name),
        )),
        NexmarkEvent::Auction(auction) => Some((
            auction.seller,
            window_end(auction.date_time),
            Either::Auction(auction.reserve),
        )),
        NexmarkEvent::Bid(_) => None,
    });
    let by_person = Exchange::new(|(person, _, _): &Side| spread(*person));
    sides.unary_frontier(by_person, "Join", |_, _| {
        let mut windows: Open<Joined> = Open::new();
        move |(input, frontier), output| {
            let port = output.output_index();
            input.for_each_stamp(|capability, batches| {
                let mut session = output.session(&capability);
                for (id, end, side) in batches.flat_map(|batch| batch.drain(..)) {
                    let joined = windows.state(end, || capability.delayed(&end, port));
                    let row = |name: &CompactString, reserve| NewSellerAuction {
                        window: timestamp(end - WINDOW_MILLIS),
                        person: id,
                        name: name.clone(),
                        reserve,
                    };
                    match side {
                        Either::Person(name) => {
                            for reserve in joined.waiting.remove(&id).unwrap_or_default() {
                                session.give(row(&name, reserve));
                            }
                            joined.people.insert(id, name);
                        }
                        Either::Auction(reserve) => match joined.people.get(&id) {
                            Some(name) => session.give(row(name, reserve)),
                            None => joined.waiting.entry(id).or_default().push(reserve),
                        },
                    }
                }
            });
            while windows.closed(frontier).is_some() {}
        }
    })
}
