//! The share of the processors that versions of a projection may take which nobody asks yet.
//!
//! Place: an actor that is behind asks **[`Pacer`]** before a turn and says afterwards how long that took. All actors of a
//! version share one. While nothing is appended to the log they take all; once something is, they share out so much time as
//! the share allows, turn by turn, until the log has been quiet for [`QUIET`].
//! Threads: any; a lock that is held for some additions, per turn of a millisecond. The clock is the caller's.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Time without an append after which traffic is over.
const QUIET: Duration = Duration::from_millis(100);
/// What a turn counts at most: one that took longer waited for a processor itself.
const TURN_MAX: Duration = Duration::from_millis(4);

/// Shares out time to the actors of one version.
#[derive(Debug)]
pub struct Pacer {
    /// Turns take this many times their time, in hundredths.
    stretch: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Durable events of all partitions at the last look.
    durable: Option<u64>,
    /// When that was last seen to have changed.
    moved_at: Option<Duration>,
    /// When the next turn may begin.
    next: Duration,
}

impl Pacer {
    /// A share in percent of so many processors. 100, or 0 of either, is no limit.
    #[must_use]
    pub fn new(percent: u8, processors: usize) -> Self {
        let whole = u32::from(percent).saturating_mul(u32::try_from(processors).unwrap_or(1));
        let is_limit = percent < 100 && whole > 0;
        Self {
            stretch: if is_limit { 10_000 / whole } else { 0 },
            state: Mutex::default(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long to wait before a turn, with so many events durable now; `None`: not at all.
    pub(super) fn wait(&self, now: Duration, durable: u64) -> Option<Duration> {
        let mut state = self.state();
        if state
            .durable
            .replace(durable)
            .is_some_and(|was| was != durable)
        {
            state.moved_at = Some(now);
        }
        let is_quiet = state
            .moved_at
            .is_none_or(|moved| now.saturating_sub(moved) >= QUIET);
        if self.stretch == 0 || is_quiet {
            state.next = now;
            return None;
        }
        (state.next > now).then(|| state.next - now)
    }

    /// A turn has taken the time from `start` to `end`, and of other processors so much `beside` that.
    pub(super) fn spend(&self, start: Duration, end: Duration, beside: Duration) {
        let took = end.saturating_sub(start).min(TURN_MAX) + beside;
        let took = took * self.stretch / 100;
        let mut state = self.state();
        state.next = state.next.max(start) + took;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: Duration = Duration::from_millis(1);

    /// Two actors that would always go on; gives how many turns they had until then.
    fn turns(
        pacer: &Pacer,
        from: Duration,
        until: Duration,
        mut durable: impl FnMut() -> u64,
    ) -> u32 {
        let (mut now, mut turns) = (from, 0);
        while now < until {
            match pacer.wait(now, durable()) {
                None => {
                    pacer.spend(now, now + TURN, Duration::ZERO);
                    turns += 1;
                    // They take their turns one after the other on one thread.
                    now += TURN;
                }
                Some(wait) => now += wait,
            }
        }
        turns
    }

    #[test]
    fn all_while_the_log_is_quiet_and_the_share_while_it_is_not() {
        let pacer = Pacer::new(10, 2);
        let second = Duration::from_secs(1);
        assert_eq!(turns(&pacer, Duration::ZERO, second, || 7), 1_000);
        let mut durable = 7;
        let mut appended = || {
            durable += 1;
            durable
        };
        // A tenth of two processors is 200 ms in a second.
        let paced = turns(&pacer, second, 2 * second, &mut appended);
        assert!((195..=205).contains(&paced), "{paced}");
        // As much as before once it has been quiet for a while.
        let quiet = turns(&pacer, 2 * second, 3 * second, || 1_000_000);
        assert!((900..=1_000).contains(&quiet), "{quiet}");
    }

    #[test]
    fn a_whole_share_is_no_limit() {
        for pacer in [Pacer::new(100, 2), Pacer::new(0, 2), Pacer::new(50, 0)] {
            let mut durable = 0;
            let appended = || {
                durable += 1;
                durable
            };
            assert_eq!(turns(&pacer, Duration::ZERO, TURN * 100, appended), 100);
        }
    }

    /// Time of other processors counts in full, and only that of the turn itself is cut.
    #[test]
    fn what_works_beside_counts() {
        let pacer = Pacer::new(10, 1);
        let start = Duration::from_secs(1);
        pacer.wait(start, 1);
        pacer.wait(start, 2);
        pacer.spend(start, start + TURN, TURN * 3);
        assert_eq!(pacer.wait(start, 3), Some(TURN * 40));
    }
}
