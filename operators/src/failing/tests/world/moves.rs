//! What may happen to a world.

use std::time::Duration;

use millstream_engine::flow::Operator;
use millstream_engine::state::{DeadLetter, DeadLetterStatus};
use millstream_engine::time::Timestamp;
use proptest::prelude::*;

use super::{Item, LOG_PARTITIONS, Out, Step, World};
use crate::failing::tests::operators::{Poison, TIMER};
use crate::projection::{LetterDecision, LetterOrder};
use crate::restart::Saves;

impl<O: Operator<Item, Out = Out>> World<O> {
    pub(in crate::failing::tests) fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Take(count) => self.take(count),
            Step::Watermark(by) => {
                self.tell(self.watermark.max(0) + by);
            }
            Step::Clock(by) => self.clock.advance(Duration::from_millis(by)),
            Step::Save => self.save(),
            Step::Restart(partitions) => self.restart(partitions)?,
            Step::Decide {
                which,
                discards,
                twice,
            } => self.decide(which, discards, twice)?,
        }
        self.turn();
        Ok(())
    }

    fn take(&mut self, count: usize) {
        let partitions = self.operators.len();
        let end = (self.position + count).min(self.items.len());
        let given = &mut self.given;
        for &(key, id) in &self.items[self.position..end] {
            let at = (self.target)(key, partitions);
            let mut out = |_, item| given.push(item);
            self.operators[at].item(Timestamp(id as i64), (key, id), &mut out);
        }
        self.position = end;
    }

    fn tell(&mut self, watermark: i64) {
        self.watermark = watermark;
        let given = &mut self.given;
        for operator in &mut self.operators {
            operator.late_before(Timestamp(watermark));
            let mut out = |_, item| given.push(item);
            operator.watermark(Timestamp(watermark), &mut out);
        }
    }

    pub(super) fn save(&mut self) {
        for operator in &mut self.operators {
            operator.before_barrier(&mut |_, _| {});
        }
        self.settle();
        let saves = &mut self.saved.saves;
        if saves.len() != self.operators.len() {
            *saves = vec![Saves::default(); self.operators.len()];
        }
        for (operator, saves) in self.operators.iter_mut().zip(saves) {
            saves.save(operator);
        }
        self.saved.position = self.position;
        self.saved.watermark = self.watermark;
        self.saved.given = self.given.len();
        self.saved.letters = self.letters();
    }

    fn restart(&mut self, partitions: usize) -> Result<(), TestCaseError> {
        self.position = self.saved.position;
        self.watermark = self.saved.watermark;
        self.given.truncate(self.saved.given);
        self.open(partitions);
        for (partition, operator) in self.operators.iter_mut().enumerate() {
            Saves::restore_of(&self.saved.saves, operator, partition, partitions);
        }
        self.settle();
        prop_assert_eq!(self.letters(), self.saved.letters.clone());
        if self.saved.saves.len() != partitions {
            self.save();
        }
        if self.watermark > i64::MIN {
            self.tell(self.watermark);
        }
        Ok(())
    }

    /// The engine lets nobody decide about what no checkpoint has.
    fn decide(&mut self, which: usize, discards: bool, twice: bool) -> Result<(), TestCaseError> {
        let is_open = |letter: &DeadLetter| {
            letter.status == DeadLetterStatus::Dead
                && self.saved.letters.contains_key(&letter.id())
                && !self.decided.contains(&(letter.id(), letter.redrives))
        };
        let mut open = self.letters();
        open.retain(|_, letter| is_open(letter));
        if open.is_empty() {
            return Ok(());
        }
        let letter = open.values().nth(which % open.len()).cloned().unwrap();
        self.append(&letter, discards);
        if twice {
            self.append(&letter, !discards);
        }
        Ok(())
    }

    fn append(&mut self, letter: &DeadLetter, discards: bool) {
        let order = LetterOrder::of_item(letter, &self.access.name, "ann", "because").unwrap();
        let is_first = self.decided.insert((letter.id(), letter.redrives));
        if is_first && discards {
            let item = serde_json::from_slice::<Item>(&letter.payload);
            let id = item.map_or_else(|_| timer(letter), |(_, id)| id);
            self.discarded.insert(id);
        }
        let decision = if discards {
            LetterDecision::Discarded(order)
        } else {
            LetterDecision::Redriven(order)
        };
        self.say(decision);
    }

    fn say(&self, decision: LetterDecision) {
        let partition = decision.order().log_partition(LOG_PARTITIONS).0;
        let mut all = self.decisions.0.lock().unwrap();
        all.entry(partition).or_default().push(decision);
        drop(all);
        self.shared.announce();
    }

    /// Somebody puts another item in the place of the one that there is a letter of; it is tried at once.
    pub(in crate::failing::tests) fn edit(&mut self, payload: &str) {
        let name = &self.access.name;
        let order = LetterOrder::of_item(&self.letter(), name, "ann", "because").unwrap();
        let payload = payload.to_owned();
        self.say(LetterDecision::Edited { order, payload });
        self.turn();
    }

    /// All comes, all is mended, and somebody has all that is dead tried again.
    pub(in crate::failing::tests) fn finish(
        &mut self,
        poison: &Poison,
    ) -> Result<(), TestCaseError> {
        self.take(self.items.len());
        let wait = |world: &mut Self| {
            for _ in 0..20 {
                world.clock.advance(Duration::from_secs(30));
                world.turn();
            }
        };
        wait(self);
        self.tell(1_000_000);
        wait(self);
        poison.mend();
        let mut rounds = 0;
        while !self.letters().is_empty() {
            rounds += 1;
            prop_assert!(rounds < 200, "{:?}", self.letters());
            self.save();
            self.decide(0, false, false)?;
            wait(self);
        }
        self.tell(i64::MAX);
        let held = self.held();
        prop_assert!(held.values().all(|items| *items == 0), "{:?}", held);
        prop_assert!(self.letters().is_empty());
        Ok(())
    }
}

/// Number of the timer in a letter.
fn timer(letter: &DeadLetter) -> u64 {
    let json: serde_json::Value = serde_json::from_slice(&letter.payload).unwrap();
    let at = json["Event"].as_i64().unwrap();
    TIMER + (at - 3) as u64 / 7
}
