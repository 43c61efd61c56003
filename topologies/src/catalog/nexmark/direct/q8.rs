//! q8: new people who sell.

use std::collections::BTreeMap;

use super::windows::window;
use crate::catalog::nexmark::event::{NexmarkEvent, Person};
use crate::catalog::nexmark::rows::{NewSeller, NewSellerAuction};

/// The auctions opened in the same ten seconds in which their seller came: a row for each.
#[must_use]
pub fn q8(events: &[NexmarkEvent]) -> Vec<NewSellerAuction> {
    let people: BTreeMap<_, &Person> = events
        .iter()
        .filter_map(NexmarkEvent::person)
        .map(|person| ((window(person.date_time, 10), person.id), person))
        .collect();
    let mut rows = Vec::new();
    for auction in events.iter().filter_map(NexmarkEvent::auction) {
        let window = window(auction.date_time, 10);
        if let Some(person) = people.get(&(window, auction.seller)) {
            rows.push(NewSellerAuction {
                window,
                person: person.id,
                name: person.name.clone(),
                reserve: auction.reserve,
            });
        }
    }
    rows.sort();
    rows
}

/// The people who came and opened an auction in the same ten seconds: a row for each person.
#[must_use]
pub fn q8_flink(events: &[NexmarkEvent]) -> Vec<NewSeller> {
    let mut rows: Vec<NewSeller> = q8(events)
        .into_iter()
        .map(|row| NewSeller {
            window: row.window,
            person: row.person,
            name: row.name,
        })
        .collect();
    rows.dedup();
    rows
}
