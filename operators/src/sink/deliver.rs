//! Results to the outside, each with a stable id, once a checkpoint has made them final.
//!
//! Place: a dataflow -> **deliver** -> a closure. What came since the last checkpoint is held; the next one stores it and
//! then it is given out. So a result that was given out is never computed otherwise by a restart, and one that was stored
//! but not given out before a crash is given out by the next run, under the same id.
//! Invariant: at least once, under one id with one content; whoever receives tells repetitions by the id.
//! Without checkpoints results are given out at the end of each turn.
//! Whoever may refuse results gets one that was refused again after a wait, before all others; meanwhile the stage takes no
//! input. A [breaker](crate::breaker) may keep it from being called at all for a while.
//! Bounds: what comes between two checkpoints. Threads: one owner; the closure must not block.

mod options;
mod receive;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::checkpoint::{Epoch, Restoring, Saving};
use millstream_engine::fail_point;
use millstream_engine::flow::{Emit, Fault, Fence, Operator, Turn, Wiring};
use millstream_engine::metrics::BreakerMetrics;
use millstream_engine::stage::{Blocked, still_working};
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::options::DeliverOptions;
pub use self::receive::{Always, Delivery, Receive, ResultId, Trying};
use crate::breaker::{Admission, Breaker, BreakerState, Permit, WhileOpen};
use crate::function::Stored;

/// Its kind of state in checkpoints.
const KIND: &str = "deliveries";
/// Stands for the checkpoint that a run begins from: what it holds is final.
const RESTORED: Epoch = Epoch(0);

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
    receiver: F,
    options: DeliverOptions,
    breaker: Option<Breaker>,
    /// With the checkpoint that each is part of, once one has it.
    held: VecDeque<(Option<Epoch>, Held<T>)>,
    next: u64,
    /// The last complete checkpoint that it was told of: what that holds is final.
    completed: Epoch,
    /// Of the first that is held.
    refusals: u32,
    wait_until: Option<Duration>,
    now: Turn,
    stage: Arc<str>,
    partition: usize,
    has_checkpoints: bool,
    fence: Arc<Fence>,
}

impl<T, F> Deliver<T, Always<F>> {
    /// Results go to `function`.
    pub fn new(function: F) -> Self {
        Self::to(Always(function), DeliverOptions::default())
    }
}

impl<T, F> Deliver<T, Trying<F>> {
    /// Results go to `function`, which may refuse them.
    pub fn with(options: DeliverOptions, function: F) -> Self {
        Self::to(Trying(function), options)
    }
}

impl<T, F> Deliver<T, F> {
    fn to(receiver: F, options: DeliverOptions) -> Self {
        Self {
            receiver,
            breaker: options.breaker.map(Breaker::new),
            options,
            held: VecDeque::new(),
            next: 0,
            completed: RESTORED,
            refusals: 0,
            wait_until: None,
            now: Turn {
                now: Timestamp::EPOCH,
                monotonic: Duration::ZERO,
            },
            stage: "".into(),
            partition: 0,
            has_checkpoints: false,
            fence: Arc::default(),
        }
    }

    /// Whether the first that is held is final.
    fn is_due(&self) -> bool {
        let first = self.held.front();
        let is_final = |of: Option<Epoch>| of.is_some_and(|of| of <= self.completed);
        first.is_some_and(|(of, _)| !self.has_checkpoints || is_final(*of))
    }
}

impl<T: Stored, F: Receive<T>> Deliver<T, F> {
    /// Gives out what is final, until something is refused.
    fn give_out(&mut self) -> Result<(), Fault> {
        while self.is_due() {
            if self
                .wait_until
                .is_some_and(|until| self.now.monotonic < until)
            {
                return Ok(());
            }
            // The closure may have come back after the run was given up.
            self.fence.check();
            let permit = match self
                .breaker
                .as_mut()
                .map(|breaker| breaker.admit(self.now.monotonic))
            {
                None => None,
                Some(Admission::Call(permit)) => Some(permit),
                Some(Admission::NotBefore(until)) => {
                    self.wait_until = Some(until);
                    return Ok(());
                }
                Some(Admission::NotYet(_)) => unreachable!("one call is made at a time"),
            };
            let Some((of, held)) = self.held.pop_front() else {
                return Ok(());
            };
            fail_point!(DELIVER_BEFORE);
            let received = self.receiver.receive(Delivery {
                id: ResultId {
                    stage: Arc::clone(&self.stage),
                    partition: held.partition,
                    number: held.number,
                },
                time: held.time,
                item: held.item,
            });
            fail_point!(DELIVER_AFTER);
            // A checkpoint may have made very many final, which takes long and is no hang. One result
            // that does is still seen.
            still_working();
            match received {
                Ok(()) => {
                    (self.refusals, self.wait_until) = (0, None);
                    if let Some((breaker, permit)) = self.breaker.as_mut().zip(permit) {
                        breaker.succeeded(permit);
                    }
                }
                Err((Delivery { id, time, item }, cause)) => {
                    let held = Held {
                        partition: id.partition,
                        number: id.number,
                        time,
                        item,
                    };
                    self.held.push_front((of, held));
                    self.refused(&cause, permit)?;
                }
            }
        }
        Ok(())
    }

    fn refused(&mut self, cause: &str, permit: Option<Permit>) -> Result<(), Fault> {
        self.refusals += 1;
        let wait = self.options.wait_after(self.refusals);
        tracing::warn!(stage = &*self.stage, cause, ?wait, "a result is refused");
        self.wait_until = Some(self.now.monotonic.saturating_add(wait));
        let Some((breaker, permit)) = self.breaker.as_mut().zip(permit) else {
            return Ok(());
        };
        breaker.failed(permit, self.now.monotonic);
        let is_open = breaker.state() == BreakerState::Open;
        if is_open && breaker.options().while_open == WhileOpen::Fail {
            let refusals = self.refusals;
            return Err(Fault(format!(
                "{refusals} results in a row were refused, the last: {cause}"
            )));
        }
        Ok(())
    }
}

impl<T, F> Operator<T> for Deliver<T, F>
where
    T: Stored,
    F: Receive<T>,
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
        if let Some(breaker) = &mut self.breaker {
            let (stage, partition) = (&wiring.stage, wiring.partition_id());
            breaker.show(BreakerMetrics::new(stage, partition));
        }
        Ok(())
    }

    fn begin(&mut self, turn: &Turn) {
        self.now = *turn;
    }

    fn flush(&mut self, _idle: bool) -> Result<(), Fault> {
        // Not before the first turn: another stage may refuse to begin from this checkpoint.
        self.give_out()
    }

    /// What is held would have no bound otherwise.
    fn is_blocked(&self) -> bool {
        self.wait_until.is_some() && self.is_due()
    }

    /// Room is not what it waits for.
    fn blocked(&mut self, _waits: &mut Vec<Blocked>) {}

    fn next_due(&self) -> Option<Timestamp> {
        let until = self.wait_until.filter(|_| self.is_due())?;
        let left = until.saturating_sub(self.now.monotonic);
        Some(self.now.now.saturating_add(left))
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
        self.completed = epoch;
        self.give_out()
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
        Self::to(self.receiver.clone(), self.options.clone())
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

    fn deliver(into: Sender<(u64, u8)>) -> Deliver<u8, Always<impl FnMut(Delivery<u8>)>> {
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
