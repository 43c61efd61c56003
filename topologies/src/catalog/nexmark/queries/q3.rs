//! q3: auctions of one category whose seller lives near by.

use std::sync::Arc;

use compact_str::CompactString;
use millstream_engine::flow::Side;
use millstream_operators::join::{Inner, UniqueJoin};
use serde::{Deserialize, Serialize};

use super::super::event::NexmarkEvent;
use super::super::rows::LocalItem;
use super::{Events, Tally};

const CATEGORY: u64 = 10;
const STATES: [&str; 3] = ["OR", "ID", "CA"];

/// An auction's seller and its number.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Offer {
    seller: u64,
    auction: u64,
}

/// What is wanted of a person.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Neighbour {
    person: u64,
    name: CompactString,
    city: CompactString,
    state: CompactString,
}

fn wanted(event: NexmarkEvent) -> Option<Side<Offer, Neighbour>> {
    match event {
        NexmarkEvent::Auction(auction) if auction.category == CATEGORY => Some(Side::Left(Offer {
            seller: auction.seller,
            auction: auction.id,
        })),
        NexmarkEvent::Person(person) if STATES.contains(&person.state.as_str()) => {
            let person = *person;
            Some(Side::Right(Neighbour {
                person: person.id,
                name: person.name,
                city: person.city,
                state: person.state,
            }))
        }
        NexmarkEvent::Auction(_) | NexmarkEvent::Person(_) | NexmarkEvent::Bid(_) => None,
    }
}

/// Both kinds are parts of one stream, so they cross one exchange; a person comes once, an auction before or after.
pub(super) fn q3(events: Events, tally: &Arc<Tally>) {
    let row = |_: &u64, offer: &Offer, neighbour: &Neighbour| LocalItem {
        name: neighbour.name.clone(),
        city: neighbour.city.clone(),
        state: neighbour.state.clone(),
        auction: offer.auction,
    };
    let join = UniqueJoin::new(
        |offer: &Offer| offer.seller,
        |neighbour: &Neighbour| neighbour.person,
        Inner(row),
    );
    events
        .filter_map(wanted)
        .key_by(|either| match either {
            Side::Left(offer) => offer.seller,
            Side::Right(neighbour) => neighbour.person,
        })
        .then_keyed("local items", join)
        .end(tally.sink());
}
