//! Decisions about items that wait: read from the log when there may be new ones, and carried out once.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_engine::event::PartitionId;
use millstream_engine::log::LogError;
use millstream_engine::state::EARLIER_MAX;
use millstream_engine::time::Timestamp;

use super::cause::Failure;
use super::entry::{Earlier, Entry, Place, Work, bytes_of};
use super::outside::key_text;
use super::parked::Failing;
use crate::Key;
use crate::projection::LetterDecision;

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
    /// Once per turn while something waits.
    pub(super) fn look_for_decisions(&mut self) {
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
        if let Err(error) = self.read_decisions() {
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

    fn read_decisions(&mut self) -> Result<(), LogError> {
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
            let next = log.read(id, from, &mut |decision| self.decide(&decision))?;
            self.is_changed |= self.read.next.insert(partition, next) != Some(next);
        }
        Ok(())
    }

    /// Carries a decision out if it is about an item that waits, as it is now.
    fn decide(&mut self, decision: &LetterDecision) {
        let order = decision.order();
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
        if !is_meant {
            return;
        }
        let Some(mut entry) = self.take(place) else {
            return;
        };
        match decision {
            LetterDecision::Redriven(order) | LetterDecision::Edited { order, .. } => {
                tracing::info!(
                    stage = order.stage,
                    key = order.key,
                    by = order.by,
                    reason = order.reason,
                    "a dead letter is tried again"
                );
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
                if let LetterDecision::Edited { payload, .. } = decision
                    && !edit(&mut entry, payload, self.now)
                {
                    // As if it had been tried and had failed: it waits for somebody again.
                    self.insert(entry, false);
                    return;
                }
            }
            LetterDecision::Discarded(order) => {
                tracing::info!(
                    stage = order.stage,
                    key = order.key,
                    by = order.by,
                    reason = order.reason,
                    "the item of a dead letter is given up"
                );
                entry.given_up = true;
            }
        }
        let at = self.hurried_at.max(self.now);
        self.hurried_at = at.saturating_add(self.policy.redrive_gap());
        entry.due = Some(entry.due.map_or(at, |due| due.min(at)));
        self.insert(entry, false);
    }
}

/// Puts what somebody has written in the place of an item; `false` if it is none, which the entry says then.
fn edit<K, W: Work>(entry: &mut Entry<K, W>, payload: &str, now: Timestamp) -> bool {
    match entry.work.replace(payload) {
        Ok(()) => {
            entry.bytes = bytes_of(&entry.work);
            true
        }
        Err(cause) => {
            entry.fail(Failure::unreadable(Unfit(cause)), now);
            entry.due = None;
            false
        }
    }
}

/// What was to be put in the place of an item is none.
#[derive(Debug, thiserror::Error)]
#[error("the edit is no item of this stage: {0}")]
struct Unfit(String);
