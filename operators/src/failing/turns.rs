//! What a stage calls in its turns: decisions are looked for, letters written, figures shown.

use std::time::Duration;

use millstream_engine::checkpoint::Epoch;
use millstream_engine::flow::{Fault, Turn, Wiring};
use millstream_engine::metrics::ParkedNow;
use millstream_engine::stage::Blocked;
use millstream_engine::time::Timestamp;

use super::entry::{Place, Work};
use super::outside::Outside;
use super::parked::Failing;
use crate::Key;
use crate::sink::LetterNumbers;

/// How often figures are shown.
const SHOW_EVERY: Duration = Duration::from_secs(1);

impl<K: Key, W: Work> Failing<K, W> {
    pub(crate) fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        let keeps = self.policy.keeps_letters();
        self.numbers = LetterNumbers::of(wiring);
        self.outside = Some(Outside::open(wiring, self.ordinal, keeps)?);
        self.now = wiring.clock.now();
        self.monotonic = wiring.clock.monotonic();
        Ok(())
    }

    /// A turn begins. `key_of` gives the key that an item has, if there are keys.
    pub(crate) fn begin(&mut self, turn: &Turn, key_of: impl Fn(&W) -> Option<K>) {
        // A clock that goes back puts off nothing, neither what was due nor what fails until it has come so far again.
        let elapsed = turn.monotonic.saturating_sub(self.monotonic);
        self.now = self.now.saturating_add(elapsed).max(turn.now);
        self.wall = turn.now;
        self.monotonic = turn.monotonic;
        if !self.has_begun {
            self.has_begun = true;
            self.count(|outside| outside.begins());
            self.bound_waits();
        }
        if !self.entries.is_empty() {
            self.look_for_decisions(key_of);
        }
    }

    /// What a run before this one has left waits no longer than it may, whatever the clock was then: one gap of redrives after
    /// the other, as many of them may have been.
    fn bound_waits(&mut self) {
        let mut latest = self.now.saturating_add(self.policy.retry.backoff_max);
        let late: Vec<_> = self.due.range((latest, Place::LAST)..).copied().collect();
        for (due, place) in late {
            if let Some(mut entry) = self.take(place) {
                entry.due = Some(due.min(latest));
                self.insert(entry, false);
            }
            latest = latest.saturating_add(self.policy.redrive_gap());
        }
    }

    /// Whether there was a turn: before that it is still being opened.
    pub(crate) const fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// When it wants to be called.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        if self.entries.is_empty() {
            return None;
        }
        if self.is_complete && !self.due.is_empty() {
            return Some(Timestamp::MIN);
        }
        let due = self.due.first().map(|(due, _)| *due);
        let look = self.next_look();
        let next = match (due, look) {
            (Some(due), Some(look)) => Some(due.min(look)),
            (one, None) | (None, one) => one,
        };
        // Whoever asks goes by the clock.
        next.map(|at| self.wall.saturating_add(at.since(self.now)))
    }

    /// A turn ends: letters are written, figures shown.
    pub(crate) fn flush(&mut self, idle: bool) -> Result<(), Fault> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let is_due = self.monotonic.saturating_sub(self.shown_at) >= SHOW_EVERY;
        if is_due || idle || self.ending {
            self.show();
        }
        let Some(outside) = &mut self.outside else {
            return Ok(());
        };
        if outside.letters.is_none() {
            return Ok(());
        }
        for place in outside.take_changed(is_due || self.ending) {
            if let Some(entry) = self.entries.get_mut(&place) {
                outside.write(entry);
            }
        }
        let must_wait = idle || self.ending;
        outside
            .letters
            .as_mut()
            .map_or(Ok(()), |letters| letters.flush(must_wait))
    }

    fn show(&mut self) {
        if self.entries.is_empty() && self.shown_at == Duration::MAX {
            return;
        }
        // What is nothing is shown once.
        self.shown_at = if self.entries.is_empty() {
            Duration::MAX
        } else {
            self.monotonic
        };
        let causes = self.standing.now(self.now);
        let now = ParkedNow {
            keys: self.entries.len() as u64,
            events: self.items as u64,
            causes: &causes,
        };
        if let Some(outside) = &mut self.outside {
            outside.metrics.observe(now);
        }
    }

    pub(crate) fn is_blocked(&self) -> bool {
        let letters = self.outside.as_ref().and_then(|open| open.letters.as_ref());
        letters.is_some_and(|letters| letters.is_blocked())
    }

    pub(crate) fn blocked(&mut self, waits: &mut Vec<Blocked>) {
        let letters = self.outside.as_mut().and_then(|open| open.letters.as_mut());
        if let Some(letters) = letters {
            letters.blocked(waits);
        }
    }

    /// Blocked from here until all letters are stored: an idle flush follows.
    pub(crate) fn before_barrier(&mut self) {
        if let Some(outside) = &mut self.outside {
            outside.before_barrier();
        }
    }

    /// The input has ended.
    pub(crate) fn end(&mut self) {
        self.ending = true;
    }

    pub(crate) fn checkpointed(&mut self, epoch: Epoch) {
        if let Some(outside) = &mut self.outside {
            outside.saved(epoch);
        }
    }

    pub(crate) fn awaits_checkpoint(&self) -> bool {
        let outside = self.outside.as_ref();
        outside.is_some_and(Outside::awaits_checkpoint)
    }
}
