//! `run nexmark`: one of the Nexmark queries over the reference generator's events.

use std::io::Write;
use std::num::NonZeroUsize;

use anyhow::{Context, Result, ensure};

use crate::catalog::nexmark::direct::Variant;
use crate::catalog::nexmark::{NexmarkConfig, NexmarkOptions, NexmarkReport, Query, run_until};
use crate::dataflow::FlowOptions;
use millstream_engine::flow::BatchSize;

/// Runs a Nexmark query, the auction site that stream processors are compared by, over events made on the fly.
///
/// The events are those of the reference generator, so that numbers of rows, and with `--json` their checksum, can be
/// compared with other implementations. The checksum does not depend on the order of the rows.
#[derive(Debug, clap::Args)]
pub(super) struct NexmarkArguments {
    /// The query
    #[arg(long, value_enum)]
    query: Query,
    /// Events of all generators together
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    events: u64,
    /// Generators that share the events; all begin at the same event time
    #[arg(long, value_name = "N", default_value_t = 100)]
    generators: u32,
    /// Events per second of event time, of all generators together
    #[arg(long, value_name = "R", default_value_t = 10_000)]
    rate: u64,
    /// Within groups of this many events of a generator, order is shuffled
    #[arg(long, value_name = "N", default_value_t = 1)]
    out_of_order_group: u64,
    /// Whose definition of the query, where they differ (q5, q8, q9)
    #[arg(long, value_enum, default_value_t)]
    variant: VariantArgument,
    /// Partitions of each stage [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_024))]
    partitions: Option<u16>,
    /// Items per batch [default: chosen while running]
    #[arg(long, value_name = "N")]
    batch: Option<NonZeroUsize>,
    /// Do not hash the rows: for measuring speed
    #[arg(long)]
    no_checksum: bool,
}

/// [`Variant`] as it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum VariantArgument {
    /// Apache Beam's
    #[default]
    Beam,
    /// nexmark-flink's
    Flink,
}

impl NexmarkArguments {
    fn options(&self) -> NexmarkOptions {
        let mut flow = FlowOptions::default();
        if let Some(partitions) = self.partitions {
            flow.partitions = usize::from(partitions);
        }
        if let Some(items) = self.batch {
            flow.edges.batch = BatchSize::Fixed(items);
        }
        NexmarkOptions {
            query: self.query,
            variant: match self.variant {
                VariantArgument::Beam => Variant::Beam,
                VariantArgument::Flink => Variant::Flink,
            },
            config: NexmarkConfig {
                events: self.events,
                generators: self.generators,
                event_rate: self.rate,
                out_of_order_group: self.out_of_order_group,
                ..NexmarkConfig::default()
            },
            flow,
            checksum: !self.no_checksum,
        }
    }
}

/// Runs it until `stop` resolves, and prints what it came to, with `is_json` as one line of JSON.
///
/// # Errors
/// A configuration that cannot be, or a stage that failed.
pub(super) async fn run_nexmark(
    arguments: &NexmarkArguments,
    stop: impl Future<Output = ()>,
    is_json: bool,
    out: &mut impl Write,
) -> Result<()> {
    let report = run_until(arguments.options(), stop)
        .await
        .with_context(|| format!("running {}", arguments.query.name()))?;
    if is_json {
        writeln!(out, "{}", report.to_json())?;
    } else {
        print(&report, out)?;
    }
    out.flush()?;
    let (read, events) = (report.events, arguments.events);
    ensure!(
        !report.interrupted,
        "stopped after {read} of {events} events"
    );
    Ok(())
}

fn print(report: &NexmarkReport, out: &mut impl Write) -> Result<()> {
    writeln!(
        out,
        "{}: {} rows of {} events in {:.3} s, {:.0} events/s",
        report.query,
        report.results,
        report.events,
        report.elapsed.as_secs_f64(),
        report.events_per_second(),
    )?;
    if let Some(checksum) = &report.checksum {
        writeln!(out, "checksum of the rows: {:016x}", checksum.sum())?;
    }
    for load in &report.loads {
        writeln!(
            out,
            "  {}/{}: {} items, busy {:.0} %, blocked {:.0} %",
            load.stage,
            load.partition,
            load.items_total,
            100.0 * load.busy_share(),
            100.0 * load.blocked_share(),
        )?;
    }
    Ok(())
}
