//! How often failures are told of: the first few of each second, since a stage may fail on a hundred thousand.

use std::time::Duration;

/// Failures that are told of in a second, and how long that is.
const TOLD_MAX: u32 = 10;
const SPAN: Duration = Duration::from_secs(1);

/// What was told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Telling {
    began: Duration,
    told: u32,
    unsaid: u64,
}

impl Telling {
    /// One more failed at this monotonic time: `None` says nothing of it, otherwise so many were not told of before.
    pub(crate) fn next(&mut self, now: Duration) -> Option<u64> {
        if now.saturating_sub(self.began) >= SPAN {
            (self.began, self.told) = (now, 0);
        }
        if self.told == TOLD_MAX {
            self.unsaid += 1;
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_told_of_is_counted() {
        let (mut telling, at) = (Telling::default(), Duration::from_millis);
        for _ in 0..10 {
            assert_eq!(telling.next(at(5)), Some(0));
        }
        for _ in 0..100 {
            assert_eq!(telling.next(at(999)), None);
        }
        assert_eq!(telling.next(at(1_004)), Some(100));
        assert_eq!(telling.next(at(1_005)), Some(0));
    }
}
