//! Decisions about items that wait: read from the log when there may be new ones, and carried out once.

use std::collections::BTreeMap;
use std::time::Duration;

use compact_str::CompactString;
use millstream_engine::event::PartitionId;
use millstream_engine::log::LogError;
use millstream_engine::state::EARLIER_MAX;
use millstream_engine::time::Timestamp;

use super::cause::{Failure, guarded};
use super::entry::{Earlier, Entry, Place, Work, bytes_of};
use super::outside::key_text;
use super::parked::Failing;
use crate::Key;
use crate::projection::{LetterDecision, LetterOrder};

/// How often an idle stage looks for decisions, if it has something to decide about.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How far decisions were read.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Number of the next decision, by partition of the log. Where there is none: what is there now is about nothing
    /// that waits.
    pub(super) next: BTreeMap<u16, u64>,
    /// The counter as it was at the last look.
    seen: Option<u64>,
    looked_at: Timestamp,
}

impl<K: Key, W: Work> Failing<K, W> {
    /// Once per turn while something waits. `key_of` gives the key of work that somebody has edited, of which nothing is known yet.
    pub(super) fn look_for_decisions(&mut self, key_of: impl Fn(&W) -> Option<K>) {
        let Some(outside) = &self.outside else { return };
        let Some(shared) = &outside.shared else {
            return;
        };
        self.read.looked_at = self.now;
        let news = shared.news();
        if self.read.seen == Some(news) || outside.letters.is_none() {
            return;
        }
        self.read.seen = Some(news);
        if let Err(error) = self.read_decisions(&key_of) {
            self.fail_with(format!("decisions about dead letters: {error}"));
        }
    }

    /// When it looks again although nothing comes.
    pub(super) fn next_look(&self) -> Option<Timestamp> {
        let outside = self.outside.as_ref()?;
        let looks = outside.shared.is_some() && outside.letters.is_some();
        let has_dead = self.due.len() < self.entries.len();
        (looks && has_dead).then(|| self.read.looked_at.saturating_add(LOOK_EVERY))
    }

    /// What was decided until now is about nothing that is to wait from now on.
    pub(super) fn read_from_here(&mut self) {
        self.read.next.clear();
        let Some(outside) = &self.outside else { return };
        let (Some(shared), Some(_)) = (&outside.shared, &outside.letters) else {
            return;
        };
        self.read.seen = Some(shared.news());
        self.read.looked_at = self.now;
        let log = shared.log();
        for partition in 0..log.partitions() {
            match log.len(PartitionId(partition)) {
                Ok(len) => {
                    self.read.next.insert(partition, len);
                }
                Err(error) => {
                    return self.fail_with(format!("decisions about dead letters: {error}"));
                }
            }
        }
    }

    fn read_decisions(&mut self, key_of: &impl Fn(&W) -> Option<K>) -> Result<(), LogError> {
        let shared = self.outside.as_ref().and_then(|open| open.shared.clone());
        let Some(shared) = shared else { return Ok(()) };
        let log = shared.log();
        for partition in 0..log.partitions() {
            let id = PartitionId(partition);
            let from = match self.read.next.get(&partition) {
                // A log that was put back to an earlier one goes on with other decisions.
                Some(&next) if next > 0 => next.min(log.len(id)?),
                Some(&next) => next,
                None => log.len(id)?,
            };
            let next = log.read(id, from, &mut |decision| self.decide(&decision, key_of))?;
            self.is_changed |= self.read.next.insert(partition, next) != Some(next);
        }
        Ok(())
    }

    /// The entry that a decision is about, as it is now, taken off; `None` if it is about none of these.
    fn take_meant(&mut self, order: &LetterOrder) -> Option<Entry<K, W>> {
        let place = Place {
            partition: order.partition,
            number: order.offset,
        };
        let letters = self.outside.as_ref().and_then(|open| open.letters.as_ref());
        let is_ours = letters.is_some_and(|letters| {
            order.stage.as_deref() == Some(&**letters.stage())
                && order.projection == letters.owner_name()
        });
        let is_meant = is_ours
            && self.entries.get(&place).is_some_and(|entry| {
                entry.redrives == order.redrives
                    && !entry.given_up
                    && key_text(entry.key.as_ref()) == order.key
            });
        if is_meant { self.take(place) } else { None }
    }

    /// Carries a decision out if it is about an item that waits, as it is now.
    fn decide(&mut self, decision: &LetterDecision, key_of: &impl Fn(&W) -> Option<K>) {
        let Some(mut entry) = self.take_meant(decision.order()) else {
            return;
        };
        match decision {
            LetterDecision::Redriven(order) => {
                tell(order, "a dead letter is tried again");
                remember(&mut entry, order);
            }
            LetterDecision::Edited { order, payload } => {
                remember(&mut entry, order);
                match edited(&entry, payload, key_of) {
                    Ok(work) => {
                        tell(
                            order,
                            "the item of a dead letter is edited, and tried as it is now",
                        );
                        entry.bytes = bytes_of(&work);
                        entry.work = work;
                    }
                    Err(failure) => {
                        // As if it had been tried and had failed: it waits for somebody again.
                        entry.fail(failure, self.now);
                        entry.due = None;
                        tell_unfit(order, &entry.cause);
                        self.insert(entry, false);
                        return;
                    }
                }
            }
            LetterDecision::Discarded(order) => {
                tell(order, "the item of a dead letter is given up");
                entry.given_up = true;
            }
        }
        let at = self.hurried_at.max(self.now);
        self.hurried_at = at.saturating_add(self.policy.redrive_gap());
        entry.due = Some(entry.due.map_or(at, |due| due.min(at)));
        self.insert(entry, false);
    }
}

/// The tries so far become history.
fn remember<K, W>(entry: &mut Entry<K, W>, order: &LetterOrder) {
    entry.redrives += 1;
    if entry.earlier.len() >= EARLIER_MAX {
        entry.earlier.drain(..=entry.earlier.len() - EARLIER_MAX);
    }
    entry.earlier.push(Earlier {
        attempts: entry.attempts,
        last_failed: entry.last_failed,
        cause: entry.cause.first().cloned().unwrap_or_default(),
        redriven_by: order.by.clone(),
    });
}

/// What somebody has written in the place of an item. It is user code that reads it and gives its key.
fn edited<K: Key, W: Work>(
    entry: &Entry<K, W>,
    payload: &str,
    key_of: &impl Fn(&W) -> Option<K>,
) -> Result<W, Failure> {
    let read = guarded(|| {
        let work = entry.work.edited(payload).map_err(Unfit::NoItem)?;
        let key = key_of(&work);
        // Its state, and what waits behind it, are of the key that it has.
        if key != entry.key {
            return Err(Unfit::OtherKey {
                own: key_text(entry.key.as_ref()),
                edited: key_text(key.as_ref()),
            });
        }
        Ok(work)
    });
    // What is none was not tried.
    read.map_err(Failure::into_unreadable)
}

/// What was to be put in the place of an item cannot be.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("the edit is no item of this stage: {0}")]
    NoItem(String),
    #[error("the edit is an item of key {edited}, and one of key {own} stays one")]
    OtherKey {
        own: CompactString,
        edited: CompactString,
    },
}

fn tell(order: &LetterOrder, what: &str) {
    tracing::info!(
        stage = order.stage,
        key = order.key,
        by = order.by,
        reason = order.reason,
        "{what}"
    );
}

fn tell_unfit(order: &LetterOrder, causes: &[String]) {
    tracing::warn!(
        stage = order.stage,
        key = order.key,
        by = order.by,
        reason = order.reason,
        cause = causes.join(": "),
        "an edit cannot take the place of its item: the dead letter waits for another decision"
    );
}
