//! q5: counts per pane of as long as a window's step, added up over the panes of each window.

use std::collections::VecDeque;

use millstream::catalog::nexmark::rows::HotItem;
use millstream::catalog::nexmark::{NexmarkEvent, NexmarkSource};

use super::FastMap;
use crate::Tally;
use crate::input::{WINDOW_MILLIS, millis, timestamp};

/// The panes of the window that ends next, oldest first.
struct Panes {
    panes: VecDeque<FastMap<u64, u64>>,
    every: u64,
    /// When the newest pane ends.
    end: u64,
    total: FastMap<u64, u64>,
}

impl Panes {
    /// Gives out the window that the newest pane ends, and begins the next pane.
    fn close(&mut self, tally: &mut Tally) {
        self.total.clear();
        for (auction, bids) in self.panes.iter().flatten() {
            *self.total.entry(*auction).or_default() += bids;
        }
        let most = self.total.values().copied().max().unwrap_or(0);
        let window = timestamp(self.end - WINDOW_MILLIS);
        for (&auction, &bids) in self.total.iter().filter(|(_, bids)| **bids == most) {
            tally.add(&HotItem {
                window,
                auction,
                bids,
            });
        }
        // The oldest map becomes the newest pane's, with the room it has.
        let mut oldest = self.panes.pop_front().unwrap_or_default();
        oldest.clear();
        self.panes.push_back(oldest);
        self.end += self.every;
    }
}

pub(super) fn q5(source: NexmarkSource, every_seconds: u64, tally: &mut Tally) {
    let every = every_seconds * 1_000;
    let of_window = WINDOW_MILLIS / every;
    let mut panes = Panes {
        panes: (0..of_window).map(|_| FastMap::default()).collect(),
        every,
        end: 0,
        total: FastMap::default(),
    };
    let newest = of_window as usize - 1;
    for generated in source {
        let NexmarkEvent::Bid(bid) = generated.event else {
            continue;
        };
        let time = millis(bid.date_time);
        if time >= panes.end {
            if panes.end == 0 {
                panes.end = time / every * every + every;
            }
            while time >= panes.end {
                panes.close(tally);
            }
        }
        *panes.panes[newest].entry(bid.auction).or_default() += 1;
    }
    if panes.end > 0 {
        (0..of_window).for_each(|_| panes.close(tally));
    }
}
