//! q6: what each seller's last auctions brought.

use std::collections::BTreeMap;

use super::q9::q9;
use super::windows::mean;
use crate::catalog::nexmark::event::NexmarkEvent;
use crate::catalog::nexmark::rows::SellerPrice;

/// The mean price of each seller's last ten winning bids, given out at each change.
///
/// Winning bids become known when their auctions end, by number where these end together; the last ten are
/// those whose bids were made last, at the higher price where two were made together.
#[must_use]
pub fn q6(events: &[NexmarkEvent]) -> Vec<SellerPrice> {
    let mut winning = q9(events);
    winning.sort_by_key(|row| (row.expires, row.auction));
    let mut last: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    let mut rows = Vec::new();
    for row in winning {
        let of_seller = last.entry(row.seller).or_default();
        of_seller.push((row.date_time, row.price));
        of_seller.sort_unstable();
        if of_seller.len() > 10 {
            of_seller.remove(0);
        }
        let prices: Vec<u64> = of_seller.iter().map(|(_, price)| *price).collect();
        rows.push(SellerPrice {
            seller: row.seller,
            mean: mean(&prices),
        });
    }
    rows.sort();
    rows
}

/// How many rows Beam counts for q6: one at each change, and each seller's once more at the end, when the
/// global window closes.
#[must_use]
pub fn q6_panes(events: &[NexmarkEvent]) -> u64 {
    let rows = q6(events);
    let mut sellers: Vec<u64> = rows.iter().map(|row| row.seller).collect();
    sellers.dedup();
    (rows.len() + sellers.len()) as u64
}
