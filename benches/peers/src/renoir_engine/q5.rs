//! q5: counts per auction and pane, then per window over its panes.

use millstream::catalog::nexmark::NexmarkEvent;
use millstream::catalog::nexmark::rows::HotItem;
use renoir::operator::Operator;
use renoir::operator::window::EventTimeWindow;
use renoir::{KeyedStream, Stream};

use super::{Output, aligned, rounded, take, when_moved};
use crate::Options;
use crate::input::{WINDOW_MILLIS, timestamp};
use crate::loops::FastMap;

const WINDOW: i64 = WINDOW_MILLIS.cast_signed();

pub(super) fn q5(
    events: Stream<impl Operator<Out = NexmarkEvent> + 'static>,
    options: &Options,
) -> Output {
    let every = options.every.cast_signed() * 1_000;
    let bids = events
        .filter_map(move |event| match event {
            NexmarkEvent::Bid(bid) => Some((bid.auction, rounded(bid.date_time, every))),
            _ => None,
        })
        .add_timestamps(|(_, pane)| *pane, when_moved())
        .group_by(|(auction, _)| *auction)
        .map(|(_, (_, pane))| pane);
    if options.workers > 1 {
        most(bids.reorder(), every, options)
    } else {
        most(bids, every, options)
    }
}

fn most(
    panes: KeyedStream<impl Operator<Out = (u64, i64)> + 'static>,
    every: i64,
    options: &Options,
) -> Output {
    let rows = panes
        .window(aligned(every))
        .fold((0, 0), |counted: &mut (i64, u64), pane: &i64| {
            *counted = (*pane, counted.1 + 1);
        })
        .unkey()
        .flat_map(move |(auction, (pane, bids))| {
            let windows = (0..WINDOW / every).map(move |step| pane - step * every);
            windows.map(move |window| (window, auction, bids))
        })
        .group_by(|(window, _, _)| *window)
        // The panes of a window come one after the other, each at its end.
        .reorder()
        .window(EventTimeWindow::tumbling(WINDOW))
        .fold(
            FastMap::default(),
            |counts: &mut FastMap<u64, u64>, (_, auction, bids): &(i64, u64, u64)| {
                *counts.entry(*auction).or_default() += *bids;
            },
        )
        .unkey()
        .flat_map(|(window, counts)| {
            let most = counts.values().copied().max().unwrap_or(0);
            let of_most = counts.into_iter().filter(move |(_, bids)| *bids == most);
            of_most.map(move |(auction, bids)| HotItem {
                window: timestamp(window.cast_unsigned()),
                auction,
                bids,
            })
        });
    take(rows.drop_timestamps(), options)
}
