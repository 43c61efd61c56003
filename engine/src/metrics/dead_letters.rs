//! Handles of dead letters and of what is parked behind them, by class of causes.

use std::time::Duration;

use compact_str::CompactString;
use metrics::{Counter, Gauge};

use super::catalog;
use super::labels::Labels;
use crate::event::PartitionId;

/// What is parked or dead in one stage at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParkedNow<'a> {
    /// Keys in backoff or behind a dead letter.
    pub keys: u64,
    /// Events that queue behind a failing one of their key.
    pub events: u64,
    /// The failing ones, by class of cause; of classes that are not in it nothing waits.
    pub causes: &'a [ParkedCause<'a>],
}

/// What waits of one class of causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkedCause<'a> {
    /// The class.
    pub cause: &'a str,
    /// Dead letters that nobody has dealt with.
    pub dead_letters: u64,
    /// Time since the first failure of the event that has waited longest.
    pub oldest: Duration,
}

/// Classes of causes that have figures of their own in one stage and partition; later ones are `other`.
const CLASSES_MAX: usize = 16;
/// What the rest is counted as.
const OTHER: &str = "other";
/// There from the beginning, so that the first failure is an increase.
const ERROR: &str = "error";
/// Classes that every stage may have: there from the start, so that their first increase is seen as one.
const BUILT_IN: [&str; 4] = [ERROR, "panic", "unreadable", "not_tried"];

/// Dead letters and parking of one stage. Labels: `stage`, `partition`; those of letters also `cause`, a class of causes.
#[derive(Clone, Debug)]
pub struct DeadLetterMetrics {
    labels: Labels,
    parked_keys: Gauge,
    parked_events: Gauge,
    retries: Counter,
    skipped: Counter,
    classes: Vec<ClassMetrics>,
}

/// Of one class of causes.
#[derive(Clone, Debug)]
struct ClassMetrics {
    class: CompactString,
    dead_letters: Gauge,
    oldest_seconds: Gauge,
    added: Counter,
    redriven: Counter,
    discarded: Counter,
    /// What is shown next.
    next: (u64, Duration),
}

impl ClassMetrics {
    fn new(labels: &Labels, class: &str) -> Self {
        let labels = labels.and("cause", class);
        Self {
            class: class.into(),
            dead_letters: labels.gauge(catalog::DEAD_LETTERS),
            oldest_seconds: labels.gauge(catalog::DEAD_LETTERS_OLDEST_SECONDS),
            added: labels.counter(catalog::DEAD_LETTERS_ADDED_TOTAL),
            redriven: labels.counter(catalog::DEAD_LETTERS_REDRIVEN_TOTAL),
            discarded: labels.counter(catalog::DEAD_LETTERS_DISCARDED_TOTAL),
            next: (0, Duration::ZERO),
        }
    }
}

impl DeadLetterMetrics {
    /// Takes the handles of `stage` in `partition`.
    pub fn new(stage: &str, partition: PartitionId) -> Self {
        let labels = Labels::named("stage", stage, partition);
        Self {
            parked_keys: labels.gauge(catalog::DEAD_LETTERS_PARKED_KEYS),
            parked_events: labels.gauge(catalog::DEAD_LETTERS_PARKED_EVENTS),
            retries: labels.counter(catalog::DEAD_LETTERS_RETRIES_TOTAL),
            skipped: labels.counter(catalog::DEAD_LETTERS_SKIPPED_TOTAL),
            classes: BUILT_IN
                .map(|class| ClassMetrics::new(&labels, class))
                .into(),
            labels,
        }
    }

    /// The handles of a class, or of `other` once there are as many as may be.
    fn class(&mut self, class: &str) -> &mut ClassMetrics {
        let found = |all: &[ClassMetrics], class: &str| all.iter().position(|of| of.class == class);
        let is_full = self.classes.len() >= CLASSES_MAX;
        let at = found(&self.classes, class).unwrap_or_else(|| {
            let class = if is_full { OTHER } else { class };
            found(&self.classes, class).unwrap_or_else(|| {
                self.classes.push(ClassMetrics::new(&self.labels, class));
                self.classes.len() - 1
            })
        });
        &mut self.classes[at]
    }

    /// Shows what is parked or dead now.
    pub fn observe(&mut self, now: ParkedNow<'_>) {
        self.parked_keys.set(now.keys as f64);
        self.parked_events.set(now.events as f64);
        for of in now.causes {
            let next = &mut self.class(of.cause).next;
            // Several may be `other`.
            *next = (next.0 + of.dead_letters, next.1.max(of.oldest));
        }
        for class in &mut self.classes {
            let (dead_letters, oldest) = std::mem::take(&mut class.next);
            class.dead_letters.set(dead_letters as f64);
            class.oldest_seconds.set(oldest);
        }
    }

    /// Counts events that became dead letters for this class of causes.
    pub fn count_added(&mut self, cause: &str, events: u64) {
        self.class(cause).added.increment(events);
    }

    /// Counts dead letters sent through their stage again.
    pub fn count_redriven(&mut self, cause: &str, events: u64) {
        self.class(cause).redriven.increment(events);
    }

    /// Counts dead letters given up.
    pub fn count_discarded(&mut self, cause: &str, events: u64) {
        self.class(cause).discarded.increment(events);
    }

    /// Counts items of a dataflow that were passed over, as the policy of their stage says.
    pub fn count_skipped(&self, items: u64) {
        self.skipped.increment(items);
    }

    /// Counts tries of failing events after the first.
    pub fn count_retries(&self, tries: u64) {
        self.retries.increment(tries);
    }
}
