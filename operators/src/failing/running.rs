//! Trying again, and going on with what waited behind.

use std::collections::VecDeque;

use super::cause::Failure;
use super::entry::{Place, Work};
use super::outside::Outside;
use super::parked::Failing;
use crate::Key;
use crate::progress::Progress;

/// Pieces of work that are tried in one call: then others have their turn.
const TOGETHER: usize = 1_024;

impl<K: Key, W: Work> Failing<K, W> {
    /// Tries what is due, and what waits behind it once it succeeds or is given up. `attempt` gives out what comes of it
    /// if it succeeds, and may say more exactly what is to be tried again if not; work that it starts and that fails is
    /// [`fail`](Self::fail)ed by it.
    pub(crate) fn run_due(
        &mut self,
        mut attempt: impl FnMut(&mut Self, Option<&K>, &mut W) -> Result<(), Failure>,
    ) {
        if self.due.is_empty() {
            return;
        }
        self.is_running = true;
        let mut left = TOGETHER;
        let mut progress = Progress::default();
        while left > 0 && self.fault.is_none() {
            let first = self.due.first().copied();
            let first = first.filter(|(due, _)| self.is_complete || *due <= self.now);
            let Some((_, place)) = first else { break };
            progress.made_one();
            self.run(place, &mut left, &mut attempt);
        }
        self.is_running = false;
    }

    /// The input ends: `true` if nobody goes on with what waits, since no checkpoint has it. What is left to be tried
    /// is tried without a wait then, as when all of the input has come.
    pub(crate) fn leaves_nothing(&mut self) -> bool {
        let is_open = self.outside.as_ref();
        let is_lost = is_open.is_some_and(|outside| !outside.has_checkpoints());
        self.is_complete |= is_lost;
        is_lost
    }

    /// Whether the end need not wait for what is left to be tried: somebody stops the run, and the next one goes on with it.
    pub(crate) fn is_left_to_next_run(&self) -> bool {
        self.outside.as_ref().is_some_and(Outside::is_stopping)
    }

    /// All of the input has come.
    pub(crate) fn complete(&mut self) {
        self.is_complete = true;
    }

    /// Whether something is to be tried again, now or later.
    pub(crate) fn is_trying(&self) -> bool {
        !self.due.is_empty()
    }

    fn run(
        &mut self,
        place: Place,
        left: &mut usize,
        attempt: &mut impl FnMut(&mut Self, Option<&K>, &mut W) -> Result<(), Failure>,
    ) {
        let Some(mut entry) = self.take(place) else {
            return;
        };
        if entry.given_up {
            self.count(|outside| outside.metrics.count_discarded(&entry.class, 1));
        } else {
            *left -= 1;
            self.count(|outside| outside.metrics.count_retries(1));
            match attempt(self, entry.key.as_ref(), &mut entry.work) {
                Ok(()) if entry.redrives > 0 => {
                    self.count(|outside| outside.metrics.count_redriven(&entry.class, 1));
                }
                Ok(()) => {}
                Err(failure) => {
                    entry.fail(failure, self.now);
                    match self.keep(entry, false) {
                        Some(passed_over) => entry = passed_over,
                        None => return,
                    }
                }
            }
        }
        if let Some(outside) = &mut self.outside {
            outside.settled(&entry);
        }
        self.go_on(entry.key, entry.followers, left, attempt);
    }

    /// Takes what waited behind an item, until one fails.
    fn go_on(
        &mut self,
        key: Option<K>,
        mut followers: VecDeque<(usize, W)>,
        left: &mut usize,
        attempt: &mut impl FnMut(&mut Self, Option<&K>, &mut W) -> Result<(), Failure>,
    ) {
        let mut progress = Progress::default();
        loop {
            progress.made_one();
            // A timer that the last one has set may have failed: then all the others are behind that.
            let held = key.as_ref().and_then(|key| self.heads.get(key));
            if let Some(place) = held {
                return self.append(place, followers);
            }
            let Some((bytes, mut work)) = followers.pop_front() else {
                return;
            };
            if *left == 0 {
                let cause = "it waited behind another item and was not tried yet";
                let mut entry = self.entry(key, work, bytes, cause);
                entry.due = Some(self.now);
                self.insert(entry.followed_by(followers), true);
                return;
            }
            *left -= 1;
            if let Err(failure) = attempt(self, key.as_ref(), &mut work) {
                let mut entry = self.entry(key.clone(), work, bytes, "");
                entry.fail(failure, self.now);
                match self.keep(entry.followed_by(followers), true) {
                    Some(passed_over) => followers = passed_over.followers,
                    None => return,
                }
            }
        }
    }
}
