//! When to start a failed stage again, and when to give up: a plain function of times and causes.
//!
//! Failures less than a quiet window apart belong together: each waits twice as long as the one before,
//! and after [`RestartPolicy::attempts_max`] restarts it is over. Quiet is only time in which it ran: not the wait
//! before a restart, nor what the beginning takes, nor a beginning that fails. What is reported then is the first
//! cause; later ones are often only its consequences. Not here: actors, timers (`supervisor`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often and how fast a failed stage is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RestartPolicy {
    /// Restarts before giving up. Default 5; 0 gives up at the first failure.
    pub attempts_max: u32,
    /// Time without failure, counted from when it runs again, after which earlier failures are forgotten.
    /// Default 60 s.
    pub window: Duration,
    /// Wait before the first restart. Default 100 ms.
    pub backoff_first: Duration,
    /// Longest wait. Default 10 s.
    pub backoff_max: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            attempts_max: 5,
            window: Duration::from_secs(60),
            backoff_first: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
        }
    }
}

/// What to do about a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Directive<C = String> {
    /// Start it again after this long.
    RestartAfter(Duration),
    /// Leave it dead.
    GiveUp {
        /// Cause of the first failure since the last quiet window.
        first_cause: C,
        /// Restarts that were tried.
        attempts: u32,
    },
}

/// Failures of one stage, or of what else has such causes, under a [`RestartPolicy`].
#[derive(Debug, Clone)]
pub struct Supervision<C = String> {
    policy: RestartPolicy,
    attempts: u32,
    first_cause: Option<C>,
    /// Since when it runs: quiet is counted from there. `None` from a failure until it runs again.
    runs_since: Option<Duration>,
}

impl<C: Clone> Supervision<C> {
    /// No failures yet.
    pub fn new(policy: RestartPolicy) -> Self {
        Self {
            policy,
            attempts: 0,
            first_cause: None,
            runs_since: Some(Duration::ZERO),
        }
    }

    /// It has begun at `now` (monotonic) and runs. Without this no later failure is far from the one before.
    pub fn began(&mut self, now: Duration) {
        self.runs_since = Some(now);
    }

    /// Takes in a failure at `now` (monotonic; of what hung, since when) and says what to do.
    pub fn on_failure(&mut self, now: Duration, cause: C) -> Directive<C> {
        let first_cause = self.last_failure(now, cause);
        if self.attempts >= self.policy.attempts_max {
            return Directive::GiveUp {
                first_cause,
                attempts: self.attempts,
            };
        }
        let backoff = self
            .policy
            .backoff_first
            .saturating_mul(1 << self.attempts.min(30));
        let backoff = backoff.min(self.policy.backoff_max);
        self.attempts += 1;
        Directive::RestartAfter(backoff)
    }

    /// Takes in a failure at `now` (monotonic) after which nothing is started, whatever the policy says: gives the cause of
    /// the first one since the last quiet window.
    pub fn last_failure(&mut self, now: Duration, cause: C) -> C {
        let ran_since = self.runs_since.take();
        if ran_since.is_some_and(|since| now.saturating_sub(since) >= self.policy.window) {
            self.attempts = 0;
            self.first_cause = None;
        }
        self.first_cause.get_or_insert(cause).clone()
    }

    /// Restarts tried since the last quiet window.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn supervision() -> Supervision<String> {
        Supervision::new(RestartPolicy {
            attempts_max: 3,
            window: 60 * SECOND,
            backoff_first: SECOND,
            backoff_max: 3 * SECOND,
        })
    }

    #[test]
    fn waits_double_up_to_their_bound_and_the_first_cause_is_kept() {
        let mut supervision = supervision();
        for (now, backoff) in [(0, 1), (5, 2), (10, 3)] {
            let directive = supervision.on_failure(now * SECOND, format!("at {now}"));
            assert_eq!(directive, Directive::RestartAfter(backoff * SECOND));
        }
        let over = Directive::GiveUp {
            first_cause: "at 0".into(),
            attempts: 3,
        };
        assert_eq!(supervision.on_failure(15 * SECOND, "at 15".into()), over);
    }

    #[test]
    fn a_quiet_window_forgets() {
        let mut supervision = supervision();
        for failure in 0..20 {
            let directive = supervision.on_failure(failure * 61 * SECOND, "rare".into());
            assert_eq!(directive, Directive::RestartAfter(SECOND));
            supervision.began((failure * 61 + 1) * SECOND);
        }
        // One second short of a quiet window, which is counted from the restart.
        let directive = supervision.on_failure((19 * 61 + 60) * SECOND, "again".into());
        assert_eq!(directive, Directive::RestartAfter(2 * SECOND));
    }

    /// Story: a restore that took as long as the quiet window, or that failed after as long, was tried for ever.
    #[test]
    fn time_in_which_it_did_not_run_is_not_quiet() {
        let mut restored = supervision();
        for failure in 0..3 {
            let directive = restored.on_failure(failure * 100 * SECOND, "again".into());
            assert!(matches!(directive, Directive::RestartAfter(_)), "{failure}");
            restored.began((failure * 100 + 90) * SECOND);
        }
        let mut never_begun = supervision();
        for failure in 0..3 {
            let directive = never_begun.on_failure(failure * 100 * SECOND, "again".into());
            assert!(matches!(directive, Directive::RestartAfter(_)), "{failure}");
        }
        let over = Directive::GiveUp {
            first_cause: "again".to_owned(),
            attempts: 3,
        };
        for mut supervision in [restored, never_begun] {
            assert_eq!(supervision.on_failure(300 * SECOND, "last".into()), over);
        }
    }

    #[test]
    fn what_is_told_at_the_end_is_no_older_than_a_quiet_window() {
        let mut supervision = supervision();
        supervision.on_failure(SECOND, "long ago".into());
        supervision.began(2 * SECOND);
        supervision.on_failure(100 * SECOND, "first".into());
        supervision.began(100 * SECOND);
        assert_eq!(
            supervision.last_failure(101 * SECOND, "second".into()),
            "first"
        );
        supervision.began(102 * SECOND);
        assert_eq!(
            supervision.last_failure(200 * SECOND, "third".into()),
            "third"
        );
    }

    #[test]
    fn no_attempts_give_up_at_once() {
        let policy = RestartPolicy {
            attempts_max: 0,
            ..RestartPolicy::default()
        };
        let directive = Supervision::new(policy).on_failure(SECOND, "first".to_owned());
        assert_eq!(
            directive,
            Directive::GiveUp {
                first_cause: "first".into(),
                attempts: 0
            }
        );
    }

    #[test]
    fn very_many_attempts_do_not_overflow() {
        let mut supervision = Supervision::<String>::new(RestartPolicy {
            attempts_max: u32::MAX,
            backoff_max: Duration::MAX,
            ..RestartPolicy::default()
        });
        for _ in 0..100 {
            assert!(matches!(
                supervision.on_failure(Duration::MAX, "x".into()),
                Directive::RestartAfter(_)
            ));
        }
    }
}
