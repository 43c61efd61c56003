//! q8: a join within each window, whichever comes first.

use compact_str::CompactString;
use millstream::catalog::nexmark::rows::NewSellerAuction;
use millstream::catalog::nexmark::{NexmarkEvent, NexmarkSource};

use super::FastMap;
use crate::Tally;
use crate::input::{WINDOW_MILLIS, millis, timestamp};

pub(super) fn q8(source: NexmarkSource, tally: &mut Tally) {
    let mut end = 0;
    let mut people: FastMap<u64, CompactString> = FastMap::default();
    let mut waiting: FastMap<u64, Vec<u64>> = FastMap::default();
    for generated in source {
        if matches!(generated.event, NexmarkEvent::Bid(_)) {
            continue;
        }
        let time = millis(generated.time);
        if time >= end {
            people.clear();
            waiting.clear();
            end = time / WINDOW_MILLIS * WINDOW_MILLIS + WINDOW_MILLIS;
        }
        let window = timestamp(end - WINDOW_MILLIS);
        let row = |person, name: &CompactString, reserve| NewSellerAuction {
            window,
            person,
            name: name.clone(),
            reserve,
        };
        match generated.event {
            NexmarkEvent::Person(person) => {
                for reserve in waiting.remove(&person.id).unwrap_or_default() {
                    tally.add(&row(person.id, &person.name, reserve));
                }
                people.insert(person.id, person.name);
            }
            NexmarkEvent::Auction(auction) => match people.get(&auction.seller) {
                Some(name) => tally.add(&row(auction.seller, name, auction.reserve)),
                None => waiting
                    .entry(auction.seller)
                    .or_default()
                    .push(auction.reserve),
            },
            NexmarkEvent::Bid(_) => {}
        }
    }
}
