//! Which windows a time lies in, and means.

use millstream_engine::time::Timestamp;

const SECOND: i64 = 1_000_000;

/// Starts of the windows of `size` seconds, one every `every` seconds, that `time` lies in.
pub(super) fn windows(time: Timestamp, size: u64, every: u64) -> Vec<Timestamp> {
    let (size, every) = (size.cast_signed() * SECOND, every.cast_signed() * SECOND);
    let mut start = time.as_micros().div_euclid(every) * every;
    let mut starts = Vec::new();
    while start + size > time.as_micros() {
        starts.push(Timestamp::from_micros(start));
        start -= every;
    }
    starts
}

/// The one window of `size` seconds that `time` lies in.
pub(super) fn window(time: Timestamp, size: u64) -> Timestamp {
    windows(time, size, size)[0]
}

/// The mean, rounded half up; 0 of nothing.
pub(super) fn mean(values: &[u64]) -> u64 {
    let count = values.len() as u64;
    if count == 0 {
        return 0;
    }
    (2 * values.iter().sum::<u64>() + count) / (2 * count)
}

#[cfg(test)]
mod tests {
    use super::{mean, window, windows};
    use millstream_engine::time::Timestamp;

    #[test]
    fn a_time_lies_in_size_over_every_windows() {
        let at = Timestamp::from_seconds;
        assert_eq!(windows(at(12), 10, 5), [at(10), at(5)]);
        assert_eq!(windows(at(10), 10, 5), [at(10), at(5)]);
        assert_eq!(windows(at(1), 10, 5), [at(0), at(-5)]);
        assert_eq!(windows(at(1), 10, 2).len(), 5);
        assert_eq!(window(Timestamp::from_micros(-1), 10), at(-10));
    }

    #[test]
    fn halves_are_rounded_up() {
        assert_eq!(mean(&[1, 2]), 2);
        assert_eq!(mean(&[1, 1, 2]), 1);
        assert_eq!(mean(&[]), 0);
    }
}
