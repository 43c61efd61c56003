//! Random texts of names, descriptions and padding.
//!
//! Cost: a text up to 24 bytes lies inside its event, a longer one is one allocation.

use compact_str::CompactString;

use super::random::JavaRandom;

/// The longest text is one byte shorter.
const LONGEST: usize = 100;

/// Bytes on the stack that a text is put together in.
pub(super) struct TextBuffer {
    bytes: [u8; LONGEST],
    length: usize,
}

impl TextBuffer {
    pub(super) fn new() -> Self {
        Self {
            bytes: [0; LONGEST],
            length: 0,
        }
    }

    /// Puts 3 to `SPAN` + 2 random characters behind what is there, without the spaces at both ends.
    #[inline]
    pub(super) fn push_random<const SPAN: u32>(&mut self, random: &mut JavaRandom) {
        let drawn = 3 + random.below::<SPAN>() as usize;
        let place = &mut self.bytes[self.length..self.length + drawn];
        for byte in place.iter_mut() {
            *byte = if random.below::<13>() == 0 {
                b' '
            } else {
                b'a' + random.below::<26>() as u8
            };
        }
        let kept = place.trim_ascii().len();
        let leading = place.len() - place.trim_ascii_start().len();
        place.copy_within(leading..leading + kept, 0);
        self.length += kept;
    }

    /// Puts a number of up to four digits behind what is there, with zeros before it.
    pub(super) fn push_digits(&mut self, number: u32) {
        for divisor in [1_000, 100, 10, 1] {
            self.push(b"0123456789"[(number / divisor % 10) as usize]);
        }
    }

    /// Puts one ASCII character behind what is there.
    pub(super) fn push(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    /// Puts an ASCII text behind what is there.
    pub(super) fn push_text(&mut self, text: &str) {
        self.bytes[self.length..self.length + text.len()].copy_from_slice(text.as_bytes());
        self.length += text.len();
    }

    pub(super) fn text(&self) -> CompactString {
        CompactString::from_utf8(&self.bytes[..self.length]).expect("only ASCII was put in")
    }
}

/// A text of 3 to `SPAN` + 2 random characters, less the spaces at both ends.
#[inline]
pub(super) fn random_text<const SPAN: u32>(random: &mut JavaRandom) -> CompactString {
    let mut buffer = TextBuffer::new();
    buffer.push_random::<SPAN>(random);
    buffer.text()
}

/// Padding that brings an event of `size` bytes to about `average` bytes; empty if it is larger already.
pub(super) fn padding(random: &mut JavaRandom, size: usize, average: usize) -> CompactString {
    let Some(wanted) = average.checked_sub(size) else {
        return CompactString::default();
    };
    // A fifth of it to either side, rounded.
    let spread = (wanted * 2 + 5) / 10;
    let drawn = match spread {
        0 => 0,
        _ => random.below_bound(2 * spread as u32) as usize,
    };
    let length = wanted - spread + drawn;
    let mut text = CompactString::with_capacity(length);
    let mut number = 0;
    for place in 0..length {
        if place % 6 == 0 {
            number = random.next_i32();
        }
        // The remainder of a negative number is negative, so the characters go from `H` to `z`.
        let code = i32::from(b'a') + number % 26;
        text.push(char::from(code as u8));
        number /= 26;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{TextBuffer, padding, random_text};
    use crate::catalog::nexmark::random::JavaRandom;

    #[test]
    fn a_text_has_its_length_and_no_spaces_at_its_ends() {
        for seed in 0..2_000 {
            let text = random_text::<97>(&mut JavaRandom::new(seed));
            assert!(text.len() <= 99);
            assert_eq!(text.trim(), text);
            assert!(text.bytes().all(|b| b == b' ' || b.is_ascii_lowercase()));
        }
    }

    #[test]
    fn numbers_have_four_digits() {
        let mut buffer = TextBuffer::new();
        buffer.push_digits(7);
        buffer.push(b' ');
        buffer.push_digits(9_999);
        assert_eq!(buffer.text(), "0007 9999");
    }

    #[test]
    fn padding_stays_within_a_fifth() {
        for seed in 0..500 {
            let text = padding(&mut JavaRandom::new(seed), 32, 100);
            assert!((54..=81).contains(&text.len()), "{}", text.len());
        }
        assert_eq!(padding(&mut JavaRandom::new(1), 101, 100), "");
        assert_eq!(padding(&mut JavaRandom::new(1), 100, 100), "");
    }
}
