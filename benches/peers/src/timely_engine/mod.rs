//! The queries in timely-dataflow.
//!
//! Each worker generates its share of the events in its own loop and hands them over in batches of
//! [`BATCH_EVENTS`]; the input's time, milliseconds of event time, moves once a batch, so what is told about
//! progress stays small beside the data. Event times travel in the data, windows close by the frontier, and
//! what is exchanged is as narrow as the query allows. A worker that is too far ahead works off what it has
//! sent before it goes on. Threads: one per worker, in one process. Failure: a panic of a worker is passed on.

mod keyed;
mod local;
mod q3;
mod q5;
mod q7;
mod q8;
mod stateless;

use std::cell::RefCell;
use std::rc::Rc;

use anyhow::{Result, anyhow};
use millstream::catalog::nexmark::{Canonical, NexmarkEvent};
use serde::{Deserialize, Serialize};
use timely::communication::WorkerGuards;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::probe::Probe;
use timely::dataflow::{InputHandleVec, ProbeHandle, StreamVec};
use timely::worker::Worker;

use crate::input::millis;
use crate::{Options, Query, Tally};

/// Events between two steps of a worker, which is also how often its time moves.
const BATCH_EVENTS: usize = 8_192;
/// Batches that a worker may be ahead of what has come out at the end.
const BATCHES_AHEAD: usize = 16;

/// Time of the dataflow: milliseconds of event time.
type Millis = u64;
/// The events of a worker, as they come in.
type Events<'scope> = StreamVec<'scope, Millis, NexmarkEvent>;

/// A map as fast as they come.
type FastMap<K, V> = hashbrown::HashMap<K, V, foldhash::fast::FixedState>;

/// Where a key goes. The engine takes what is given modulo the workers, so keys are spread first.
#[inline]
fn spread(key: u64) -> u64 {
    (key.wrapping_mul(0x9E37_79B9_7F4A_7C15)) >> 32
}

/// What a worker has counted, shared with its last operator.
type Sink = Rc<RefCell<Tally>>;

/// Takes the rows of a stream into the worker's tally.
fn take<'scope, R>(rows: StreamVec<'scope, Millis, R>, sink: &Sink, probe: &ProbeHandle<Millis>)
where
    R: Canonical + Clone + 'static,
{
    let sink = Rc::clone(sink);
    rows.probe_with(probe)
        .sink(Pipeline, "Take", move |(input, _)| {
            input.for_each_stamp(|_, batches| {
                let mut tally = sink.borrow_mut();
                for row in batches.flatten() {
                    tally.add(row);
                }
            });
        });
}

/// Lets a worker go on until what it has sent is worked off, up to a few batches.
struct Pace {
    sent: std::collections::VecDeque<Millis>,
    probe: ProbeHandle<Millis>,
}

impl Pace {
    fn new(probe: ProbeHandle<Millis>) -> Self {
        Self {
            sent: std::collections::VecDeque::new(),
            probe,
        }
    }

    /// After a batch, when the worker's time is `now`.
    fn step(&mut self, worker: &mut Worker, now: Millis) {
        worker.step();
        self.sent.push_back(now);
        if self.sent.len() > BATCHES_AHEAD
            && let Some(before) = self.sent.pop_front()
        {
            // Parks after a short spin: where cores are few, a worker that polls takes them from the others.
            worker.step_or_park_while(None, || self.probe.less_than(&before));
        }
    }
}

fn nexmark(options: &Options, worker: &mut Worker) -> Tally {
    let sink: Sink = Rc::new(RefCell::new(options.tally()));
    let mut input = InputHandleVec::new();
    let probe = ProbeHandle::new();
    worker.dataflow::<Millis, _, _>(|scope| {
        let events: Events = input.to_stream(scope);
        match options.query {
            Query::Q0 => take(events, &sink, &probe),
            Query::Q1 => take(stateless::q1(events), &sink, &probe),
            Query::Q2 => take(stateless::q2(events), &sink, &probe),
            Query::Q3 => take(q3::q3(events), &sink, &probe),
            Query::Q5 => take(q5::q5(events, options.every * 1_000), &sink, &probe),
            Query::Q7 => take(q7::q7(events), &sink, &probe),
            Query::Q8 => take(q8::q8(events), &sink, &probe),
            Query::Keyed => unreachable!("has an input of its own"),
        }
    });
    let source = options.source(worker.index() as u32, worker.peers() as u32);
    let mut source = source.expect("checked before the workers began");
    let mut pace = Pace::new(probe);
    let mut batch = Vec::with_capacity(BATCH_EVENTS);
    while source.size_hint().0 > 0 {
        let now = millis(source.watermark());
        input.advance_to(now);
        batch.extend(
            source
                .by_ref()
                .take(BATCH_EVENTS)
                .map(|generated| generated.event),
        );
        input.send_batch(&mut batch);
        // The engine keeps the vector where it can pass it on whole.
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

pub(crate) fn run(options: &Options) -> Result<Tally> {
    options.source(0, 1)?;
    let config = match options.workers {
        1 => timely::Config::thread(),
        workers => timely::Config::process(workers as usize),
    };
    let of_workers = options.clone();
    let guards: WorkerGuards<Tally> = timely::execute(config, move |worker| {
        if of_workers.query == Query::Keyed {
            keyed::keyed(&of_workers, worker)
        } else {
            nexmark(&of_workers, worker)
        }
    })
    .map_err(|error| anyhow!(error))?;
    let mut tally = options.tally();
    for of_worker in guards.join() {
        tally.merge(of_worker.map_err(|error| anyhow!(error))?);
    }
    Ok(tally)
}

/// What q3 and q8 join: a person with what is wanted of it, or an auction.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Either<P, A> {
    Person(P),
    Auction(A),
}
