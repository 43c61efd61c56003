//! Batches: a turn over n commands costs F + n·V, and the size that is chosen is 10·F/V.
//!
//! A partition is stepped by hand with n commands queued, for n in powers of two. F and V are fitted to every
//! other size and tested on those between. Then the samples are shown to a [`BatchController`], whose n is
//! compared with the formula for the same F and V.

use std::time::Duration;

use anyhow::Result;
use millstream_engine::batch::{BatchController, BatchLimits};

use super::{SUITE, Sizes};
use crate::paired::median;
use crate::partition::SoloPartition;
use crate::{Case, Harness};

/// Accounts of the partition: far more than the largest batch.
const ACCOUNTS: usize = 10_000;
/// Times that the samples are shown to the controller, which forgets.
const ROUNDS: usize = 10;
/// The controller wants F to add at most a tenth to the cost per item.
const AMORTISATION: f64 = 10.0;

/// The fit of cost(n) = F + n·V, in seconds.
#[derive(Clone, Copy, Debug)]
struct Fit {
    fixed: f64,
    per_item: f64,
}

impl Fit {
    /// Least squares of relative errors: so that small batches, which tell F, count as much as large ones.
    fn of(points: &[(f64, f64)]) -> Self {
        let (mut w, mut wn, mut wnn, mut wy, mut wny) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for &(n, cost) in points {
            let weight = 1.0 / (cost * cost);
            w += weight;
            wn += weight * n;
            wnn += weight * n * n;
            wy += weight * cost;
            wny += weight * n * cost;
        }
        let determinant = w * wnn - wn * wn;
        Self {
            fixed: (wy * wnn - wny * wn) / determinant,
            per_item: (w * wny - wn * wy) / determinant,
        }
    }

    fn cost(self, n: f64) -> f64 {
        self.fixed + n * self.per_item
    }
}

pub(super) fn run(harness: &Harness, sizes: Sizes) -> Result<()> {
    let folder = harness.folder()?;
    let machine = harness.machine(&folder)?;
    let mut partition = SoloPartition::new(ACCOUNTS)?;
    let counts: Vec<usize> = (0..)
        .map(|power| 1 << power)
        .take_while(|&n| n <= sizes.batch_max)
        .collect();
    let mut samples = vec![Vec::new(); counts.len()];
    // Round after round over all sizes: a slow moment of the machine falls on all of them.
    for _ in 0..sizes.turns {
        for (place, &count) in counts.iter().enumerate() {
            samples[place].push(partition.deposits(count)?);
        }
    }
    let medians: Vec<(f64, f64)> = counts
        .iter()
        .zip(&samples)
        .map(|(&count, took)| (count as f64, median(took)))
        .collect();
    let fitted: Vec<_> = medians.iter().copied().step_by(2).collect();
    let fit = Fit::of(&fitted);
    for &(n, cost) in medians.iter().skip(1).step_by(2) {
        let case = Case::new(SUITE, format!("batch-cost-{n}"), machine)
            .with("items", n)
            .figure("fixed_us", fit.fixed * 1e6)
            .figure("item_ns", fit.per_item * 1e9)
            .compare("turn_us", fit.cost(n) * 1e6, cost * 1e6);
        harness.report(case)?;
    }
    let limits = BatchLimits::default();
    let mut controller = BatchController::new(limits.clone());
    for _ in 0..ROUNDS {
        for (&count, took) in counts.iter().zip(&samples) {
            controller.observe(count, Duration::from_secs_f64(median(took)));
        }
    }
    let wanted = (AMORTISATION * controller.fixed_seconds() / controller.item_seconds())
        .max(limits.items_min as f64);
    let chosen = controller.target_items() as f64;
    let case = Case::new(SUITE, "batch-size", machine)
        .figure("fixed_us", controller.fixed_seconds() * 1e6)
        .figure("item_ns", controller.item_seconds() * 1e9)
        .figure(
            "amortised_over_item_cost",
            fit.cost(chosen) / chosen / fit.per_item,
        )
        .compare("items", wanted, chosen);
    harness.report(case)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_fitted_exactly() {
        let points = [1.0, 4.0, 64.0].map(|n| (n, 5e-6 + n * 200e-9));
        let fit = Fit::of(&points);
        assert!((fit.fixed - 5e-6).abs() < 1e-12 && (fit.per_item - 200e-9).abs() < 1e-14);
    }
}
