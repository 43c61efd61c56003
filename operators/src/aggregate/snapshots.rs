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
/// Seconds per event replayed, before reloads tell: a guess on the high side.
const REPLAY_GUESS: f64 = 2e-6;
/// Least seconds per event that are believed.
const REPLAY_MIN: f64 = 1e-7;
/// What the guess weighs, in squared events of spread. Reloads of 1 to 5 events have 256 of it, and what they say of one event
/// drowns in the noise of their fixed cost; those of 1 to 500 have millions.
const GUESS_WEIGHT: f64 = 8_192.0;
/// Part of its weight that a reload keeps per later one: a memory of about 128.
const KEEP: f64 = 1.0 - 1.0 / 128.0;
/// Most that one reload counts for, in costs that were expected: the thread may have lost its core.
const SURPRISE_MAX: f64 = 3.0;

/// What snapshots and reloads of one aggregate type cost.
#[derive(Debug, Clone)]
pub(super) struct SnapshotPolicy {
    reload_target: f64,
    replay: Replay,
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
            replay: Replay::default(),
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
        let replay = self.replay.per_event();
        let bound = (self.reload_target / replay).clamp(EVENTS_MIN, f64::from(u16::MAX));
        let rate = self.reloads as f64 / self.events.max(1) as f64;
        // With no reloads at all the root is infinite and the bound decides.
        let best = (2.0 * self.snapshot / (rate * replay)).sqrt();
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
            self.replay.observe(events as f64, elapsed.as_secs_f64());
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

/// What reloads cost: a fixed part, such as unpacking a large frame for the one event in it, and a part per event replayed.
/// A line by least squares that forgets. Reloads that are all about as long do not tell one part from the other: the line's
/// slope is then what was guessed, or less if all that they cost is less.
#[derive(Debug, Clone, Copy, Default)]
struct Replay {
    weight: f64,
    events: f64,
    cost: f64,
    events_squared: f64,
    events_cost: f64,
}

impl Replay {
    /// Takes in that replaying so many events took `seconds`, with all that went before it.
    fn observe(&mut self, events: f64, seconds: f64) {
        let mut cost = seconds;
        if self.weight > 0.0 {
            let slope = self.per_event();
            let expected = (self.cost + slope * (events * self.weight - self.events)) / self.weight;
            cost = cost.min(SURPRISE_MAX * expected.max(slope));
        }
        self.weight = self.weight * KEEP + 1.0;
        self.events = self.events * KEEP + events;
        self.cost = self.cost * KEEP + cost;
        self.events_squared = self.events_squared * KEEP + events * events;
        self.events_cost = self.events_cost * KEEP + events * cost;
    }

    /// Seconds per event.
    fn per_event(&self) -> f64 {
        if self.weight == 0.0 {
            return REPLAY_GUESS;
        }
        let mean = self.events / self.weight;
        let spread = (self.events_squared - mean * self.events).max(0.0);
        let together = self.events_cost - mean * self.cost;
        let slope = (together + GUESS_WEIGHT * REPLAY_GUESS) / (spread + GUESS_WEIGHT);
        slope.min(self.cost / self.events).max(REPLAY_MIN)
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

    /// The fixed cost of reloads was booked as that of their events: streams of a few events in large frames made one event cost
    /// milliseconds, and hot aggregates were snapshotted as often as is allowed.
    #[test]
    fn what_a_reload_costs_in_any_case_is_no_cost_of_its_events() {
        let mut policy = SnapshotPolicy::new(Duration::from_millis(5));
        let mut noise = 1_u64;
        let mut reload = |policy: &mut SnapshotPolicy, events: u64| {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // 2 ms, more or less a quarter, and a microsecond per event.
            let fixed = 1_500 + (noise >> 33) % 1_000;
            policy.count_events(100);
            policy.observe_snapshot(Duration::from_micros(25));
            policy.observe_reload(events, Duration::from_micros(fixed + events));
            policy.interval()
        };
        // S = 50 µs, r = 0.01: the formula gives 100 for 1 µs per event, and 50 for 4 µs.
        for n in 0..2_000 {
            let interval = reload(&mut policy, 1 + n % 5);
            assert!(n < 100 || (50..=250).contains(&interval), "{interval}");
        }
        for n in 0..2_000 {
            let interval = reload(&mut policy, 1 + n * 37 % 5_000);
            assert!(n < 200 || (90..=110).contains(&interval), "{interval}");
        }
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
