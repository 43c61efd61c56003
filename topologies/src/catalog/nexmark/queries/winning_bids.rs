//! q9, and what q4 and q6 make of it: the winning bid of each auction.
//!
//! A bid may come before its auction, also long before it where generators meet, so bids that have no auction yet are
//! kept for as long as the run. An auction is decided once the watermark has reached its end; that it is over is
//! remembered for an hour, in which the bids that still come for it are dropped.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::time::Timestamp;
use millstream_operators::function::{count, sum};
use millstream_operators::keyed::{Context, KeyedProcess, KeyedState, Left, Now, Timer};
use millstream_operators::window::Sliding;
use serde::{Deserialize, Serialize};

use super::super::direct::Variant;
use super::super::event::NexmarkEvent;
use super::super::rows::{CategoryPrice, SellerPrice, WinningBid};
use super::{Events, Tally};
use crate::dataflow::{InletOrigin, Stream};
use millstream_engine::flow::Operator;

/// How long it is remembered that an auction is over.
const REMEMBERED: Duration = Duration::from_secs(3_600);
/// Winning bids in a seller's mean.
const LAST: usize = 10;

/// What is wanted of an auction.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Offer {
    auction: u64,
    seller: u64,
    category: u64,
    reserve: u64,
    opens: Timestamp,
    expires: Timestamp,
}

/// What is wanted of a bid. The order is that of winning: the least wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Bidding {
    price: std::cmp::Reverse<u64>,
    date_time: Timestamp,
    bidder: u64,
}

#[derive(Clone, Debug)]
enum Market {
    Offer(Offer),
    Bidding(u64, Bidding),
}

impl Market {
    fn of(event: NexmarkEvent) -> Option<Self> {
        match event {
            NexmarkEvent::Auction(auction) => Some(Self::Offer(Offer {
                auction: auction.id,
                seller: auction.seller,
                category: auction.category,
                reserve: auction.reserve,
                opens: auction.date_time,
                expires: auction.expires,
            })),
            NexmarkEvent::Bid(bid) => Some(Self::Bidding(
                bid.auction,
                Bidding {
                    price: std::cmp::Reverse(bid.price),
                    date_time: bid.date_time,
                    bidder: bid.bidder,
                },
            )),
            NexmarkEvent::Person(_) => None,
        }
    }

    fn auction(&self) -> u64 {
        match self {
            Self::Offer(offer) => offer.auction,
            Self::Bidding(auction, _) => *auction,
        }
    }
}

/// An auction so far.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Auctioning {
    /// Not there yet.
    Unknown(Vec<Bidding>),
    Open(Offer, Option<Bidding>),
    Over,
}

impl Default for Auctioning {
    fn default() -> Self {
        Self::Unknown(Vec::new())
    }
}

impl KeyedState for Auctioning {
    fn expire(&mut self, _now: &Now) -> Left {
        Left::kept()
    }
}

/// Decides auctions.
#[derive(Clone, Debug)]
struct Hammer {
    variant: Variant,
}

impl Hammer {
    fn is_valid(&self, offer: &Offer, bid: &Bidding) -> bool {
        match self.variant {
            Variant::Beam => bid.price.0 >= offer.reserve && bid.date_time < offer.expires,
            Variant::Flink => (offer.opens..=offer.expires).contains(&bid.date_time),
        }
    }

    /// The watermark at which no valid bid can come any more: the last microsecond before the end, or after the last
    /// millisecond where the end counts.
    fn decided_at(&self, offer: &Offer) -> Timestamp {
        let end = match self.variant {
            Variant::Beam => offer.expires,
            Variant::Flink => offer.expires.saturating_add(Duration::from_millis(1)),
        };
        end.saturating_sub(Duration::from_micros(1))
    }
}

impl KeyedProcess<u64, Market> for Hammer {
    type State = Auctioning;
    type Out = WinningBid;
    type Side = Infallible;

    fn item(
        &mut self,
        _auction: &u64,
        state: &mut Auctioning,
        _time: Timestamp,
        item: Market,
        ctx: &mut Context<'_, WinningBid>,
    ) {
        match (item, &mut *state) {
            (Market::Bidding(_, bid), Auctioning::Unknown(waiting)) => waiting.push(bid),
            (Market::Bidding(_, bid), Auctioning::Open(offer, best)) => {
                if self.is_valid(offer, &bid) && best.is_none_or(|best| bid < best) {
                    *best = Some(bid);
                }
            }
            (Market::Offer(offer), Auctioning::Unknown(waiting)) => {
                let valid = waiting.iter().filter(|bid| self.is_valid(&offer, bid));
                let best = valid.min().copied();
                ctx.set_event_timer(self.decided_at(&offer));
                *state = Auctioning::Open(offer, best);
            }
            // It is over, or there twice, which the generator does not do.
            (_, Auctioning::Over) | (Market::Offer(_), Auctioning::Open(..)) => {}
        }
    }

    fn timer(
        &mut self,
        _auction: &u64,
        state: &mut Auctioning,
        timer: Timer,
        ctx: &mut Context<'_, WinningBid>,
    ) {
        let Auctioning::Open(offer, best) = std::mem::replace(state, Auctioning::Over) else {
            ctx.clear_state();
            return;
        };
        if let Timer::Event(at) = timer {
            ctx.set_event_timer(at.saturating_add(REMEMBERED));
        }
        if let Some(bid) = best {
            ctx.emit(WinningBid {
                auction: offer.auction,
                seller: offer.seller,
                category: offer.category,
                expires: offer.expires,
                bidder: bid.bidder,
                price: bid.price.0,
                date_time: bid.date_time,
            });
        }
    }
}

/// The winning bids, stamped with the last moment of their auctions.
fn winning(
    events: Events,
    variant: Variant,
) -> Stream<InletOrigin<Market>, impl Operator<Market, Out = WinningBid> + Clone> {
    events
        .filter_map(Market::of)
        .key_by(Market::auction)
        .named("auctions")
        .process(Hammer { variant })
}

/// All winning bids.
pub(super) fn q9(events: Events, variant: Variant, tally: &Arc<Tally>) {
    winning(events, variant).end(tally.sink());
}

/// Mean price per category over ten seconds every five, rounded half up.
pub(super) fn q4(events: Events, tally: &Arc<Tally>) {
    winning(events, Variant::Beam)
        .map(|row| (row.category, row.price))
        .key_by(|(category, _)| *category)
        .named("prices")
        .window(Sliding::of(Duration::from_secs(10)).every(Duration::from_secs(5)))
        .aggregate((sum(|(_, price): &(u64, u64)| *price), count()))
        .map(|priced| {
            let (sum, count) = (priced.value.0, u128::from(priced.value.1));
            CategoryPrice {
                window: priced.window.start,
                category: priced.key,
                mean: ((2 * sum + count) / (2 * count)) as u64,
            }
        })
        .end(tally.sink());
}

/// A seller's winning bids: those that became known and wait for their turn, and the last ones.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Sales {
    /// By when they became known, then by auction.
    known: std::collections::BTreeMap<(Timestamp, u64), (Timestamp, u64)>,
    /// Time and price of the bids.
    last: Vec<(Timestamp, u64)>,
}

impl KeyedState for Sales {
    fn expire(&mut self, _now: &Now) -> Left {
        Left::kept()
    }
}

/// Follows each seller's last winning bids, in the order in which their auctions ended.
#[derive(Clone, Debug)]
struct LastSales;

impl KeyedProcess<u64, WinningBid> for LastSales {
    type State = Sales;
    type Out = SellerPrice;
    type Side = Infallible;

    fn item(
        &mut self,
        _seller: &u64,
        sales: &mut Sales,
        time: Timestamp,
        row: WinningBid,
        ctx: &mut Context<'_, SellerPrice>,
    ) {
        let bid = (row.date_time, row.price);
        sales.known.insert((time, row.auction), bid);
        // Until the watermark has passed it, another of the same time may come from another partition.
        ctx.set_event_timer(time.saturating_add(Duration::from_micros(1)));
    }

    fn timer(
        &mut self,
        seller: &u64,
        sales: &mut Sales,
        timer: Timer,
        ctx: &mut Context<'_, SellerPrice>,
    ) {
        let Timer::Event(until) = timer else { return };
        while let Some(entry) = sales.known.first_entry() {
            if entry.key().0 >= until {
                return;
            }
            let bid = entry.remove();
            let at = sales.last.partition_point(|other| *other <= bid);
            sales.last.insert(at, bid);
            if sales.last.len() > LAST {
                sales.last.remove(0);
            }
            let (sum, count) = (
                sales.last.iter().map(|(_, price)| price).sum::<u64>(),
                sales.last.len() as u64,
            );
            ctx.emit(SellerPrice {
                seller: *seller,
                mean: (2 * sum + count) / (2 * count),
            });
        }
    }
}

/// Mean price of each seller's last ten winning bids, at each change.
pub(super) fn q6(events: Events, tally: &Arc<Tally>) {
    winning(events, Variant::Beam)
        .key_by(|row| row.seller)
        .named("sellers")
        .process(LastSales)
        .end(tally.sink());
}
