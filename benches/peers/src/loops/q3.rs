//! q3: a join without an end. People stay for ever; auctions wait for theirs.

use millstream::catalog::nexmark::rows::LocalItem;
use millstream::catalog::nexmark::{NexmarkEvent, NexmarkSource, Person};

use super::FastMap;
use crate::Tally;
use crate::input::{is_chosen, is_near};

fn row(person: &Person, auction: u64) -> LocalItem {
    LocalItem {
        name: person.name.clone(),
        city: person.city.clone(),
        state: person.state.clone(),
        auction,
    }
}

pub(super) fn q3(source: NexmarkSource, tally: &mut Tally) {
    let mut people: FastMap<u64, Box<Person>> = FastMap::default();
    let mut waiting: FastMap<u64, Vec<u64>> = FastMap::default();
    for generated in source {
        match generated.event {
            NexmarkEvent::Person(person) if is_near(&person) => {
                for auction in waiting.remove(&person.id).unwrap_or_default() {
                    tally.add(&row(&person, auction));
                }
                people.insert(person.id, person);
            }
            NexmarkEvent::Auction(auction) if is_chosen(&auction) => {
                match people.get(&auction.seller) {
                    Some(person) => tally.add(&row(person, auction.id)),
                    None => waiting.entry(auction.seller).or_default().push(auction.id),
                }
            }
            _ => {}
        }
    }
}
