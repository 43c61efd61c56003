//! q3: two routes out of one stream, and renoir's hash join.

use millstream::catalog::nexmark::NexmarkEvent;
use millstream::catalog::nexmark::rows::LocalItem;
use renoir::Stream;
use renoir::operator::Operator;

use super::{Output, take};
use crate::Options;
use crate::input::{is_chosen, is_near};

pub(super) fn q3(
    events: Stream<impl Operator<Out = NexmarkEvent> + 'static>,
    options: &Options,
) -> Output {
    let mut routes = events
        .route()
        .add_route(|event| event.person().is_some_and(is_near))
        .add_route(|event| event.auction().is_some_and(is_chosen))
        .build()
        .into_iter();
    let mut next = || routes.next().expect("two routes were built");
    let people = next().filter_map(|event| match event {
        NexmarkEvent::Person(person) => Some((person.id, (person.name, person.city, person.state))),
        _ => None,
    });
    let auctions = next().filter_map(|event| match event {
        NexmarkEvent::Auction(auction) => Some((auction.seller, auction.id)),
        _ => None,
    });
    let rows = people
        .join(auctions, |person| person.0, |auction| auction.0)
        .drop_key()
        .map(|((_, (name, city, state)), (_, auction))| LocalItem {
            name,
            city,
            state,
            auction,
        });
    take(rows, options)
}
