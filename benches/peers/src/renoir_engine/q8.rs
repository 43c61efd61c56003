//! q8: people and auctions in one stream by person. Its own window join takes two, whose events mix, and
//! then drops some.

use compact_str::CompactString;
use millstream::catalog::nexmark::NexmarkEvent;
use millstream::catalog::nexmark::rows::NewSellerAuction;
use renoir::operator::Operator;
use renoir::{KeyedStream, Stream};

use super::{Either, Output, aligned, rounded, take, when_moved};
use crate::Options;
use crate::input::{WINDOW_MILLIS, timestamp};

const WINDOW: i64 = WINDOW_MILLIS.cast_signed();

/// Start of the window, person, and the person's name or an auction's reserve.
type Side = (i64, u64, Either<CompactString, u64>);

pub(super) fn q8(
    events: Stream<impl Operator<Out = NexmarkEvent> + 'static>,
    options: &Options,
) -> Output {
    let sides = events
        .filter_map(|event| {
            let window = rounded(event.time(), WINDOW);
            match event {
                NexmarkEvent::Person(person) => {
                    Some((window, person.id, Either::Person(person.name)))
                }
                NexmarkEvent::Auction(auction) => {
                    Some((window, auction.seller, Either::Auction(auction.reserve)))
                }
                NexmarkEvent::Bid(_) => None,
            }
        })
        .add_timestamps(|side: &Side| side.0, when_moved())
        .group_by(|side| side.1);
    if options.workers > 1 {
        join(sides.reorder(), options)
    } else {
        join(sides, options)
    }
}

/// Window, name if the person came, reserves.
type Joined = (i64, Option<CompactString>, Vec<u64>);

fn join(
    sides: KeyedStream<impl Operator<Out = (u64, Side)> + 'static>,
    options: &Options,
) -> Output {
    let rows = sides
        .window(aligned(WINDOW))
        .fold(
            (0, None, Vec::new()),
            |joined: &mut Joined, (window, _, side): &Side| {
                joined.0 = *window;
                match side {
                    Either::Person(name) => joined.1 = Some(name.clone()),
                    Either::Auction(reserve) => joined.2.push(*reserve),
                }
            },
        )
        .unkey()
        .flat_map(|(person, (window, name, reserves))| {
            let window = timestamp(window.cast_unsigned());
            name.into_iter().flat_map(move |name| {
                let row = move |reserve| NewSellerAuction {
                    window,
                    person,
                    name: name.clone(),
                    reserve,
                };
                reserves.clone().into_iter().map(row)
            })
        });
    take(rows.drop_timestamps(), options)
}
