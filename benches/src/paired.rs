//! Two things that are compared: in turn, in many short rounds, so that what the machine does meanwhile meets both.
//!
//! The order changes from one round to the next. What is told is the ratio of the medians, with the interval that 95 of a
//! hundred samples of the same rounds give (bootstrap, rounds drawn in pairs), and the quartiles of the rounds' own ratios.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::{Case, SEED};

/// Samples of the rounds.
const SAMPLES: usize = 2_000;

/// Figures of two, a pair each round.
#[derive(Clone, Debug, Default)]
pub struct Paired {
    rounds: Vec<[f64; 2]>,
}

/// How one of them stands to the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The ratio of the medians.
    pub of_medians: f64,
    /// Where it lies in 95 of a hundred samples.
    pub low: f64,
    /// Its other end.
    pub high: f64,
    /// The lower quartile of the ratios of the rounds.
    pub quartile_low: f64,
    /// The upper one.
    pub quartile_high: f64,
}

impl Paired {
    /// Adds a round.
    pub fn push(&mut self, round: [f64; 2]) {
        self.rounds.push(round);
    }

    /// Whether there was no round.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rounds.is_empty()
    }

    /// The median of one of the two; not a number without a round.
    #[must_use]
    pub fn median(&self, of: usize) -> f64 {
        let figures = self.rounds.iter().map(|round| round[of]);
        median(&figures.collect::<Vec<_>>())
    }

    /// How the second stands to the first.
    #[must_use]
    pub fn ratio(&self) -> Ratio {
        let count = self.rounds.len();
        let mut random = SmallRng::seed_from_u64(SEED);
        let mut samples = Vec::with_capacity(SAMPLES);
        let (mut one, mut two) = (Vec::new(), Vec::new());
        for _ in 0..SAMPLES {
            one.clear();
            two.clear();
            for _ in 0..count {
                let [first, second] = self.rounds[random.random_range(0..count)];
                one.push(first);
                two.push(second);
            }
            samples.push(median(&two) / median(&one));
        }
        samples.sort_by(f64::total_cmp);
        let mut ratios: Vec<_> = self.rounds.iter().map(|[one, two]| two / one).collect();
        ratios.sort_by(f64::total_cmp);
        Ratio {
            of_medians: self.median(1) / self.median(0),
            low: at(&samples, 0.025),
            high: at(&samples, 0.975),
            quartile_low: at(&ratios, 0.25),
            quartile_high: at(&ratios, 0.75),
        }
    }
}

impl Ratio {
    /// The ratio of what the figures are the inverse of, such as throughput of times.
    #[must_use]
    pub fn inverse(self) -> Self {
        Self {
            of_medians: 1.0 / self.of_medians,
            low: 1.0 / self.high,
            high: 1.0 / self.low,
            quartile_low: 1.0 / self.quartile_high,
            quartile_high: 1.0 / self.quartile_low,
        }
    }

    /// Adds it to a case.
    #[must_use]
    pub fn figures(self, case: Case, name: &str) -> Case {
        case.figure(name, self.of_medians)
            .figure(&format!("{name}_low"), self.low)
            .figure(&format!("{name}_high"), self.high)
            .figure(&format!("{name}_quartile_low"), self.quartile_low)
            .figure(&format!("{name}_quartile_high"), self.quartile_high)
    }
}

/// The value in the middle, of an even number the mean of the two there; not a number without any.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

/// The value below which so large a part of the sorted ones lies.
fn at(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let index = (last as f64 * part).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_lies_in_its_interval_and_an_outlier_moves_it_little() {
        let mut paired = Paired::default();
        for round in 0..20 {
            let noise = f64::from(round % 5) * 0.01;
            paired.push([1.0 + noise, 0.9 + noise]);
        }
        paired.push([1.0, 50.0]);
        let ratio = paired.ratio();
        assert!((0.88..0.93).contains(&ratio.of_medians), "{ratio:?}");
        assert!(ratio.low <= ratio.of_medians && ratio.of_medians <= ratio.high);
        assert!(ratio.quartile_low <= ratio.quartile_high && ratio.high < 1.0);
        let inverse = ratio.inverse();
        assert!(inverse.low > 1.0 && inverse.low <= inverse.high);
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert!(median(&[]).is_nan());
        assert_eq!(median(&[7.0]), 7.0);
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[9.0, 1.0, 2.0, 4.0]), 3.0);
    }

    #[test]
    fn one_round_is_all_there_is() {
        let mut paired = Paired::default();
        paired.push([2.0, 1.0]);
        let ratio = paired.ratio();
        assert_eq!((ratio.of_medians, ratio.low, ratio.high), (0.5, 0.5, 0.5));
    }
}
