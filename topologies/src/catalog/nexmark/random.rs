//! The random numbers of `java.util.Random`, which the reference generator draws from.
//!
//! Invariant: the same seed gives the same numbers as in Java, by its published definition: a linear
//! congruence of 48 bits, the high ones given out. Cost: one multiplication a draw; the state is kept
//! without its mask, since the low 48 bits never depend on what lies above them.

const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const INCREMENT: u64 = 11;

/// A sequence of random numbers that a seed fixes.
#[derive(Clone, Debug)]
pub struct JavaRandom {
    /// The state in the low 48 bits; above them anything.
    state: u64,
}

impl JavaRandom {
    /// The sequence that Java's `new Random(seed)` gives.
    #[inline]
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            state: seed ^ MULTIPLIER,
        }
    }

    /// The top `BITS` (1 to 32) of the next state's 48 bits.
    #[inline]
    fn next<const BITS: u32>(&mut self) -> u32 {
        self.state = self.state.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT);
        ((self.state << 16) >> (64 - BITS)) as u32
    }

    /// Any 32-bit number: Java's `nextInt()`.
    #[inline]
    pub fn next_i32(&mut self) -> i32 {
        self.next::<32>().cast_signed()
    }

    /// A number from 0 to `N` - 1, `N` known when compiled: Java's `nextInt(n)`, without a division.
    #[inline]
    pub fn below<const N: u32>(&mut self) -> u32 {
        const { assert!(N > 0 && N <= 1 << 31, "the bound of nextInt is positive") };
        self.bounded(N)
    }

    /// A number from 0 to `bound` - 1, `bound` from 1 to 2^31 - 1: Java's `nextInt(bound)`.
    ///
    /// # Panics
    /// When `bound` is 0 or, in debug builds, above 2^31 - 1.
    #[inline]
    pub fn below_bound(&mut self, bound: u32) -> u32 {
        debug_assert!(bound <= i32::MAX as u32);
        self.bounded(bound)
    }

    #[inline(always)]
    fn bounded(&mut self, bound: u32) -> u32 {
        if bound.is_power_of_two() {
            return ((u64::from(bound) * u64::from(self.next::<31>())) >> 31) as u32;
        }
        loop {
            let bits = self.next::<31>();
            let value = bits % bound;
            // Java throws away the numbers of the last, incomplete round, where its sum overflows.
            if bits - value + (bound - 1) <= i32::MAX as u32 {
                return value;
            }
        }
    }

    /// A number from 0 to 1, exclusive, in steps of 2^-53: Java's `nextDouble()`.
    #[inline]
    pub fn next_f64(&mut self) -> f64 {
        let high = u64::from(self.next::<26>());
        let low = u64::from(self.next::<27>());
        // Below 2^53, so exact.
        ((high << 27) + low) as f64 * (1.0 / (1u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::JavaRandom;

    #[test]
    fn whole_numbers_are_those_of_java() {
        let mut random = JavaRandom::new(42);
        assert_eq!(
            [random.next_i32(), random.next_i32()],
            [-1_170_105_035, 234_785_527]
        );
    }

    #[test]
    fn bounded_numbers_are_those_of_java() {
        let mut random = JavaRandom::new(42);
        let drawn: Vec<u32> = (0..5).map(|_| random.below::<10>()).collect();
        assert_eq!(drawn, [0, 3, 8, 4, 0]);
        let mut random = JavaRandom::new(42);
        let drawn: Vec<u32> = (0..5).map(|_| random.below_bound(10)).collect();
        assert_eq!(drawn, [0, 3, 8, 4, 0]);
    }

    #[test]
    fn a_power_of_two_takes_the_high_bits() {
        // -1170105035 as unsigned is 3124862261; its top four bits are 11.
        assert_eq!(JavaRandom::new(42).below::<16>(), 11);
        assert_eq!(JavaRandom::new(42).below_bound(16), 11);
    }

    #[test]
    fn a_large_bound_is_drawn_again_when_it_must() {
        // Just above half of all numbers: nearly every second draw is of the incomplete round.
        let bound = (1 << 30) + 1;
        let mut random = JavaRandom::new(7);
        let mut plain = JavaRandom::new(7);
        for _ in 0..1_000 {
            let expected = loop {
                let bits = plain.next::<31>() as i32;
                let value = bits % bound as i32;
                if bits.wrapping_sub(value).wrapping_add(bound as i32 - 1) >= 0 {
                    break value;
                }
            };
            assert_eq!(random.below_bound(bound), expected as u32);
        }
    }

    #[test]
    fn fractions_are_those_of_java() {
        // By the definition, of the first two whole numbers of this seed.
        let (high, low) = (
            (-1_170_105_035_i32).cast_unsigned() >> 6,
            234_785_527_u32 >> 5,
        );
        let defined = (f64::from(high) * 2f64.powi(27) + f64::from(low)) / 2f64.powi(53);
        assert_eq!(JavaRandom::new(42).next_f64(), defined);
        assert_eq!(defined, 0.727_563_680_032_868_1);
        assert_eq!(JavaRandom::new(0).next_f64(), 0.730_967_787_376_657);
    }
}
