//! The queue's other end: the writer, and what it does with what is queued.
//!
//! Batches that wait are stored together, up to `group_bytes_max`; what else is asked for ends a group, as does a close.
//! Dropped projections are deleted in slices: while nothing waits, and one behind whatever was done, so also under load.
//! Invariant: whoever was queued is answered, also where this is dropped by a panic or a kill: what is left in the queue goes
//! with it.
//! Cost: a group has no wait of its own. Not here: who calls it, a thread or whoever steps it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crossbeam_channel::{Receiver, TryRecvError, bounded};

use super::{Message, StateWriterHandle};
use crate::metrics::StateWriterMetrics;
use crate::state::batch::Pending;
use crate::state::budget::Budget;
use crate::state::gate::Gate;
use crate::state::room::Room;
use crate::state::{StateError, StateWriter};
use crate::time::{Clock, SystemClock};

/// Puts a queue before the writer, and gives both ends.
pub(super) fn queued(writer: StateWriter) -> (StateWriterHandle, Served) {
    let (queue, taken) = bounded(writer.options().queue_batches.max(1));
    let gate = Arc::new(Gate::default());
    let room = Arc::new(Room::new());
    let handle = StateWriterHandle {
        queue,
        gate: Arc::clone(&gate),
        budget: Budget::new(writer.options().queue_bytes_max),
        room: Arc::clone(&room),
        stopped: Arc::clone(writer.told()),
        stepped: None,
    };
    let served = Served {
        next: None,
        taken: Taken {
            queue: taken,
            gate,
            room,
        },
        writer,
        metrics: StateWriterMetrics::new(),
        clock: SystemClock::new(),
    };
    (handle, served)
}

/// The queue's other end.
struct Taken {
    queue: Receiver<Message>,
    gate: Arc<Gate>,
    room: Arc<Room>,
}

impl Drop for Taken {
    /// Answers what nobody came to, also when a thread ends by a panic. A bounded crossbeam channel keeps
    /// its messages until the last *sender* is gone, so whoever waits for one of them would wait for ever.
    fn drop(&mut self) {
        // Each message answers when it is dropped.
        self.gate
            .close(|patience| self.queue.recv_timeout(patience).is_ok());
        // Refused for good now.
        self.room.tell();
    }
}

/// The writer with what it takes from. Fields are dropped in this order: who waits is answered first.
pub(super) struct Served {
    /// What ended a group.
    next: Option<Message>,
    taken: Taken,
    pub(super) writer: StateWriter,
    metrics: StateWriterMetrics,
    /// Only for the metrics, so no test or simulation needs to move it.
    clock: SystemClock,
}

impl Served {
    pub(super) fn is_waiting(&self) -> bool {
        let drops = self.writer.has_drops() && self.writer.stopped().is_none();
        self.next.is_some() || !self.taken.queue.is_empty() || drops
    }

    /// Deals with the next message and what can be stored with it; deletes slices of dropped projections while there is
    /// none. Waits for one, if it `waits`. `false`: there is none and will be none, or the queue was closed.
    pub(super) fn serve(&mut self, waits: bool) -> bool {
        let goes_on = self.deal(waits);
        if self.writer.stopped().is_some() {
            self.metrics.mark_stopped();
        }
        goes_on
    }

    fn deal(&mut self, waits: bool) -> bool {
        let message = match self.next.take() {
            Some(message) => message,
            None => match self.take(waits) {
                Ok(Some(message)) => message,
                Ok(None) => return true,
                Err(NoMessage) => return false,
            },
        };
        match message {
            Message::Batch(first) => {
                let bytes_max = self.writer.options().group_bytes_max;
                let (group, behind) = gather(first, &self.taken.queue, bytes_max);
                self.next = behind;
                // Places are free: what comes while these are committed goes into the next group.
                self.taken.room.tell();
                let batches = group.len() as u64;
                let bytes = group.iter().map(Pending::bytes).sum();
                let start = self.clock.monotonic();
                // Everyone in the group was told; the first failure is kept by the writer.
                if self.writer.step_checked(group).is_ok() {
                    let elapsed = self.clock.monotonic().saturating_sub(start);
                    self.metrics.observe_commit(batches, bytes, elapsed);
                }
                // And the bytes that these have held.
                self.taken.room.tell();
            }
            Message::Task(task) => {
                self.taken.room.tell();
                task(&mut self.writer);
            }
            Message::Close => return false,
        }
        // Also under load, or a dropped projection would never go.
        if self.writer.has_drops() {
            let _ = self.writer.step_drops();
        }
        true
    }

    /// The next message, or a slice deleted in its stead.
    fn take(&mut self, waits: bool) -> Result<Option<Message>, NoMessage> {
        let has_drops = self.writer.has_drops() && self.writer.stopped().is_none();
        match self.taken.queue.try_recv() {
            Ok(message) => Ok(Some(message)),
            Err(TryRecvError::Disconnected) => Err(NoMessage),
            Err(TryRecvError::Empty) if has_drops => {
                // A failure is kept by the writer, which has no drops then.
                let _ = self.writer.step_drops();
                Ok(None)
            }
            Err(TryRecvError::Empty) if waits => {
                let message = self.taken.queue.recv();
                message.map(Some).map_err(|_disconnected| NoMessage)
            }
            Err(TryRecvError::Empty) => Err(NoMessage),
        }
    }
}

impl Drop for Served {
    /// A thread that dies has written its last as well: before those who wait are answered, as after a failed commit.
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What tells of it may panic in its turn.
            let stop = AssertUnwindSafe(|| self.writer.stop(StateError::Panicked));
            let _ = catch_unwind(stop);
            let _ = catch_unwind(AssertUnwindSafe(|| self.metrics.mark_stopped()));
        }
    }
}

/// Nothing is in the queue, or nobody can put anything into it any more.
struct NoMessage;

/// Adds what is waiting to a group, up to its size; with the message that ended it, if one did.
fn gather(
    first: Pending,
    queue: &Receiver<Message>,
    bytes_max: u64,
) -> (Vec<Pending>, Option<Message>) {
    let mut bytes = first.bytes();
    let mut group = vec![first];
    loop {
        match queue.try_recv() {
            Ok(Message::Batch(batch)) if bytes.saturating_add(batch.bytes()) <= bytes_max => {
                bytes += batch.bytes();
                group.push(batch);
            }
            Ok(message) => return (group, Some(message)),
            Err(_) => return (group, None),
        }
    }
}
