//! The keyed tumbling count in more and more partitions, and what of it does not get faster.
//!
//! Each number of partitions has a runtime of its own with as many threads, but never more than there are cores:
//! otherwise one partition of two stages would keep two cores busy, and there would be nothing to compare with. The
//! load is the same for all: 16 splits, which the partitions of the source share.
//! Amdahl's law says 1 / speedup(n) = f + (1 − f) / n; `amdahl_f` is the f nearest to what was measured (least
//! squares of 1 / speedup) on up to as many partitions as there are cores. On two cores that is one point.

use anyhow::{Context, Result};

use super::batches::{keyed_count, keyed_load};
use super::load::Load;
use super::{Bench, SUITE, Sizes};
use crate::Case;
use crate::flows::{Run, Totals, options};

const PARTITIONS: [usize; 5] = [1, 2, 4, 8, 16];
const SPLITS: usize = 16;
const FITTED: &str = "partitions-amdahl";

pub(super) async fn run(bench: Bench<'_>, sizes: Sizes) -> Result<()> {
    let harness = bench.harness;
    let cores = bench.machine.cores as usize;
    let mut measured = Vec::new();
    for partitions in PARTITIONS {
        let name = format!("partitions-{partitions}");
        let is_wanted = harness.wants(&name);
        let is_fitted = harness.wants(FITTED) && partitions <= cores;
        if !is_wanted && !is_fitted {
            continue;
        }
        let events = bench.events(sizes.partitions);
        let threads = partitions.min(cores);
        let (run, totals) = count_on(bench, partitions, threads, events).await?;
        totals.check(events, 1)?;
        if partitions <= cores {
            measured.push((partitions, run.seconds));
        }
        if is_wanted {
            let case = Case::new(SUITE, name, bench.machine)
                .with("events", events)
                .with("partitions", partitions)
                .with("threads", threads);
            harness.report(run.figures(case, events))?;
        }
    }
    if harness.wants(FITTED)
        && let Some(share) = serial_share(&measured)
    {
        let last = measured.last().map_or(1, |(partitions, _)| *partitions);
        let case = Case::new(SUITE, FITTED, bench.machine)
            .with("partitions_most", last)
            .figure("amdahl_f", share);
        harness.report(case)?;
    }
    Ok(())
}

/// A run on a runtime of its own.
async fn count_on(
    bench: Bench<'_>,
    partitions: usize,
    threads: usize,
    events: u64,
) -> Result<(Run, Totals)> {
    let mut flow_options = options(bench.harness);
    flow_options.partitions = partitions;
    let totals = Totals::default();
    let load = Load {
        splits: SPLITS,
        ..keyed_load(events)
    };
    let flow = keyed_count(flow_options, load, &totals)?;
    let clock = bench.harness.clock();
    let running = tokio::task::spawn_blocking(move || -> Result<Run> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build()?;
        runtime.block_on(Run::of(&*clock, flow))
    });
    let run = running.await.context("a run panicked")??;
    Ok((run, totals))
}

/// The f of Amdahl's law nearest to runs of (partitions, seconds), the first of which has one partition; `None` when
/// there is nothing to compare that with.
fn serial_share(runs: &[(usize, f64)]) -> Option<f64> {
    let (&(1, alone), others) = runs.split_first()? else {
        return None;
    };
    let points = others.iter().map(|&(partitions, seconds)| {
        let ideal = 1.0 / partitions as f64;
        (1.0 - ideal, seconds / alone - ideal)
    });
    let (products, squares) = points.fold((0.0, 0.0), |(products, squares), (x, y)| {
        (products + x * y, squares + x * x)
    });
    (squares > 0.0).then(|| products / squares)
}

#[cfg(test)]
mod tests {
    use super::serial_share;

    #[test]
    fn a_known_share_is_found() {
        let seconds = |cores: usize| 7.0 * (0.2 + 0.8 / cores as f64);
        let runs = [1, 2, 4].map(|cores| (cores, seconds(cores)));
        let found = serial_share(&runs).unwrap();
        assert!((found - 0.2).abs() < 1e-9, "{found}");
        assert_eq!(serial_share(&[(1, 2.0), (2, 1.0)]), Some(0.0));
    }

    #[test]
    fn one_run_says_nothing() {
        assert_eq!(serial_share(&[(1, 3.0)]), None);
        assert_eq!(serial_share(&[(2, 3.0), (4, 2.0)]), None);
        assert_eq!(serial_share(&[]), None);
    }
}
