//! A sink that needs ten times as long for an event as its source: what gets through, and what piles up between.
//!
//! How long the source needs, its way to the sink included, is measured first with a sink that does nothing. One
//! partition of each, so that the bound of one mailbox is the bound of all. The sink works, as opposed to waiting, for
//! its time: it looks at the clock until that is over, and starts the next event's time where the last one's ended, so
//! that looking is no part of it. `in_flight_max` is what the source had given more than the sink had taken, looked at
//! before each event.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use millstream::dataflow::{Dataflow, FlowOptions};
use millstream_engine::flow::{Emit, Fault, Operator, Turn, Wiring, stateless};
use millstream_engine::time::{Clock, Timestamp};

use super::load::{Load, Progress};
use super::{Bench, SUITE, Sizes};
use crate::Case;
use crate::flows::{Run, options};

const NAME: &str = "slow-sink";
/// How many times as long as the source.
const SLOWER: u32 = 10;
const KEYS: u64 = 100_000;
const PER_SECOND: u64 = 1_000_000;

#[derive(Clone)]
struct SlowSink {
    /// Time per event; zero: does nothing.
    needs: Duration,
    given: Progress,
    clock: Option<Arc<dyn Clock>>,
    busy_until: Duration,
    taken: u64,
    in_flight_max: u64,
    /// Events taken, and the most that were in flight, once the input has ended.
    told: Arc<[AtomicU64; 2]>,
}

impl Operator<u64> for SlowSink {
    type Out = Infallible;

    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        self.clock = Some(Arc::clone(&wiring.clock));
        Ok(())
    }

    fn begin(&mut self, turn: &Turn) {
        self.busy_until = self.busy_until.max(turn.monotonic);
    }

    #[inline]
    fn item<E: Emit<Infallible>>(&mut self, _time: Timestamp, _item: u64, _out: &mut E) {
        self.taken += 1;
        if self.needs.is_zero() {
            return;
        }
        // Events are noted as given once the source is through with a pull, so some may be taken before that.
        let in_flight = (self.given.given() + 1).saturating_sub(self.taken);
        self.in_flight_max = self.in_flight_max.max(in_flight);
        self.busy_until += self.needs;
        if let Some(clock) = &self.clock {
            while clock.monotonic() < self.busy_until {
                std::hint::spin_loop();
            }
        }
    }

    fn end<E: Emit<Infallible>>(&mut self, _out: &mut E) {
        self.told[0].store(self.taken, Ordering::Relaxed);
        self.told[1].store(self.in_flight_max, Ordering::Relaxed);
    }

    stateless!();
}

pub(super) async fn run(bench: Bench<'_>, sizes: Sizes) -> Result<()> {
    if !bench.harness.wants(NAME) {
        return Ok(());
    }
    let events = bench.events(sizes.slow_sink);
    let flow_options = options(bench.harness);
    let mailbox = flow_options.mailbox;
    let (alone, _) = through(bench, flow_options.clone(), events, Duration::ZERO).await?;
    let needs = Duration::from_secs_f64(alone.seconds / events as f64 * f64::from(SLOWER));
    let needs = needs.max(Duration::from_nanos(1));
    let (run, in_flight_max) = through(bench, flow_options, events, needs).await?;
    let possible = 1.0 / needs.as_secs_f64();
    let case = Case::new(SUITE, NAME, bench.machine)
        .with("events", events)
        .with("sink_ns_per_event", needs.as_nanos() as u64)
        .with("mailbox_batches", mailbox.items_max.get())
        .with("mailbox_bytes", mailbox.bytes_max.get())
        .figure("in_flight_max", in_flight_max as f64)
        .figure("of_sink", events as f64 / run.seconds / possible);
    bench.harness.report(run.figures(case, events))
}

/// All events through a sink that needs so long; gives also the most that were in flight.
async fn through(
    bench: Bench<'_>,
    options: FlowOptions,
    events: u64,
    needs: Duration,
) -> Result<(Run, u64)> {
    let given = Progress::new(u64::MAX);
    let told = Arc::new([const { AtomicU64::new(0) }; 2]);
    let load = Load {
        splits: 1,
        progress: Some(given.clone()),
        ..Load::steady(events, KEYS, PER_SECOND)
    };
    let sink = SlowSink {
        needs,
        given,
        clock: None,
        busy_until: Duration::ZERO,
        taken: 0,
        in_flight_max: 0,
        told: Arc::clone(&told),
    };
    let flow = Dataflow::build_with("slow", options, |flow| {
        flow.source("events", load)
            .partitions(1)
            .stream()
            .rebalance(1)
            .stage_named("sink")
            .end(sink);
    })?;
    let run = Run::of(&*bench.harness.clock(), flow).await?;
    let taken = told[0].load(Ordering::Relaxed);
    ensure!(taken == events, "{taken} of {events} reached the sink");
    Ok((run, told[1].load(Ordering::Relaxed)))
}
