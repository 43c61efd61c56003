//! Delivering: a stage per outbox and partition, which reads effects in order and calls the program's function for each.
//!
//! Place: the outbox in the state -> **a delivery** -> the outside; then the effect is deleted.
//! Invariants: (1) an effect is deleted only after its call has succeeded, or after it was put aside in the same transaction;
//! (2) calls of one stream are made one after the other, in the order of the log.
//! Threads: the stage is stepped by one thread at a time; each call is a task of its own, so one that blocks holds up a
//! worker of the runtime and no stage.
//! Failure: a call that gives an error, panics or takes too long is made again after a while. Killed between a call and the
//! deletion, the call is made again by the next process: at least once. When the state's writer fails the stage fails, and what
//! it has delivered and not deleted is delivered again by the next one.
//! Cost: a page of the store per some hundred effects, a task per call, and one transaction for all that was delivered while the
//! one before it was under way.

mod settling;

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use millstream_engine::event::PartitionId;
use millstream_engine::fail_point;
use millstream_engine::mailbox::Mailbox;
use millstream_engine::metrics::DeliveryMetrics;
use millstream_engine::stage::{StageCore, Step};
use millstream_engine::state::{RowsSize, StateError, StateWrite};
use millstream_engine::time::{Clock, Timestamp};

use self::settling::OnItsWay;
use super::EffectId;
use super::calling::{Delivering, Due, Outcome};
use super::damaged;
use super::format::{self, EffectPlace, Span, keys_of};
use super::outlets::Outlets;
use super::queue::Queue;
use super::reading::Reading;
use super::waiting::PartitionState;
use crate::failing::Telling;

/// Longest between two turns. A stage that stops and has nothing to wait for is ended, and this one may wait for calls.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a delivery is made from.
#[derive(Debug)]
pub struct DeliveryParts {
    /// The outboxes of the projection.
    pub outlets: Arc<Outlets>,
    /// Which of them, and how.
    pub delivering: Delivering,
    /// The partition that it delivers effects of.
    pub partition: PartitionId,
    /// Where it is woken.
    pub mailbox: Arc<Mailbox>,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
}

/// A call that has ended.
struct Ended {
    place: EffectPlace,
    outcome: Outcome,
}

/// A delivery at work.
pub struct DeliveryCore {
    outlets: Arc<Outlets>,
    /// Place of the outbox.
    at: usize,
    delivering: Delivering,
    partition: PartitionId,
    mailbox: Arc<Mailbox>,
    /// Woken when a state writer that had no room may have some: the mailbox.
    room: Waker,
    clock: Arc<dyn Clock>,
    queue: Queue,
    calls: usize,
    ended: Receiver<Ended>,
    tell: Sender<Ended>,
    /// Writes that settle effects, and which; not handed to the store yet.
    writes: Vec<StateWrite>,
    settled: Vec<EffectPlace>,
    settled_size: RowsSize,
    /// Where some are put aside by them.
    given_up: Option<Span>,
    on_its_way: Option<OnItsWay>,
    stopping: bool,
    metrics: DeliveryMetrics,
    telling: Telling,
}

impl fmt::Debug for DeliveryCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeliveryCore")
            .field("outbox", &self.delivering.outbox)
            .field("partition", &self.partition)
            .field("queue", &self.queue.len())
            .finish_non_exhaustive()
    }
}

impl DeliveryCore {
    /// A delivery that begins with the oldest effect there is; `None` if the projection has no such outbox.
    #[must_use]
    pub fn open(parts: DeliveryParts) -> Option<Self> {
        let mut boxes = parts.outlets.boxes.iter();
        let at = boxes.position(|own| own.name == parts.delivering.outbox)?;
        let own = &parts.outlets.boxes[at];
        own.partitions
            .get(usize::from(parts.partition.0))?
            .deliver_to(&parts.mailbox);
        let stored_max = parts.delivering.config.stored_max.unwrap_or(u64::MAX);
        own.rows_max.store(stored_max, Ordering::Release);
        let config = &parts.delivering.config;
        let first = EffectPlace::first(parts.partition);
        let reading = Reading::from(first, config.held(), config.calls());
        let queue = Queue::new(reading, config.calls());
        let (tell, ended) = bounded(config.calls());
        let (projection, outbox) = (parts.outlets.projection, parts.delivering.outbox);
        Some(Self {
            metrics: DeliveryMetrics::new(projection, outbox, parts.partition),
            outlets: parts.outlets,
            at,
            delivering: parts.delivering,
            partition: parts.partition,
            room: parts.mailbox.waker(),
            mailbox: parts.mailbox,
            clock: parts.clock,
            queue,
            calls: 0,
            ended,
            tell,
            writes: Vec::new(),
            settled: Vec::new(),
            settled_size: RowsSize::default(),
            given_up: None,
            on_its_way: None,
            stopping: false,
            telling: Telling::default(),
        })
    }

    fn state(&self) -> &PartitionState {
        let own = &self.outlets.boxes[self.at];
        &own.partitions[usize::from(self.partition.0)]
    }

    /// Takes in what has ended since the last turn.
    fn take_ended(&mut self, now: Duration) -> Result<(), StateError> {
        while let Ok(Ended { place, outcome }) = self.ended.try_recv() {
            self.calls -= 1;
            match outcome {
                Ok(()) => self.settle(place, None)?,
                Err(cause) => self.fail(place, cause, now)?,
            }
        }
        Ok(())
    }

    /// Of an effect that is stored so; one that cannot be read is called by nobody.
    fn id(&self, place: EffectPlace, stored: &[u8]) -> EffectId {
        let recorded_at = format::read(stored).map_or(Timestamp::MIN, |read| read.recorded_at);
        self.outlets
            .effect_id(self.delivering.outbox, place, recorded_at)
    }

    /// Reads a page of effects that are not here yet, if there may be some and there is room. Gives whether there is more to
    /// read at once.
    fn refill(&mut self) -> Result<bool, StateError> {
        // It wakes this stage when it is over.
        let Some(late) = self.state().late_batches() else {
            return Ok(false);
        };
        // Asked first: what is stored meanwhile is read the next time.
        if let Some(span) = self.state().take_stored() {
            self.queue.stored(span);
        }
        let Some(wanted) = self.queue.next_read().filter(|_| !self.stopping) else {
            return Ok(false);
        };
        let outbox = self.delivering.outbox;
        let (from, last) = (wanted.from.key(outbox), keys_of(outbox, self.partition).1);
        let range = (Bound::Included(&from[..]), Bound::Included(&last[..]));
        let (store, effects) = (&self.outlets.store, self.outlets.ids.effects);
        let page = damaged::page(store, effects, range, wanted.rows, false)?;
        if self.state().late_batches() != Some(late) {
            // The page may have half of what came late: it is read again once that is told.
            return Ok(true);
        }
        let found = page.rows.into_iter().filter_map(|(key, row)| {
            let place = EffectPlace::of_key(&key)?;
            // One that cannot be read fails by itself, when it is called.
            let of = format::read(&row).map_or("", |read| read.key).into();
            Some((place, of, row))
        });
        let end = page.end.and_then(|end| EffectPlace::of_key(&end));
        self.queue.take_in(wanted, found, end);
        Ok(self.queue.next_read().is_some())
    }

    /// Begins calls, as many as there may be.
    fn call(&mut self, now: Duration) {
        self.queue.wake(now);
        let limit = Duration::from_millis(self.delivering.config.call_ms_max);
        while self.calls < self.delivering.config.calls() && !self.stopping {
            let Some((place, held)) = self.queue.start() else {
                return;
            };
            let (attempt, stored) = (held.failures + 1, held.stored.clone());
            let due = Due {
                id: self.id(place, &stored),
                place,
                attempt,
                stored,
            };
            self.calls += 1;
            let (deliver, tell) = (self.delivering.deliver.clone(), self.tell.clone());
            let mailbox = Arc::clone(&self.mailbox);
            tokio::spawn(async move {
                let outcome = deliver.call(due, limit).await;
                fail_point!(EFFECT_DELIVERED);
                // There is a place for each call; a stage that is gone needs no answer.
                let _ = tell.try_send(Ended { place, outcome });
                mailbox.wake();
            });
        }
    }
}

impl StageCore for DeliveryCore {
    fn step(&mut self) -> Step {
        let now = self.clock.monotonic();
        if let Err(cause) = self.take_ended(now) {
            return Step::Failed(format!("deliveries cannot be stored: {cause}"));
        }
        let has_more = match self.refill() {
            Ok(has_more) => has_more,
            Err(cause) => return Step::Failed(format!("effects cannot be read: {cause}")),
        };
        self.call(now);
        if let Err(cause) = self.store() {
            return Step::Failed(format!("deliveries cannot be stored: {cause}"));
        }
        if self.stopping && self.calls == 0 && self.writes.is_empty() && self.on_its_way.is_none() {
            return Step::Done;
        }
        if has_more && !self.stopping {
            return Step::Again;
        }
        let retry = self.queue.next_due().filter(|_| !self.stopping);
        let retry = retry.map(|due| due.saturating_sub(now));
        let earliest = retry.unwrap_or(LOOK_EVERY).min(LOOK_EVERY);
        Step::IdleUntil(earliest.max(Duration::from_millis(1)))
    }

    fn stop(&mut self) {
        self.stopping = true;
    }
}
