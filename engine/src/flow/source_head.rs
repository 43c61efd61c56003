//! The beginning of a stage that reads sources: pulls its splits in turn, follows their watermarks.
//!
//! Invariant: an item that is behind its own split's watermark is marked late with exactly that watermark, so
//! that whether a window still takes it depends neither on batch sizes nor on the other splits. Only for a split that
//! comes back after it was idle the merged watermark counts, if that is later: the others went on without it.

mod pulling;
mod reads;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::alignment::Alignment;
use super::edge::BatchSize;
use super::head::{Head, Pull, tell_end};
use super::merge::WatermarkMerger;
use super::operator::{Discard, Fault, Operator, Turn};
use super::source::{Pulled, SeekError, Source};
use super::watermarks::WatermarkPolicy;
use crate::batch::{BatchController, BatchLimits};
use crate::checkpoint::{Restoring, Saving};
use crate::mailbox::Mailbox;
use crate::time::{Clock, Timestamp};

/// Its kind of state in checkpoints.
const KIND: &str = "source";
/// Work after which the others of the thread have their turn.
const TURN: Duration = Duration::from_millis(1);
/// How often a split looks again that waits for others to catch up.
const ALIGNMENT_WAIT: Duration = Duration::from_millis(1);

/// One source with its watermark.
#[derive(Debug)]
pub struct Split<S, W> {
    /// The source.
    pub source: S,
    /// Its watermark.
    pub policy: W,
    /// Its number among all splits of the source, over all partitions.
    pub number: usize,
    /// How many splits there are, if what a split is depends on that.
    pub of: Option<usize>,
    /// The watermark that it had come to when it was saved.
    pub resumed: Timestamp,
}

/// How sources are read.
#[derive(Clone, Debug, Default)]
pub struct SourceOptions {
    /// Items per pull. Default: dynamic.
    pub batch: BatchSize,
    /// Time without an item after which a split no longer holds watermarks back. Default: never.
    pub idle_after: Option<Duration>,
    /// Keeps splits together in event time. Default: not.
    pub alignment: Option<Arc<Alignment>>,
}

impl<S: Source, W: WatermarkPolicy<S::Item>> Split<S, W> {
    /// What the policy says, or the source itself where that is later.
    fn watermark(&self) -> Timestamp {
        let own = self.source.watermark().unwrap_or(Timestamp::MIN);
        self.policy.watermark().max(own).max(self.resumed)
    }
}

struct Reading<S, W> {
    split: Split<S, W>,
    ended: bool,
    /// It had ended when it was saved: it is not opened, and its end is told once more.
    was_ended: bool,
    idle: bool,
    /// Since when no pull has found anything. Not while it is not pulled: who is not asked is not silent.
    silent_since: Option<Duration>,
    items: u64,
}

/// What came of pulling the splits in turn.
enum Sweep {
    /// There may be more: the turn is over, or the operator is blocked.
    Cut,
    /// None has anything now; look again after this long, if it says so.
    Over(Option<Duration>),
}

/// A split as it is saved.
#[derive(Serialize, Deserialize)]
struct SavedSplit {
    number: usize,
    of: Option<usize>,
    position: Option<Vec<u8>>,
    watermark: Timestamp,
    /// By itself, so that the next start finds no more of it. Versions before did not store it.
    #[serde(default)]
    ended: bool,
    /// What the source read, if it says so. Versions before did not store it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    reads: Vec<String>,
}

/// The splits of a partition as they are saved.
#[derive(Serialize, Deserialize)]
struct SavedSource {
    watermark: Timestamp,
    splits: Vec<SavedSplit>,
}

/// Input from sources.
pub struct SourceHead<S, W> {
    splits: Vec<Reading<S, W>>,
    next: usize,
    options: SourceOptions,
    merger: WatermarkMerger,
    controller: Option<BatchController>,
    fixed: usize,
    /// Items that each split gives in this round. The same for all: one that is always given less falls behind, and
    /// what the others bring waits for its watermark. Zero until one of the round is pulled, which need not be the first:
    /// that may have ended, or wait for others.
    wanted: usize,
    items: u64,
    stopping: bool,
    mailbox: Arc<Mailbox>,
}

impl<S: Source, W: WatermarkPolicy<S::Item>> SourceHead<S, W> {
    /// Reads `splits` once it is opened; a partition may have none, and ends at once then.
    pub fn new(splits: Vec<Split<S, W>>, options: SourceOptions, mailbox: &Arc<Mailbox>) -> Self {
        let reading = |split| Reading {
            split,
            ended: false,
            was_ended: false,
            idle: false,
            silent_since: None,
            items: 0,
        };
        let splits: Vec<_> = splits.into_iter().map(reading).collect();
        let (controller, fixed) = match &options.batch {
            BatchSize::Dynamic(limits) => (Some(source_controller(limits)), 0),
            BatchSize::Fixed(items) => (None, items.get()),
        };
        Self {
            merger: WatermarkMerger::new(splits.len()),
            mailbox: Arc::clone(mailbox),
            splits,
            next: 0,
            options,
            controller,
            fixed,
            wanted: 0,
            items: 0,
            stopping: false,
        }
    }

    fn items_wanted(&self) -> usize {
        match &self.controller {
            Some(controller) => controller.batch_items(usize::MAX),
            None => self.fixed,
        }
    }

    /// Pulls splits in turn until the turn is over, the operator is blocked or nothing is left.
    fn pull_splits<O>(
        &mut self,
        operator: &mut O,
        turn: &Turn,
        clock: &dyn Clock,
    ) -> Result<Sweep, Fault>
    where
        O: Operator<S::Item, Out = Infallible>,
    {
        let (mut last, mut quiet, mut wait) = (turn.monotonic, 0, None);
        while quiet < self.splits.len() {
            let at = self.next;
            self.next = if at + 1 == self.splits.len() {
                0
            } else {
                at + 1
            };
            if at == 0 {
                self.wanted = 0;
            }
            if self.splits[at].ended {
                quiet += 1;
                continue;
            }
            if self.is_ahead(at) {
                quiet += 1;
                self.splits[at].silent_since = None;
                wait = Some(wait.map_or(ALIGNMENT_WAIT, |wait: Duration| wait.min(ALIGNMENT_WAIT)));
                continue;
            }
            if self.wanted == 0 {
                self.wanted = self.items_wanted();
            }
            let (pulled, items) = self.pull_split(at, self.wanted, operator)?;
            let now = clock.monotonic();
            if items > 0
                && let Some(controller) = &mut self.controller
            {
                controller.observe(items, now.saturating_sub(last));
            }
            last = now;
            if matches!(pulled, Pulled::Pending | Pulled::PendingFor(_)) {
                self.look_for_idle(at, now, operator);
            }
            match pulled {
                Pulled::More => quiet = 0,
                Pulled::Pending | Pulled::End => quiet += 1,
                Pulled::PendingFor(delay) => {
                    quiet += 1;
                    wait = Some(wait.map_or(delay, |wait: Duration| wait.min(delay)));
                }
            }
            if operator.is_blocked() || now.saturating_sub(turn.monotonic) >= TURN {
                return Ok(Sweep::Cut);
            }
        }
        Ok(Sweep::Over(wait))
    }
}

/// A source is pulled in larger pieces from the start: there is no backlog to learn from.
fn source_controller(limits: &BatchLimits) -> BatchController {
    BatchController::new(BatchLimits {
        items_min: limits.items_min.max(256).min(limits.items_max),
        ..limits.clone()
    })
}

impl<S, W, O> Head<O> for SourceHead<S, W>
where
    S: Source,
    W: WatermarkPolicy<S::Item>,
    O: Operator<S::Item, Out = Infallible>,
{
    type Item = S::Item;

    fn pull(&mut self, operator: &mut O, turn: &Turn, clock: &dyn Clock) -> Result<Pull, Fault> {
        if self.splits.is_empty() {
            // Nothing will come from here, and nobody need wait for it.
            operator.watermark(Timestamp::MAX, &mut Discard);
        }
        if self.stopping || self.splits.is_empty() {
            return Ok(tell_end(operator));
        }
        let wait = match self.pull_splits(operator, turn, clock)? {
            Sweep::Cut => return Ok(Pull::More),
            Sweep::Over(wait) => wait,
        };
        if self.splits.iter().all(|reading| reading.ended) {
            return Ok(tell_end(operator));
        }
        let idle = self.until_idle(clock.monotonic());
        Ok(match (wait, idle) {
            (None, None) => Pull::Idle,
            (Some(wait), Some(idle)) => Pull::IdleFor(wait.min(idle)),
            (Some(one), None) | (None, Some(one)) => Pull::IdleFor(one),
        })
    }

    fn stop(&mut self) {
        self.stopping = true;
        for reading in &mut self.splits {
            reading.split.source.stop();
        }
    }

    fn is_idle(&self) -> bool {
        self.merger.is_idle()
    }

    fn items_total(&self) -> u64 {
        self.items
    }

    fn watermark(&self) -> Timestamp {
        if self.splits.is_empty() {
            return Timestamp::MAX;
        }
        self.merger.watermark()
    }

    fn is_source(&self) -> bool {
        true
    }

    fn open(&mut self) -> Result<(), Fault> {
        let open = self.splits.iter_mut().filter(|reading| !reading.was_ended);
        open.map(|reading| &mut reading.split.source)
            .try_for_each(|source| source.open(&self.mailbox))
    }

    fn save(&self, saving: &mut Saving) -> Result<(), Fault> {
        let splits = self.splits.iter().map(|reading| {
            Ok(SavedSplit {
                number: reading.split.number,
                of: reading.split.of,
                position: reading.split.source.position()?,
                watermark: reading.split.watermark(),
                ended: reading.was_ended || (reading.ended && !reading.split.source.may_go_on()),
                reads: reading.split.source.reads(),
            })
        });
        let saved = SavedSource {
            watermark: self.merger.saved(saving.holds_end()),
            splits: splits.collect::<Result<_, Fault>>()?,
        };
        Ok(saving.whole(KIND, &saved)?)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<Timestamp, Fault> {
        let saved = restoring.whole::<SavedSource>(KIND)?;
        let watermark = saved.iter().map(|saved| saved.watermark).min();
        for split in saved.into_iter().flat_map(|saved| saved.splits) {
            let mut own = self.splits.iter_mut();
            let Some(reading) = own.find(|own| own.split.number == split.number) else {
                if restoring.is_spread_anew() {
                    continue; // Another partition reads it.
                }
                let number = split.number;
                return Err(Fault(format!("split {number} of the source is gone")));
            };
            reads::check(&split.reads, &reading.split.source.reads(), restoring)?;
            if reading.split.of != split.of {
                let (of, now) = (split.of.unwrap_or(0), reading.split.of.unwrap_or(0));
                return Err(Fault(format!(
                    "the source had {of} splits and now has {now}, which are not the same parts of it: give it the \
                     number of partitions that it had"
                )));
            }
            if let Some(position) = split.position {
                reading.split.source.seek(&position).map_err(|error| {
                    if matches!(error, SeekError::OtherHistory(_)) {
                        restoring.mark_stale();
                    }
                    Fault(error.to_string())
                })?;
            }
            reading.split.resumed = split.watermark;
            reading.was_ended = split.ended && !reading.split.source.may_go_on();
            if let Some(alignment) = &self.options.alignment {
                alignment.advance(split.number, split.watermark);
            }
        }
        let watermark = watermark.unwrap_or(Timestamp::MIN);
        self.merger.resume(watermark);
        Ok(watermark)
    }
}

impl<S, W> fmt::Debug for SourceHead<S, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceHead")
            .field("splits", &self.splits.len())
            .field("items", &self.items)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
