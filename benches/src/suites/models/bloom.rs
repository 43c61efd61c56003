//! Bloom filters: a hash that is not there passes with probability (1 − e^(−kn/m))^k, k = 7.
//!
//! One run of n hashes, whose filter has m bits, is asked for hashes that were never added. Filters are made
//! in steps, so bits per hash differ from size to size.

use anyhow::{Result, ensure};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{SUITE, Sizes};
use crate::runs::MemoryIndex;
use crate::{Case, Harness, SEED};

/// Probes per hash, as the index has them.
const PROBES: i32 = 7;

pub(super) fn run(harness: &Harness, sizes: Sizes) -> Result<()> {
    let folder = harness.folder()?;
    let machine = harness.machine(&folder)?;
    for hashes in [130, 1_000, 1_600, sizes.hashes] {
        let mut random = SmallRng::seed_from_u64(SEED ^ hashes);
        let mut index = MemoryIndex::new(1)?;
        index.add((0..hashes).map(|_| (random.next_u64(), 0)))?;
        let before = index.stats();
        ensure!(before.run_entries == hashes, "all hashes are in one run");
        for _ in 0..sizes.probes {
            // One of 2^64: it is in the run as good as never.
            index.finds(random.next_u64())?;
        }
        let after = index.stats();
        let asked = after.bloom_checks_total - before.bloom_checks_total;
        let passed = after.bloom_false_positives_total - before.bloom_false_positives_total;
        ensure!(asked >= sizes.probes, "each look asks the run's filter");
        let bits = (before.filter_bytes * 8) as f64;
        let filled = 1.0 - (-f64::from(PROBES) * hashes as f64 / bits).exp();
        let case = Case::new(SUITE, format!("bloom-{hashes}"), machine)
            .with("hashes", hashes)
            .with("probes", asked)
            .figure("bits_per_hash", bits / hashes as f64)
            .compare(
                "false_positive_ratio",
                filled.powi(PROBES),
                passed as f64 / asked as f64,
            );
        harness.report(case)?;
    }
    Ok(())
}
