//! The queries in renoir.
//!
//! Each replica of the source generates its share of the events. Batches are of a fixed size, as in
//! renoir's own Nexmark. Two things differ from that, since its answers could not be compared otherwise. Its
//! event time windows begin at the first event of each key, so times are rounded down to where a window (or
//! a pane of a sliding window) begins, which aligns them; rounded times are told as watermarks as soon as
//! they move. And an event earlier than the first of its key is dropped without a word, so with more than
//! one worker, whose events mix, keyed streams are reordered by time first, with renoir's own operator.
//! Not here: q7, whose rows would need a window of ties over all keys.

mod keyed;
mod q3;
mod q5;
mod q8;

use anyhow::{Result, anyhow, bail};
use millstream::catalog::nexmark::rows::SelectedBid;
use millstream::catalog::nexmark::{Canonical, NexmarkEvent};
use renoir::operator::Operator;
use renoir::prelude::*;
use renoir::{RuntimeConfig, Stream, StreamContext};
use serde::{Deserialize, Serialize};

use crate::{Options, Query, Tally};

/// Items of a batch between two blocks.
const BATCH_ITEMS: usize = 16_384;

/// Where the tallies of all replicas end up.
type Output = StreamOutput<Vec<Tally>>;

/// Counts the rows, in each replica first.
fn take<R: Canonical>(rows: Stream<impl Operator<Out = R> + 'static>, options: &Options) -> Output {
    let add = |tally: &mut Tally, row: R| tally.add(&row);
    rows.fold_assoc(options.tally(), add, Tally::merge)
        .collect_vec()
}

/// A watermark whenever the rounded time moves: with rounded times that is as often as a window can end.
fn when_moved<T>() -> impl FnMut(&T, &i64) -> Option<i64> + Clone + Send + 'static {
    let mut last = i64::MIN;
    move |_, time| {
        (*time > last).then(|| {
            last = *time;
            last
        })
    }
}

/// Windows of a step whose events all lie at their very beginning, one time unit short: so a window ends
/// before the next begins, and its end is past as soon as the next one's beginning is told.
fn aligned(step: i64) -> EventTimeWindow {
    EventTimeWindow::sliding(step - 1, step)
}

/// A time in milliseconds, rounded down to a multiple of `step`.
fn rounded(time: millstream::prelude::Timestamp, step: i64) -> i64 {
    time.as_millis() / step * step
}

fn events(
    context: &StreamContext,
    options: &Options,
) -> Stream<impl Operator<Out = NexmarkEvent> + use<>> {
    let options = options.clone();
    let source = move |index: u64, peers: u64| {
        let source = options.source(index as u32, peers as u32);
        let source = source.expect("checked before the engine began");
        source.map(|generated| generated.event)
    };
    context
        .stream_par_iter(source)
        .batch_mode(BatchMode::fixed(BATCH_ITEMS))
}

pub(crate) fn run(options: &Options) -> Result<Tally> {
    options.source(0, 1)?;
    let config =
        RuntimeConfig::local(u64::from(options.workers)).map_err(|error| anyhow!("{error}"))?;
    let context = StreamContext::new(config);
    let output = match options.query {
        Query::Q0 => take(events(&context, options), options),
        Query::Q1 => take(
            events(&context, options).filter_map(|event| match event {
                NexmarkEvent::Bid(mut bid) => {
                    bid.price = bid.price * 89 / 100;
                    Some(bid)
                }
                _ => None,
            }),
            options,
        ),
        Query::Q2 => take(
            events(&context, options).filter_map(|event| match event {
                NexmarkEvent::Bid(bid) if bid.auction % 123 == 0 => Some(SelectedBid {
                    auction: bid.auction,
                    price: bid.price,
                }),
                _ => None,
            }),
            options,
        ),
        Query::Q3 => q3::q3(events(&context, options), options),
        Query::Q5 => q5::q5(events(&context, options), options),
        Query::Q8 => q8::q8(events(&context, options), options),
        Query::Keyed => keyed::keyed(&context, options),
        Query::Q7 => bail!("renoir has no q7 here"),
    };
    context.execute_blocking();
    let tallies = output
        .get()
        .ok_or_else(|| anyhow!("renoir gave no result"))?;
    let mut tally = options.tally();
    tallies.into_iter().for_each(|part| tally.merge(part));
    Ok(tally)
}

/// What q8 joins.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Either<P, A> {
    Person(P),
    Auction(A),
}
