//! The count per key and second.

use millstream_benches::keyed::{KeyCount, KeyedEvent, KeyedSource, SOURCES, WINDOW_MILLIS};
use renoir::operator::Operator;
use renoir::prelude::*;
use renoir::{KeyedStream, StreamContext};

use super::{BATCH_ITEMS, Output, aligned, rounded, take, when_moved};
use crate::Options;
use crate::input::timestamp;

/// The events of some sources, in turn, since all run alike in time.
struct InTurn {
    sources: Vec<KeyedSource>,
    turn: usize,
}

impl Iterator for InTurn {
    type Item = KeyedEvent;

    fn next(&mut self) -> Option<KeyedEvent> {
        for _ in 0..self.sources.len() {
            let place = self.turn;
            self.turn = (place + 1) % self.sources.len();
            if let Some(event) = self.sources[place].next() {
                return Some(event);
            }
        }
        None
    }
}

pub(super) fn keyed(context: &StreamContext, options: &Options) -> Output {
    let events = options.events;
    let source = move |index: u64, peers: u64| InTurn {
        sources: (index as u32..SOURCES)
            .step_by(peers as usize)
            .map(|source| KeyedSource::share(source, events))
            .collect(),
        turn: 0,
    };
    let windows = context
        .stream_par_iter(source)
        .batch_mode(BatchMode::fixed(BATCH_ITEMS))
        .map(|event| (event.key, rounded(event.time, WINDOW_MILLIS)))
        .add_timestamps(|(_, window)| *window, when_moved())
        .group_by(|(key, _)| *key)
        .map(|(_, (_, window))| window);
    if options.workers > 1 {
        count(windows.reorder(), options)
    } else {
        count(windows, options)
    }
}

fn count(
    windows: KeyedStream<impl Operator<Out = (u64, i64)> + 'static>,
    options: &Options,
) -> Output {
    let rows = windows
        .window(aligned(WINDOW_MILLIS))
        .fold((0, 0), |counted: &mut (i64, u64), window: &i64| {
            *counted = (*window, counted.1 + 1);
        })
        .unkey()
        .map(|(key, (window, count))| KeyCount {
            window: timestamp(window.cast_unsigned()),
            key,
            count,
        });
    take(rows.drop_timestamps(), options)
}
