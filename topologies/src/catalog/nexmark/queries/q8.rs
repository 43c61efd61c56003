//! q8: people who came and opened an auction in the same window.

use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use millstream_engine::flow::Side;
use millstream_operators::join::{CoGroup, Inner, Items, TumblingJoin};
use millstream_operators::window::{CountLate, Tumbling, Window};
use serde::{Deserialize, Serialize};

use super::super::direct::Variant;
use super::super::event::NexmarkEvent;
use super::super::rows::{NewSeller, NewSellerAuction};
use super::{Events, Tally};

const WINDOW: Duration = Duration::from_secs(10);

/// Somebody new.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Newcomer {
    person: u64,
    name: CompactString,
}

/// What is wanted of an auction.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Offer {
    seller: u64,
    reserve: u64,
}

fn wanted(event: NexmarkEvent) -> Option<Side<Newcomer, Offer>> {
    match event {
        NexmarkEvent::Person(person) => {
            let person = *person;
            Some(Side::Left(Newcomer {
                person: person.id,
                name: person.name,
            }))
        }
        NexmarkEvent::Auction(auction) => Some(Side::Right(Offer {
            seller: auction.seller,
            reserve: auction.reserve,
        })),
        NexmarkEvent::Bid(_) => None,
    }
}

/// A row for each auction as in Beam, or for each person and window as in nexmark-flink.
pub(super) fn q8(events: Events, variant: Variant, tally: &Arc<Tally>) {
    let person = |newcomer: &Newcomer| newcomer.person;
    let seller = |offer: &Offer| offer.seller;
    let window = Tumbling::of(WINDOW);
    let keyed = events.filter_map(wanted).key_by(|either| match either {
        Side::Left(newcomer) => newcomer.person,
        Side::Right(offer) => offer.seller,
    });
    match variant {
        Variant::Beam => {
            let row = |_: &u64, newcomer: &Newcomer, offer: &Offer| {
                (newcomer.name.clone(), offer.reserve)
            };
            let join = TumblingJoin::new(window, person, seller, Inner(row), CountLate::new());
            keyed
                .then_keyed("new sellers", join)
                .map(|joined| NewSellerAuction {
                    window: joined.window.start,
                    person: joined.key,
                    name: joined.value.0,
                    reserve: joined.value.1,
                })
                .end(tally.sink());
        }
        Variant::Flink => {
            let row = |_: &u64,
                       _: Window,
                       mut newcomers: Items<'_, Newcomer>,
                       mut offers: Items<'_, Offer>| {
                let newcomer = newcomers.next()?;
                offers.next()?;
                Some(newcomer.name.clone())
            };
            let join = TumblingJoin::new(window, person, seller, CoGroup(row), CountLate::new());
            keyed
                .then_keyed("new sellers", join)
                .filter_map(|joined| {
                    Some(NewSeller {
                        window: joined.window.start,
                        person: joined.key,
                        name: joined.value?,
                    })
                })
                .end(tally.sink());
        }
    }
}
