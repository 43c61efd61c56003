//! Numbers for tests that try many things.

use uuid::Uuid;

/// Numbers that look random and are the same for the same seed.
pub(crate) struct Random(u64);

impl Random {
    /// From `SEED` or the clock; printed either way.
    pub(crate) fn new() -> Self {
        let seed = std::env::var("SEED").map_or_else(
            |_| Uuid::now_v7().as_u128() as u64 | 1,
            |text| text.parse().expect("SEED is a number"),
        );
        eprintln!("SEED={seed}");
        Self(seed)
    }

    /// From numbers that are random already.
    pub(crate) fn of(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }
}
