//! The log read from its beginning.
//!
//! `bare` reads, unpacks and decodes every event on one thread and adds up what it did to the balances; the
//! other cases start an engine whose projection has nothing yet, and end when its board shows the log's end.
//! `events_per_core_second` divides by the core time that the process used meanwhile, whoever used it.

mod poison;

use anyhow::{Result, ensure};
use millstream::catalog::bank::AccountEvent;
use millstream_engine::codec::EventReader;
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::frame::SHAPES;
use millstream_engine::log::{EmbeddedReader, LogReader};

use crate::bank::{Bank, ReadSide};
use crate::history::History;
use crate::{Case, Harness, Machine};

const SUITE: &str = "replay";
/// Stored bytes that one read takes from the log.
const READ_BYTES: usize = 1 << 20;

/// How large the cases are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Accounts.
    pub keys: u64,
    /// Events in the log.
    pub events: u64,
    /// How often a projection is compared with one that fails on some.
    pub rounds: usize,
}

/// What is published.
pub const FULL: Sizes = Sizes {
    keys: 100_000,
    events: 10_000_000,
    rounds: 15,
};

/// What tests run.
pub const TINY: Sizes = Sizes {
    keys: 100,
    events: 5_000,
    rounds: 1,
};

/// Runs all cases that are wanted.
///
/// # Errors
/// When what is read is not what was written.
pub async fn run(harness: &Harness, sizes: Sizes) -> Result<()> {
    let keys = harness.options().keys.unwrap_or(sizes.keys);
    let events = harness.options().events.unwrap_or(sizes.events);
    let history = History::make(harness, keys, events).await?;
    if harness.wants("bare") {
        bare(harness, &history)?;
    }
    let cases = [
        ("balances", ReadSide::Balances),
        ("global-balances", ReadSide::Global),
        ("routed-balances", ReadSide::Routed),
    ];
    for (name, reads) in cases {
        if harness.wants(name) {
            projection(harness, &history, name, reads).await?;
        }
    }
    let rounds = harness.options().rounds.unwrap_or(sizes.rounds);
    poison::run(harness, &history, rounds).await?;
    history.forget_state()
}

fn case(name: &str, history: &History, machine: Machine, partitions: u16) -> Case {
    let contents = history.contents();
    Case::new(SUITE, name, machine)
        .with("events", contents.events)
        .with("keys", contents.keys)
        .with("partitions", partitions)
}

fn bare(harness: &Harness, history: &History) -> Result<()> {
    let machine = harness.machine(history.folder())?;
    let reader = EmbeddedReader::open_beside(&history.log())?;
    let (start, cpu) = (harness.now(), crate::cpu_time());
    let (mut events, mut sum, mut frames) = (0, 0, 0);
    let mut decoder = EventReader::<AccountEvent>::new();
    for partition in (0..reader.partitions()).map(PartitionId) {
        let mut next = Offset(0);
        loop {
            let read = reader.read(partition, next, READ_BYTES)?;
            let Some(last) = read.last() else { break };
            next = last.header().end();
            for frame in &read {
                frames += 1;
                decoder.begin_frame(frame.attachment(SHAPES).unwrap_or_default())?;
                for record in frame.records() {
                    let event = decoder.decode(record.kind, record.payload)?;
                    sum += event.change().hundredths();
                    events += 1;
                }
            }
        }
    }
    let seconds = (harness.now() - start).as_secs_f64();
    let cpu = (crate::cpu_time() - cpu).as_secs_f64();
    let contents = history.contents();
    ensure!(events == contents.events, "{events} events were read");
    ensure!(sum == contents.sum, "they add up to {sum}");
    let case = case("bare", history, machine, reader.partitions())
        .with("events_per_frame", events.checked_div(frames))
        .figure("events_per_second", events as f64 / seconds)
        .figure("events_per_core_second", events as f64 / cpu)
        .figure("seconds", seconds);
    harness.report(case)
}

async fn projection(
    harness: &Harness,
    history: &History,
    name: &str,
    reads: ReadSide,
) -> Result<()> {
    history.forget_state()?;
    let contents = history.contents();
    let machine = harness.machine(history.folder())?;
    let (start, cpu) = (harness.now(), crate::cpu_time());
    let bank = Bank::open(harness, history.folder(), contents.keys, reads).await?;
    let opened = harness.now() - start;
    bank.settle().await?;
    let seconds = (harness.now() - start).as_secs_f64();
    let cpu = (crate::cpu_time() - cpu).as_secs_f64();
    bank.check(contents.events, contents.sum).await?;
    let case = case(name, history, machine, bank.engine().partitions())
        .figure("events_per_second", contents.events as f64 / seconds)
        .figure("events_per_core_second", contents.events as f64 / cpu)
        .figure("seconds", seconds)
        .figure("open_ms", opened.as_secs_f64() * 1e3);
    harness.report(case)?;
    bank.close().await
}
