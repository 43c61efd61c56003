//! q3: who sells near by.

use std::collections::BTreeMap;

use crate::catalog::nexmark::event::{NexmarkEvent, Person};
use crate::catalog::nexmark::rows::LocalItem;

/// The auctions of category 10 whose seller lives in Oregon, Idaho or California: an inner join without
/// an end, so it does not matter which of the two comes first.
#[must_use]
pub fn q3(events: &[NexmarkEvent]) -> Vec<LocalItem> {
    let people: BTreeMap<u64, &Person> = events
        .iter()
        .filter_map(NexmarkEvent::person)
        .filter(|person| ["OR", "ID", "CA"].contains(&person.state.as_str()))
        .map(|person| (person.id, person))
        .collect();
    let mut rows: Vec<LocalItem> = events
        .iter()
        .filter_map(NexmarkEvent::auction)
        .filter(|auction| auction.category == 10)
        .filter_map(|auction| Some((auction, people.get(&auction.seller)?)))
        .map(|(auction, person)| LocalItem {
            name: person.name.clone(),
            city: person.city.clone(),
            state: person.state.clone(),
            auction: auction.id,
        })
        .collect();
    rows.sort();
    rows
}
