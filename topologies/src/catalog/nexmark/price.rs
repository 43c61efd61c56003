//! Prices: round(10^(6u) · 100) cents.
//!
//! Invariant: the same whole number that [`f64::powf`] gives, always. Cost: raising to a power is nearly
//! all that a bid would cost to make, so it is done here by a table of 10^(i / 128) and a short series for
//! the rest. Where that lies so close to the border between two whole numbers that its error (below 10^-6)
//! could change the answer, about once in 50,000 times, `powf` decides.

use std::sync::LazyLock;

use super::random::JavaRandom;

const STEPS: u32 = 128;
/// More than ten times the error of the series at the highest price.
const DOUBT: f64 = 1e-5;

static POWERS: LazyLock<Vec<f64>> = LazyLock::new(|| {
    (0..=6 * STEPS)
        .map(|step| 100.0 * 10f64.powf(f64::from(step) / f64::from(STEPS)))
        .collect()
});

/// The prices that a random sequence gives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prices {
    /// 100 · 10^(i / 128), up to i = 768. Held, since asking for it costs a check each time.
    powers: &'static [f64],
}

impl Prices {
    pub(super) fn new() -> Self {
        Self { powers: &POWERS }
    }

    /// The next price in cents, 100 to 100,000,000.
    #[inline]
    pub(super) fn next(self, random: &mut JavaRandom) -> u64 {
        self.price(random.next_f64() * 6.0)
    }

    #[inline]
    fn price(self, exponent: f64) -> u64 {
        let step = (exponent * f64::from(STEPS) + 0.5) as i32;
        let rest = exponent - f64::from(step) * (1.0 / f64::from(STEPS));
        let x = rest * std::f64::consts::LN_10;
        // e^x for |x| < 0.009: the first term left out is below 10^-17.
        let series = x
            * (1.0
                + x * (1.0 / 2.0
                    + x * (1.0 / 6.0 + x * (1.0 / 24.0 + x * (1.0 / 120.0 + x * (1.0 / 720.0))))));
        let power = self.powers[step as usize];
        let raised = power + power * series + 0.5;
        let whole = raised as i64;
        let fraction = raised - whole as f64;
        if (DOUBT..1.0 - DOUBT).contains(&fraction) {
            whole as u64
        } else {
            exact(exponent)
        }
    }
}

#[cold]
fn exact(exponent: f64) -> u64 {
    (10f64.powf(exponent) * 100.0 + 0.5).floor() as u64
}

#[cfg(test)]
mod tests {
    use super::{Prices, exact};
    use crate::catalog::nexmark::random::JavaRandom;

    #[test]
    fn the_short_way_gives_what_the_power_gives() {
        let prices = Prices::new();
        for seed in 0..300_000 {
            let exponent = JavaRandom::new(seed).next_f64() * 6.0;
            assert_eq!(prices.price(exponent), exact(exponent), "seed {seed}");
        }
    }

    #[test]
    fn both_ends_are_exact() {
        let prices = Prices::new();
        assert_eq!(prices.price(0.0), 100);
        assert_eq!(prices.price(6.0 - f64::EPSILON * 4.0), 100_000_000);
    }

    #[test]
    fn borders_between_two_prices_are_decided_by_the_power() {
        let prices = Prices::new();
        for cents in (100..100_000).step_by(7) {
            let border = ((f64::from(cents) + 0.5) / 100.0).log10();
            for exponent in [border.next_down(), border, border.next_up()] {
                assert_eq!(
                    prices.price(exponent),
                    exact(exponent),
                    "above {cents} cents"
                );
            }
        }
    }
}
