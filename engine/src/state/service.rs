//! The thread that commits, and the queue that leads to it.
//!
//! Place: stages and partitions -> bounded queue -> **this thread** -> [`StateWriter`]. What has piled up is
//! committed together: the longer a commit takes, the more the next one holds.
//! Invariants: batches are committed in the order in which the queue took them; every batch that was
//! taken is answered once, also when the thread ends.
//! Failure: after a failed commit every batch is answered with [`StateError::Stopped`], until closed.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};

use crate::metrics::StateWriterMetrics;
use crate::time::{Clock, SystemClock};

use super::batch::Pending;
use super::budget::Budget;
use super::gate::{Gate, Inside};
use super::{RegisteredProjection, StateBatch, StateError, StateWriter};

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

    /// Queues a batch and waits while the queue is full. Blocks the thread: not for async code, nor for what is
    /// called when a batch is done.
    ///
    /// # Errors
    /// [`Refused`] with the batch: the writer is closed, or the batch cannot be stored.
    pub fn submit_blocking(&self, batch: StateBatch) -> Result<(), Refused> {
        let (_inside, batch) = self.admit(batch)?;
        let share = self.budget.take(batch.memory_bytes());
        let message = Message::Batch(Pending::new(batch, Some(share)));
        self.queue
            .send(message)
            .map_err(|error| refused(StateError::Closed, error.0))
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
    /// nobody is told: the queue has no room now.
    pub fn try_sync(&self, done: impl FnOnce(Result<(), StateError>) + Send + 'static) -> bool {
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
        match self.queue.try_send(Message::Task(task)) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => true,
            Err(TrySendError::Full(_not_taken)) => {
                told.lock().unwrap_or_else(PoisonError::into_inner).take();
                false
            }
        }
    }

    /// As [`StateWriter::register_projection`], on the writer's thread. Blocks the thread.
    ///
    /// # Errors
    /// As there; [`StateError::Closed`].
    pub fn register_projection(
        &self,
        name: &str,
        version: u32,
        tables: &[&str],
    ) -> Result<RegisteredProjection, StateError> {
        let name = name.to_owned();
        let tables: Vec<String> = tables.iter().map(ToString::to_string).collect();
        self.ask(move |writer| {
            let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
            writer.register_projection(&name, version, &tables)
        })
    }

    /// Forgets a projection; its rows are deleted in slices between the commits that follow. Blocks the thread
    /// until it is forgotten. Stop what writes to it first: rows written later are not found.
    ///
    /// # Errors
    /// As [`StateWriter::drop_projection`]; [`StateError::Closed`].
    pub fn drop_projection(&self, name: &str, version: u32) -> Result<(), StateError> {
        let name = name.to_owned();
        self.ask(move |writer| writer.drop_projection(&name, version))
    }

    /// As [`StateWriter::reset_projection`], on the writer's thread. Blocks the thread.
    ///
    /// # Errors
    /// As there; [`StateError::Closed`].
    pub fn reset_projection(
        &self,
        name: &str,
        version: u32,
    ) -> Result<RegisteredProjection, StateError> {
        let name = name.to_owned();
        self.ask(move |writer| writer.reset_projection(&name, version))
    }

    /// As [`StateWriter::set_tables`], on the writer's thread. Blocks the thread.
    ///
    /// # Errors
    /// As there; [`StateError::Closed`].
    pub fn set_tables(
        &self,
        name: &str,
        version: u32,
        tables: &[&str],
        kept: &[&str],
    ) -> Result<RegisteredProjection, StateError> {
        let name = name.to_owned();
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let (tables, kept): (Vec<String>, Vec<String>) = (owned(tables), owned(kept));
        self.ask(move |writer| {
            let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
            let kept: Vec<&str> = kept.iter().map(String::as_str).collect();
            writer.set_tables(&name, version, &tables, &kept)
        })
    }

    /// Batches in the queue, and its places.
    pub fn queued(&self) -> (usize, usize) {
        (self.queue.len(), self.queue.capacity().unwrap_or(0))
    }

    /// Bytes from submission to answer, and their bound.
    pub fn queued_bytes(&self) -> (u64, u64) {
        self.budget.used()
    }

    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut StateWriter) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let (reply, answer) = bounded(1);
        let task: Task = Box::new(move |writer| {
            // Whoever asked may have gone.
            let _ = reply.send(question(writer));
        });
        let inside = self.gate.enter().ok_or(StateError::Closed)?;
        let sent = self.queue.send(Message::Task(task));
        sent.map_err(|_| StateError::Closed)?;
        drop(inside);
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
    let (queue, taken) = bounded(writer.options().queue_batches.max(1));
    let budget = Budget::new(writer.options().queue_bytes_max);
    let gate = Arc::new(Gate::default());
    let taken = Taken {
        queue: taken,
        gate: Arc::clone(&gate),
    };
    let thread = crate::threads::try_spawn("state-writer", move || {
        // Moved in whole: it drains the queue when the thread ends.
        let taken = taken;
        serve(writer, &taken.queue)
    })
    .map_err(|source| StateError::Thread {
        source: Arc::new(source),
    })?;
    let handle = StateWriterHandle {
        queue: queue.clone(),
        gate,
        budget,
    };
    let thread = StateWriterThread {
        queue,
        thread: Some(thread),
    };
    Ok((handle, thread))
}

/// The thread's end of the queue.
struct Taken {
    queue: Receiver<Message>,
    gate: Arc<Gate>,
}

impl Drop for Taken {
    /// Answers what the thread did not come to, also when it ends by a panic. A bounded crossbeam channel keeps
    /// its messages until the last *sender* is gone, so whoever waits for one of them would wait for ever.
    fn drop(&mut self) {
        // Each message answers when it is dropped.
        self.gate
            .close(|patience| self.queue.recv_timeout(patience).is_ok());
    }
}

/// Takes from the queue until it is closed, or all its senders are gone.
fn serve(mut writer: StateWriter, queue: &Receiver<Message>) -> Result<(), StateError> {
    // Only for the metrics, so no test or simulation needs to move it.
    let (metrics, clock) = (StateWriterMetrics::new(), SystemClock::new());
    let mut next = None;
    loop {
        let message = match next.take() {
            Some(message) => message,
            None => match take(&mut writer, queue) {
                Some(message) => message,
                None => break,
            },
        };
        match message {
            Message::Batch(first) => {
                let (group, behind) = gather(first, queue, writer.options().group_bytes_max);
                next = behind;
                let batches = group.len() as u64;
                let bytes = group.iter().map(Pending::bytes).sum();
                let start = clock.monotonic();
                // Everyone in the group was told; the first failure is kept by the writer.
                if writer.step_checked(group).is_ok() {
                    let elapsed = clock.monotonic().saturating_sub(start);
                    metrics.observe_commit(batches, bytes, elapsed);
                }
            }
            Message::Task(task) => task(&mut writer),
            Message::Close => break,
        }
        // Also under load, or a dropped projection would never go.
        if writer.has_drops() {
            let _ = writer.step_drops();
        }
    }
    writer.sync()
}

/// The next message; deletes slices of dropped projections while there is none. `None`: nobody is left to send.
fn take(writer: &mut StateWriter, queue: &Receiver<Message>) -> Option<Message> {
    while writer.has_drops() && writer.stopped().is_none() {
        match queue.try_recv() {
            Ok(message) => return Some(message),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => {
                // A failure is kept by the writer and ends the loop.
                let _ = writer.step_drops();
            }
        }
    }
    queue.recv().ok()
}

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
