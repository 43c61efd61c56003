//! The count per key and second, exchanged by key.

use std::cell::RefCell;
use std::rc::Rc;

use millstream_benches::keyed::{KeyCount, KeyedSource, SOURCES, WINDOW_MILLIS};
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::{InputHandleVec, ProbeHandle, StreamVec};
use timely::worker::Worker;

use super::local::Open;
use super::{BATCH_EVENTS, FastMap, Millis, Pace, Sink, take};
use crate::input::{millis, timestamp};
use crate::{Options, Tally};

const WINDOW: Millis = WINDOW_MILLIS.cast_unsigned();

fn count<'scope>(
    events: StreamVec<'scope, Millis, (Millis, u64)>,
) -> StreamVec<'scope, Millis, KeyCount> {
    // The keys are random: they need no spreading.
    let by_key = Exchange::new(|(_, key): &(Millis, u64)| *key);
    events.unary_frontier(by_key, "Count", |_, _| {
        let mut windows: Open<FastMap<u64, u64>> = Open::new();
        let mut spare: Vec<FastMap<u64, u64>> = Vec::new();
        move |(input, frontier), output| {
            let port = output.output_index();
            input.for_each_stamp(|capability, batches| {
                for batch in batches {
                    for of_window in batch.chunk_by(|a, b| a.0 / WINDOW == b.0 / WINDOW) {
                        let end = of_window[0].0 / WINDOW * WINDOW + WINDOW;
                        let counts = windows.state(end, || capability.delayed(&end, port));
                        if counts.capacity() == 0 {
                            *counts = spare.pop().unwrap_or_default();
                        }
                        for (_, key) in of_window {
                            *counts.entry(*key).or_default() += 1;
                        }
                    }
                }
            });
            while let Some((end, capability, mut counts)) = windows.closed(frontier) {
                let window = timestamp(end - WINDOW);
                let rows = counts
                    .drain()
                    .map(|(key, count)| KeyCount { window, key, count });
                output.session(&capability).give_iterator(rows);
                spare.push(counts);
            }
        }
    })
}

pub(super) fn keyed(options: &Options, worker: &mut Worker) -> Tally {
    let sink: Sink = Rc::new(RefCell::new(options.tally()));
    let mut input = InputHandleVec::new();
    let probe = ProbeHandle::new();
    worker.dataflow::<Millis, _, _>(|scope| take(count(input.to_stream(scope)), &sink, &probe));
    let (index, peers) = (worker.index() as u32, worker.peers());
    let mut sources: Vec<KeyedSource> = (index..SOURCES)
        .step_by(peers)
        .map(|source| KeyedSource::share(source, options.events))
        .collect();
    let mut pace = Pace::new(probe);
    let mut batch = Vec::with_capacity(BATCH_EVENTS);
    while let Some(now) = sources.iter().map(KeyedSource::watermark).min().map(millis)
        && sources.iter().any(|source| source.size_hint().0 > 0)
    {
        input.advance_to(now);
        for source in &mut sources {
            let events = source.take(BATCH_EVENTS / 2);
            batch.extend(events.map(|event| (millis(event.time), event.key)));
        }
        input.send_batch(&mut batch);
        batch.clear();
        batch.reserve(BATCH_EVENTS);
        pace.step(worker, now);
    }
    input.close();
    drop(pace);
    while worker.has_dataflows() {
        worker.step_or_park(None);
    }
    *sink.borrow()
}
