//! Results to the outside, each with a stable id, once a checkpoint has made them final.
//!
//! Place: a dataflow -> **deliver** -> a closure. What came since the last checkpoint is held; the next one stores it and
//! then it is given out. So a result that was given out is never computed otherwise by a restart, and one that was stored
//! but not given out before a crash is given out by the next run, under the same id.
//! Invariant: at least once, under one id with one content; whoever receives tells repetitions by the id.
//! Without checkpoints results are given out at the end of each turn.
//! Bounds: what comes between two checkpoints. Threads: one owner; the closure must not block.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use millstream_engine::checkpoint::{Epoch, Restoring, Saving};
use millstream_engine::fail_point;
use millstream_engine::flow::{Emit, Fault, Fence, Operator, Wiring};
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::function::Stored;

/// Its kind of state in checkpoints.
const KIND: &str = "deliveries";
/// Stands for the checkpoint that a run begins from: what it holds is final.
const RESTORED: Epoch = Epoch(0);

/// Identifies a result for whoever receives it, over all restarts of its dataflow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResultId {
    /// The dataflow and what the state of the stage is found by: the name of its keyed state if it has one, else its own.
    pub stage: Arc<str>,
    /// The partition of the stage.
    pub partition: usize,
    /// Results of a partition are numbered as they come, from 0.
    pub number: u64,
}

/// A result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery<T> {
    /// Identifies it.
    pub id: ResultId,
    /// Its event time.
    pub time: Timestamp,
    /// What it is.
    pub item: T,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Held<T> {
    partition: usize,
    number: u64,
    time: Timestamp,
    item: T,
}

#[derive(Serialize, Deserialize)]
struct Saved<H> {
    next: u64,
    held: H,
}

/// Gives results to a closure.
pub struct Deliver<T, F> {
    function: F,
    /// With the checkpoint that each is part of, once one has it.
    held: VecDeque<(Option<Epoch>, Held<T>)>,
    next: u64,
    stage: Arc<str>,
    partition: usize,
    has_checkpoints: bool,
    fence: Arc<Fence>,
}

impl<T, F> Deliver<T, F> {
    /// Results go to `function`.
    pub fn new(function: F) -> Self {
        Self {
            function,
            held: VecDeque::new(),
            next: 0,
            stage: "".into(),
            partition: 0,
            has_checkpoints: false,
            fence: Arc::default(),
        }
    }
}

impl<T: Stored, F: FnMut(Delivery<T>)> Deliver<T, F> {
    fn give_out(&mut self, is_final: impl Fn(Option<Epoch>) -> bool) {
        while let Some((epoch, _)) = self.held.front() {
            if !is_final(*epoch) {
                break;
            }
            if let Some((_, held)) = self.held.pop_front() {
                // The closure may have come back after the run was given up.
                self.fence.check();
                fail_point!(DELIVER_BEFORE);
                (self.function)(Delivery {
                    id: ResultId {
                        stage: Arc::clone(&self.stage),
                        partition: held.partition,
                        number: held.number,
                    },
                    time: held.time,
                    item: held.item,
                });
                fail_point!(DELIVER_AFTER);
            }
        }
    }
}

impl<T, F> Operator<T> for Deliver<T, F>
where
    T: Stored,
    F: FnMut(Delivery<T>) + Send + 'static,
{
    type Out = Infallible;

    fn item<E: Emit<Infallible>>(&mut self, time: Timestamp, item: T, _out: &mut E) {
        let held = Held {
            partition: self.partition,
            number: self.next,
            time,
            item,
        };
        self.next += 1;
        self.held.push_back((None, held));
    }

    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        self.stage = Arc::clone(&wiring.identity);
        self.partition = wiring.partition;
        self.fence = wiring.fence();
        self.has_checkpoints = wiring.checkpoints.is_some();
        Ok(())
    }

    fn flush(&mut self, _idle: bool) -> Result<(), Fault> {
        let is_all = !self.has_checkpoints;
        let is_final = |of| is_all || of == Some(RESTORED);
        // Not before the first turn: another stage may refuse to begin from this checkpoint.
        self.give_out(is_final);
        Ok(())
    }

    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        for (epoch, _) in &mut self.held {
            epoch.get_or_insert(saving.epoch());
        }
        let held: Vec<_> = self.held.iter().map(|(_, held)| held).collect();
        let next = self.next;
        Ok(saving.whole(KIND, &Saved { next, held })?)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        let first = restoring.is_first();
        let anew = restoring.is_spread_anew();
        for saved in restoring.whole::<Saved<Vec<Held<T>>>>(KIND)? {
            // No number is given twice, whoever had it.
            self.next = self.next.max(saved.next);
            if first || !anew {
                let held = saved.held.into_iter();
                self.held.extend(held.map(|held| (Some(RESTORED), held)));
            }
        }
        Ok(())
    }

    fn checkpointed(&mut self, epoch: Epoch) -> Result<(), Fault> {
        self.give_out(|of| of.is_some_and(|of| of <= epoch));
        Ok(())
    }

    fn awaits_checkpoint(&self) -> bool {
        self.has_checkpoints && !self.held.is_empty()
    }

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        into.push(("results held", self.held.len()));
    }
}

impl<T, F: Clone> Clone for Deliver<T, F> {
    /// One that has nothing yet.
    fn clone(&self) -> Self {
        Self::new(self.function.clone())
    }
}

impl<T, F> fmt::Debug for Deliver<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliver")
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Sender, bounded};
    use millstream_engine::flow::Discard;

    use super::*;

    fn deliver(into: Sender<(u64, u8)>) -> Deliver<u8, impl FnMut(Delivery<u8>)> {
        let mut deliver = Deliver::new(move |delivery: Delivery<u8>| {
            into.send((delivery.id.number, delivery.item)).unwrap();
        });
        deliver.has_checkpoints = true;
        deliver
    }

    /// Another stage may refuse to begin, and the next start begin elsewhere.
    #[test]
    fn what_a_checkpoint_has_is_given_out_in_the_first_turn() {
        let (into, given) = bounded(2);
        let mut before = deliver(into.clone());
        before.item(Timestamp::EPOCH, 7, &mut Discard);
        let mut saving = Saving::new(Epoch(1));
        before.save(&mut saving).unwrap();
        let saves = [vec![(Epoch(1), saving.into_parts())]];
        let mut after = deliver(into);
        let mut restoring = Restoring::of_saves(&saves, 0, 1);
        after.restore(&mut restoring).unwrap();
        assert_eq!(given.try_iter().count(), 0);
        after.item(Timestamp::EPOCH, 8, &mut Discard);
        after.flush(false).unwrap();
        assert_eq!(given.try_iter().collect::<Vec<_>>(), [(0, 7)]);
        after.save(&mut Saving::new(Epoch(2))).unwrap();
        after.checkpointed(Epoch(2)).unwrap();
        assert_eq!(given.try_iter().collect::<Vec<_>>(), [(1, 8)]);
    }
}
