//! Other engines, and loops written by hand, on the input of Millstream's own benchmarks.
//!
//! Place: a workspace of its own; nothing of Millstream depends on it. `peers timely --query q5 --events
//! 10000000` prints one JSON line: what ran, how many rows came out, how long it took. Fairness: everybody
//! has the same generator, run inside the worker that reads it; each engine is used as its own documents
//! and examples have it (early filters, narrow tuples before an exchange, large batches, state per worker);
//! the loops know nothing of how ids or keys are dealt out. Timed is the whole run, with its start and its
//! end. With `--checksum` rows are hashed as well, to be compared with `peers direct`; figures are taken
//! without. What an engine cannot do is refused, not replaced by something easier.

mod input;
mod loops;
mod options;
mod renoir_engine;
mod tally;
mod timely_engine;

#[cfg(test)]
mod tests;

use anyhow::Result;
use clap::Parser;
use millstream::catalog::nexmark::{direct, rows};
use millstream_benches::keyed;
use serde_json::json;

pub(crate) use options::{Options, Peer, Query};
pub(crate) use tally::Tally;

/// Runs a peer once. Gives rows, checksum if it was asked for, seconds, and seconds of all cores together.
#[expect(
    clippy::disallowed_methods,
    reason = "a program of its own, which measures time"
)]
fn timed(options: &Options) -> Result<(Tally, f64, f64)> {
    let (start, cpu) = (std::time::Instant::now(), millstream_benches::cpu_time());
    let tally = answer(options)?;
    let cpu = millstream_benches::cpu_time() - cpu;
    Ok((tally, start.elapsed().as_secs_f64(), cpu.as_secs_f64()))
}

fn answer(options: &Options) -> Result<Tally> {
    match options.peer {
        Peer::Timely => timely_engine::run(options),
        Peer::Renoir => renoir_engine::run(options),
        Peer::Loop => loops::run(options),
        Peer::Direct => by_definition(options),
    }
}

/// The plain computation, for comparison. Not fast, and not meant to be.
fn by_definition(options: &Options) -> Result<Tally> {
    let mut tally = options.tally();
    if options.query == Query::Keyed {
        for row in keyed::direct(options.events) {
            tally.add(&row);
        }
        return Ok(tally);
    }
    let events: Vec<_> = options
        .source(0, 1)?
        .map(|generated| generated.event)
        .collect();
    match options.query {
        Query::Q0 => direct::q0(&events).iter().for_each(|row| tally.add(row)),
        Query::Q1 => direct::q1(&events).iter().for_each(|row| tally.add(row)),
        Query::Q2 => direct::q2(&events).iter().for_each(|row| tally.add(row)),
        Query::Q3 => direct::q3(&events).iter().for_each(|row| tally.add(row)),
        Query::Q5 => {
            let rows: Vec<rows::HotItem> = direct::q5(&events, options.every);
            rows.iter().for_each(|row| tally.add(row));
        }
        Query::Q7 => direct::q7(&events).iter().for_each(|row| tally.add(row)),
        Query::Q8 => direct::q8(&events).iter().for_each(|row| tally.add(row)),
        Query::Keyed => {}
    }
    Ok(tally)
}

fn main() -> Result<()> {
    let options = Options::parse();
    options.check()?;
    let (tally, seconds, core_seconds) = timed(&options)?;
    let line = json!({
        "peer": options.peer.name(),
        "query": options.query.name(),
        "events": options.events,
        "workers": options.workers,
        "generators": options.generators,
        "every_seconds": (options.query == Query::Q5).then_some(options.every),
        "results": tally.rows,
        "checksum": options.checksum.then(|| format!("{:016x}", tally.sum)),
        "seconds": seconds,
        "events_per_second": (options.events as f64 / seconds).round(),
        "events_per_core_second": (options.events as f64 / core_seconds).round(),
    });
    println!("{line}");
    Ok(())
}
