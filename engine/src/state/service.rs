//! The thread that commits, and the queue that leads to it.
//!
//! Place: stages and partitions -> bounded queue -> **this thread** -> [`StateWriter`]. What has piled up is
//! committed together: the longer a commit takes, the more the next one holds.
//! Invariants: batches are committed in the order in which the queue took them; every batch that was
//! taken is answered once, also when the thread ends; who was refused for want of room may be told of it, see [`Room`].
//! Without a thread, a [`SteppedStateWriter`] does the same where it is stepped: for simulations.
//! Failure: after a failed commit every batch is answered with [`StateError::Stopped`], until closed; so it is when the thread dies.
//! [`StateWriterHandle::until_stopped`] tells of both.

mod projections;
mod serving;
mod stepping;

use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, TrySendError, bounded};

use self::serving::queued;
pub use self::stepping::{SteppedStateWriter, stepped};
use super::batch::Pending;
use super::budget::Budget;
use super::gate::{Gate, Inside};
use super::room::Room;
use super::stopped::Stopped;
use super::{StateBatch, StateError, StateWriter};

/// Something to be done by the writer's thread between two commits.
type Task = Box<dyn FnOnce(&mut StateWriter) + Send>;

enum Message {
    Batch(Pending),
    Task(Task),
    Close,
}

/// Hands batches to the writer's thread. Clones share its queue.
#[derive(Clone, Debug)]
pub struct StateWriterHandle {
    queue: Sender<Message>,
    gate: Arc<Gate>,
    budget: Arc<Budget>,
    room: Arc<Room>,
    stopped: Arc<Stopped>,
    /// Of a writer without a thread: whoever waits for it steps it.
    stepped: Option<SteppedStateWriter>,
}

/// A batch that was not taken, with the reason. Nobody was told of it.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    /// [`StateError::Full`] or [`StateError::Closed`]; [`StateError::RowKey`] or [`StateError::TooLarge`]
    /// when it can never be stored.
    pub reason: StateError,
    /// The batch, as it was given.
    pub batch: Box<StateBatch>,
}

impl Refused {
    fn new(reason: StateError, batch: StateBatch) -> Self {
        Self {
            reason,
            batch: Box::new(batch),
        }
    }
}

impl StateWriterHandle {
    /// Queues a batch without waiting.
    ///
    /// # Errors
    /// [`Refused`] with the batch: the queue is full, closed, or the batch cannot be stored.
    pub fn try_submit(&self, batch: StateBatch) -> Result<(), Refused> {
        let (_inside, batch) = self.admit(batch)?;
        let Some(share) = self.budget.try_take(batch.memory_bytes()) else {
            return Err(Refused::new(self.full(), batch));
        };
        let message = Message::Batch(Pending::new(batch, Some(share)));
        self.queue.try_send(message).map_err(|error| match error {
            TrySendError::Full(message) => refused(self.full(), message),
            TrySendError::Disconnected(message) => refused(StateError::Closed, message),
        })
    }

    /// As [`try_submit`](Self::try_submit). Refused with [`StateError::Full`], `room` is woken once there may be room for the
    /// batch, or once it is refused for good. Not only then, and others may have been faster: submit it again in the same
    /// way. Woken on the writer's thread: what it does must be short.
    ///
    /// # Errors
    /// As there.
    pub fn try_submit_or_wake(&self, batch: StateBatch, room: &Waker) -> Result<(), Refused> {
        let full = |refused: Refused| match refused.reason {
            StateError::Full { .. } => Ok(*refused.batch),
            _ => Err(refused),
        };
        let offer = |batch| self.try_submit(batch);
        self.room.offer(room, batch, offer, full)
    }

    /// Queues a batch and waits while the queue is full. Blocks the thread: not for async code, nor for what is
    /// called when a batch is done.
    ///
    /// # Errors
    /// [`Refused`] with the batch: the writer is closed, or the batch cannot be stored.
    pub fn submit_blocking(&self, batch: StateBatch) -> Result<(), Refused> {
        let (_inside, batch) = self.admit(batch)?;
        let share = self.budget.take(batch.memory_bytes());
        let message = Message::Batch(Pending::new(batch, Some(share)));
        self.send(message)
            .map_err(|message| refused(StateError::Closed, message))
    }

    /// Waits for a place in the queue.
    fn send(&self, message: Message) -> Result<(), Message> {
        if let Some(stepped) = &self.stepped {
            while self.queue.is_full() && stepped.step() {}
        }
        self.queue.send(message).map_err(|error| error.0)
    }

    /// The right to queue a batch that can be stored.
    fn admit(&self, batch: StateBatch) -> Result<(Inside<'_>, StateBatch), Refused> {
        match (batch.check(), self.gate.enter()) {
            (Ok(()), Some(inside)) => Ok((inside, batch)),
            (Err(reason), _) => Err(Refused::new(reason, batch)),
            (Ok(()), None) => Err(Refused::new(StateError::Closed, batch)),
        }
    }

    fn full(&self) -> StateError {
        StateError::Full {
            batches: self.queue.len(),
            bytes: self.budget.used().0,
        }
    }

    /// Waits until everything that was queued before is committed. Blocks the thread.
    ///
    /// # Errors
    /// [`StateError::Stopped`]: a commit failed, not all of it is there. [`StateError::Closed`].
    pub fn flush(&self) -> Result<(), StateError> {
        self.ask(|writer| writer.step(Vec::new()))
    }

    /// As [`flush`](Self::flush), and what is committed is safe from a power failure.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn sync(&self) -> Result<(), StateError> {
        self.ask(StateWriter::sync)
    }

    /// As [`sync`](Self::sync) without waiting: `done` is told the outcome once, on the writer's thread. `false`, and
    /// nobody is told: the queue has no room now; `room` is woken as by [`try_submit_or_wake`](Self::try_submit_or_wake).
    pub fn try_sync_or_wake(
        &self,
        done: impl FnOnce(Result<(), StateError>) + Send + 'static,
        room: &Waker,
    ) -> bool {
        let Some(_inside) = self.gate.enter() else {
            done(Err(StateError::Closed));
            return true;
        };
        let told = Arc::new(Mutex::new(Some(done)));
        let tell = {
            let told = Arc::clone(&told);
            move |outcome| {
                let done = told.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(done) = done {
                    done(outcome);
                }
            }
        };
        // Answered also where the thread ends before it comes to it.
        let pending = Pending::new(StateBatch::default().on_done(tell), None);
        let task: Task = Box::new(move |writer| pending.answer(writer.sync()));
        let offer = |message| self.queue.try_send(message);
        let full = |refused| match refused {
            TrySendError::Full(message) => Ok(message),
            TrySendError::Disconnected(_) => Err(refused),
        };
        match self.room.offer(room, Message::Task(task), offer, full) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => true,
            Err(TrySendError::Full(_not_taken)) => {
                told.lock().unwrap_or_else(PoisonError::into_inner).take();
                false
            }
        }
    }

    /// Why nothing is written any more by this process, if so: [`StateError::Stopped`].
    #[must_use]
    pub fn stopped(&self) -> Option<StateError> {
        self.stopped.told()
    }

    /// Resolves once the writer has stopped for good, with [`StateError::Stopped`]; never if it is closed in order.
    pub async fn until_stopped(&self) -> StateError {
        self.stopped.until_told().await
    }

    /// Where the writer has no thread, has it do all that waits.
    pub fn help(&self) {
        if let Some(stepped) = &self.stepped {
            while stepped.step() {}
        }
    }

    /// Batches in the queue, and its places.
    pub fn queued(&self) -> (usize, usize) {
        (self.queue.len(), self.queue.capacity().unwrap_or(0))
    }

    /// Bytes from submission to answer, and their bound.
    pub fn queued_bytes(&self) -> (u64, u64) {
        self.budget.used()
    }

    pub(super) fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut StateWriter) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let (reply, answer) = bounded(1);
        let task: Task = Box::new(move |writer| {
            // Whoever asked may have gone.
            let _ = reply.send(question(writer));
        });
        let inside = self.gate.enter().ok_or(StateError::Closed)?;
        let sent = self.send(Message::Task(task));
        sent.map_err(|_| StateError::Closed)?;
        drop(inside);
        if let Some(stepped) = &self.stepped {
            while answer.is_empty() && stepped.step() {}
        }
        answer.recv().map_err(|_| StateError::Closed)?
    }
}

fn refused(reason: StateError, message: Message) -> Refused {
    let batch = match message {
        Message::Batch(pending) => pending.take(),
        Message::Task(_) | Message::Close => StateBatch::default(),
    };
    Refused::new(reason, batch)
}

/// The writer's thread. Closed, or dropped, it first commits all that was queued before.
#[derive(Debug)]
pub struct StateWriterThread {
    queue: Sender<Message>,
    thread: Option<JoinHandle<Result<(), StateError>>>,
}

impl StateWriterThread {
    /// Commits what was queued, syncs it and ends the thread. Later batches are refused.
    ///
    /// # Errors
    /// [`StateError::Stopped`]: a commit failed. [`StateError::Closed`]: the thread had died.
    pub fn close(mut self) -> Result<(), StateError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), StateError> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        // Fails only when the thread has ended already.
        let _ = self.queue.send(Message::Close);
        if thread.thread().id() == std::thread::current().id() {
            return Ok(());
        }
        thread.join().unwrap_or(Err(StateError::Closed))
    }
}

impl Drop for StateWriterThread {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!(%error, "the state writer did not end well");
        }
    }
}

/// Moves the writer into its thread.
///
/// # Errors
/// [`StateError::Thread`]: there is none.
pub fn start(writer: StateWriter) -> Result<(StateWriterHandle, StateWriterThread), StateError> {
    let (handle, served) = queued(writer);
    let queue = handle.queue.clone();
    let thread = crate::threads::try_spawn("state-writer", move || {
        // Moved in whole: it drains the queue when the thread ends.
        let mut served = served;
        while served.serve(true) {}
        served.writer.sync()
    })
    .map_err(|source| StateError::Thread {
        source: Arc::new(source),
    })?;
    let thread = StateWriterThread {
        queue,
        thread: Some(thread),
    };
    Ok((handle, thread))
}
