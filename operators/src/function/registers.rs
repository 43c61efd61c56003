//! The registers of a HyperLogLog and what they say.
//!
//! Place: below `distinct_approximate`, which chooses the precision. The sketch is that of Flajolet, Fusy, Gandouet and
//! Meunier (AofA 2007); the estimator is the improved raw estimator of O. Ertl ("New cardinality estimation algorithms
//! for HyperLogLog sketches", 2017), which needs no tables of bias corrections and no switch between ranges.
//! Invariants: the registers are a function of the set of hashes, whatever the order and the merging; they lie as a
//! sorted list of those that are not zero while that is the smaller form, and that is decided by their number alone, so
//! that equal sets have equal bytes. Cost: a quarter of 2^precision list entries of 4 bytes at most, then one byte per
//! register: never more than about 2^precision bytes.

use serde::{Deserialize, Serialize};

/// Bits of a list entry that hold the register's value; the index is above them.
const VALUE_BITS: u32 = 8;

/// What a distinct count keeps: at most about 2^precision bytes, a few bytes per value while there are few.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers {
    precision: u8,
    form: Form,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Form {
    /// `index << 8 | value` of the registers that are not zero, ascending.
    List(Vec<u32>),
    /// The value of every register.
    Array(Vec<u8>),
}

impl Registers {
    pub(super) fn new(precision: u8) -> Self {
        Self {
            precision,
            form: Form::List(Vec::new()),
        }
    }

    /// Takes in a hash: its first bits choose a register, the run of zeros after them is the value.
    pub(super) fn add(&mut self, hash: u64) {
        let rest_bits = 64 - u32::from(self.precision);
        let index = (hash >> rest_bits) as u32;
        // A one behind the last bit ends the run where all bits are zero.
        let rest = hash << self.precision | 1 << (self.precision - 1);
        let value = rest.leading_zeros() as u8 + 1;
        self.raise(index, value);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        assert_eq!(
            self.precision, other.precision,
            "sketches of one function have one precision"
        );
        match &other.form {
            Form::List(entries) => {
                for entry in entries {
                    self.raise(entry >> VALUE_BITS, *entry as u8);
                }
            }
            Form::Array(values) => {
                for (mine, theirs) in self.array().iter_mut().zip(values) {
                    *mine = (*mine).max(*theirs);
                }
            }
        }
    }

    fn raise(&mut self, index: u32, value: u8) {
        let entries = match &mut self.form {
            Form::Array(values) => {
                let register = &mut values[index as usize];
                *register = (*register).max(value);
                return;
            }
            Form::List(entries) => entries,
        };
        let entry = index << VALUE_BITS | u32::from(value);
        let slot = entries.partition_point(|kept| kept >> VALUE_BITS < index);
        match entries.get_mut(slot) {
            Some(kept) if *kept >> VALUE_BITS == index => *kept = entry.max(*kept),
            _ => {
                entries.insert(slot, entry);
                if entries.len() >= 1 << (self.precision - 2) {
                    self.array();
                }
            }
        }
    }

    /// The registers as an array, from now on.
    fn array(&mut self) -> &mut Vec<u8> {
        if let Form::List(entries) = &self.form {
            let mut values = vec![0; 1 << self.precision];
            for entry in entries {
                values[(entry >> VALUE_BITS) as usize] = *entry as u8;
            }
            self.form = Form::Array(values);
        }
        match &mut self.form {
            Form::Array(values) => values,
            Form::List(_) => unreachable!("a list was turned into an array above"),
        }
    }

    /// How many registers have each value.
    fn histogram(&self) -> [u32; 65] {
        let mut counts = [0; 65];
        match &self.form {
            Form::List(entries) => {
                counts[0] = (1 << self.precision) - entries.len() as u32;
                for entry in entries {
                    counts[(*entry as u8) as usize] += 1;
                }
            }
            Form::Array(values) => {
                for value in values {
                    counts[usize::from(*value)] += 1;
                }
            }
        }
        counts
    }

    /// The number of different hashes taken in, about.
    pub(super) fn estimate(&self) -> f64 {
        let counts = self.histogram();
        let registers = f64::from(1_u32 << self.precision);
        let last = 64 - usize::from(self.precision);
        let mut sum = registers * tau(1.0 - f64::from(counts[last + 1]) / registers);
        for count in counts[1..=last].iter().rev() {
            sum = 0.5 * (sum + f64::from(*count));
        }
        sum += registers * sigma(f64::from(counts[0]) / registers);
        registers * registers / (2.0 * std::f64::consts::LN_2 * sum)
    }
}

/// What registers that are still zero contribute: the sum x + Σ x^(2^k) · 2^(k-1), infinite at 1.
fn sigma(share: f64) -> f64 {
    if share >= 1.0 {
        return f64::INFINITY;
    }
    let (mut power, mut weight, mut sum) = (share, 1.0, share);
    loop {
        power *= power;
        let before = sum;
        sum += power * weight;
        weight += weight;
        // The powers fall faster than the weights grow, so the sum stops changing after some 50 rounds at most.
        if sum == before {
            return sum;
        }
    }
}

/// What full registers contribute: the sum (1 - x - Σ (1 - x^(2^-k))^2 · 2^-k) / 3.
fn tau(share: f64) -> f64 {
    if share <= 0.0 || share >= 1.0 {
        return 0.0;
    }
    let (mut root, mut weight, mut sum) = (share, 1.0, 1.0 - share);
    loop {
        root = root.sqrt();
        let before = sum;
        weight *= 0.5;
        sum -= (1.0 - root) * (1.0 - root) * weight;
        if sum == before {
            return sum / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::StableHash;

    /// The state never takes more memory than one byte per register.
    #[test]
    fn neither_form_is_larger_than_the_array() {
        for precision in [4, 6, 10] {
            let mut registers = Registers::new(precision);
            for value in 0_u32..5_000 {
                registers.add(value.stable_hash());
                let bytes = match &registers.form {
                    Form::List(entries) => entries.len() * size_of::<u32>(),
                    Form::Array(values) => values.len(),
                };
                assert!(bytes <= 1 << precision, "{bytes} bytes at {value}");
            }
        }
    }

    /// Hashes of nothing but zeros and of nothing but ones reach both ends of index and value.
    #[test]
    fn the_ends_of_the_range_have_their_registers() {
        for precision in [4_u8, 18] {
            let mut registers = Registers::new(precision);
            registers.add(0);
            registers.add(u64::MAX);
            let last = (1_u32 << precision) - 1;
            let longest = 65 - u32::from(precision);
            let expected = vec![longest, last << VALUE_BITS | 1];
            assert_eq!(registers.form, Form::List(expected));
            assert!((registers.estimate() - 2.0).abs() < 0.2);
        }
    }
}
