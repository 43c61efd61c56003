//! q3: filtered before the exchange by person; both sides in one stream, so that no event is copied for a
//! second one.

use compact_str::CompactString;
use millstream::catalog::nexmark::NexmarkEvent;
use millstream::catalog::nexmark::rows::LocalItem;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Map;

use super::{Either, Events, FastMap, Millis, spread};
use crate::input::{is_chosen, is_near};

/// Name, city and state of a person.
type Place = (CompactString, CompactString, CompactString);

fn row((name, city, state): &Place, auction: u64) -> LocalItem {
    LocalItem {
        name: name.clone(),
        city: city.clone(),
        state: state.clone(),
        auction,
    }
}

pub(super) fn q3<'scope>(events: Events<'scope>) -> StreamVec<'scope, Millis, LocalItem> {
    let sides = events.flat_map(|event| match event {
        NexmarkEvent::Person(person) if is_near(&person) => {
            let person = *person;
            let place: Place = (person.name, person.city, person.state);
            Some((person.id, Either::Person(place)))
        }
        NexmarkEvent::Auction(auction) if is_chosen(&auction) => {
            Some((auction.seller, Either::Auction(auction.id)))
        }
        _ => None,
    });
    let by_person = Exchange::new(|(person, _): &(u64, Either<Place, u64>)| spread(*person));
    sides.unary(by_person, "Join", |_, _| {
        let mut people: FastMap<u64, Place> = FastMap::default();
        let mut waiting: FastMap<u64, Vec<u64>> = FastMap::default();
        move |input, output| {
            input.for_each_stamp(|capability, batches| {
                let mut session = output.session(&capability);
                for (id, side) in batches.flat_map(|batch| batch.drain(..)) {
                    match side {
                        Either::Person(place) => {
                            for auction in waiting.remove(&id).unwrap_or_default() {
                                session.give(row(&place, auction));
                            }
                            people.insert(id, place);
                        }
                        Either::Auction(auction) => match people.get(&id) {
                            Some(place) => session.give(row(place, auction)),
                            None => waiting.entry(id).or_default().push(auction),
                        },
                    }
                }
            });
        }
    })
}
