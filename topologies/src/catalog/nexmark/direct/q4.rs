//! q4: mean winning price of each category.

use std::collections::BTreeMap;
use std::time::Duration;

use super::q9::q9;
use super::windows::{mean, windows};
use crate::catalog::nexmark::event::NexmarkEvent;
use crate::catalog::nexmark::rows::CategoryPrice;

/// The mean price of the winning bids of [`q9`] per category, over ten seconds every five. A winning bid
/// counts at the last millisecond of its auction, which is when it is known.
#[must_use]
pub fn q4(events: &[NexmarkEvent]) -> Vec<CategoryPrice> {
    let mut prices: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for winning in q9(events) {
        let known = winning.expires.saturating_sub(Duration::from_millis(1));
        for window in windows(known, 10, 5) {
            let of_window = prices.entry((window, winning.category)).or_default();
            of_window.push(winning.price);
        }
    }
    prices
        .into_iter()
        .map(|((window, category), prices)| CategoryPrice {
            window,
            category,
            mean: mean(&prices),
        })
        .collect()
}
