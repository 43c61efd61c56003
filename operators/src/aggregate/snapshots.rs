//! When a snapshot pays.
//!
//! A snapshot costs S once; without one, a reload replays the events since the last at c each. If a stream
//! is reloaded r times per event, the cost per event with a snapshot every k events is S/k + r·c·k/2,
//! least at k = sqrt(2·S / (r·c)): Young's formula for checkpoint intervals (J. W. Young, CACM 17(9), 1974).
//! All three are measured as the engine runs. Whatever they say, k never passes what keeps a reload within
//! its target time, so a stream that is never reloaded is still bounded, and never falls below
//! [`EVENTS_MIN`].

use std::time::Duration;

/// Fewest events between two snapshots of an instance.
const EVENTS_MIN: f64 = 16.0;
/// Part of a mean that a new sample replaces.
const STEP: f64 = 1.0 / 32.0;

/// What snapshots and reloads of one aggregate type cost.
#[derive(Debug, Clone)]
pub(super) struct SnapshotPolicy {
    reload_target: f64,
    /// Seconds per event replayed. Before the first reload a guess on the high side.
    replay: f64,
    /// Seconds per snapshot, its storing included.
    snapshot: f64,
    events: u64,
    reloads: u64,
    /// The answer, as of the last new figure.
    interval: u16,
    /// Events at which it is worked out again.
    next_look: u64,
}

/// Events between two looks at the interval: it is asked for after every command.
const LOOK_EVERY: u64 = 1_024;

impl SnapshotPolicy {
    /// A policy that keeps reloads within about `reload_target`.
    pub(super) fn new(reload_target: Duration) -> Self {
        let mut policy = Self {
            reload_target: reload_target.as_secs_f64(),
            replay: 2e-6,
            snapshot: 10e-6,
            events: 0,
            reloads: 0,
            interval: 0,
            next_look: LOOK_EVERY,
        };
        policy.interval = policy.work_out();
        policy
    }

    /// Events after which an instance is worth a snapshot.
    pub(super) fn interval(&self) -> u16 {
        self.interval
    }

    fn work_out(&self) -> u16 {
        // An instance counts no further than 16 bits.
        let bound = (self.reload_target / self.replay).clamp(EVENTS_MIN, f64::from(u16::MAX));
        let rate = self.reloads as f64 / self.events.max(1) as f64;
        // With no reloads at all the root is infinite and the bound decides.
        let best = (2.0 * self.snapshot / (rate * self.replay)).sqrt();
        best.clamp(EVENTS_MIN, bound) as u16
    }

    pub(super) fn count_events(&mut self, events: u64) {
        self.events += events;
        if self.events >= self.next_look {
            self.next_look = self.events + LOOK_EVERY;
            self.interval = self.work_out();
        }
    }

    /// Takes in that an instance was activated by replaying `events`.
    pub(super) fn observe_reload(&mut self, events: u64, elapsed: Duration) {
        self.reloads += 1;
        if events > 0 {
            let each = elapsed.as_secs_f64() / events as f64;
            self.replay += STEP * (each.max(1e-9) - self.replay);
        }
        self.interval = self.work_out();
    }

    /// Takes in that encoding a state took `elapsed`; storing it costs about as much again.
    pub(super) fn observe_snapshot(&mut self, elapsed: Duration) {
        let cost = 2.0 * elapsed.as_secs_f64();
        self.snapshot += STEP * (cost - self.snapshot);
        self.interval = self.work_out();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_are_never_reloaded_are_bounded_by_the_reload_target() {
        let mut policy = SnapshotPolicy::new(Duration::from_millis(5));
        policy.count_events(1_000_000);
        assert_eq!(policy.interval(), 2_500);
    }

    #[test]
    fn the_interval_is_the_root_that_the_formula_gives() {
        let mut policy = SnapshotPolicy::new(Duration::from_secs(1));
        for _ in 0..1_000 {
            policy.count_events(100);
            policy.observe_reload(100, Duration::from_micros(100));
            policy.observe_snapshot(Duration::from_micros(25));
        }
        // S = 50 µs, r = 0.01, c = 1 µs: sqrt(2 · 50 / 0.01) = 100.
        assert!(
            (99..=101).contains(&policy.interval()),
            "{}",
            policy.interval()
        );
    }

    #[test]
    fn no_figures_make_it_leave_its_bounds() {
        let mut policy = SnapshotPolicy::new(Duration::ZERO);
        assert_eq!(policy.interval(), 16);
        policy.observe_reload(1, Duration::MAX);
        policy.observe_snapshot(Duration::ZERO);
        assert_eq!(policy.interval(), 16);
    }
}
