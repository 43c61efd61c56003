//! Group commit: what has piled up is stored with one commit, then everyone is answered.
//!
//! Place: between the partitions, which seal frames, and a [`LogStore`]. Invariants: nobody is answered,
//! and no reader shown anything, before the group is durable; after one failure nothing is written and
//! nobody is told success again (after a failed fsync the kernel may call lost pages clean, so a later
//! success would prove nothing). Threads: [`GroupWriter`] is a plain `step()`; [`LogWriter::start`] gives it
//! a thread of its own, since a commit blocks on the disk. Its channel is bounded; partitions bound their
//! frames in flight, so it has a place for each of them.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::feed::Feed;
use super::frame::{Frame, SealedFrame};
use super::{LogError, LogStore};
use crate::fail_point;
use crate::metrics::{CommitSample, WriterMetrics};
use crate::time::Clock;

/// How a submission ended: durable, with the frame if it had one, or an error that leaves the outcome
/// unknown.
pub type Committed = Result<Option<Arc<Frame>>, LogError>;

/// What a partition hands to the writer.
pub struct Submission {
    /// What to store; `None` only waits for all that the same partition submitted before.
    pub frame: Option<SealedFrame>,
    /// Called once, on the writer's thread: keep it short.
    pub done: Box<dyn FnOnce(&Committed) + Send>,
}

impl fmt::Debug for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submission")
            .field("first", &self.frame.as_ref().map(|frame| frame.first))
            .finish_non_exhaustive()
    }
}

/// Stores groups of frames and stops for good at the first failure.
#[derive(Debug)]
pub struct GroupWriter<S> {
    store: S,
    feed: Arc<Feed>,
    /// [`LogError::Stopped`] from the first failure on. Shared, so that partitions with nothing in flight see it.
    stopped: Arc<OnceLock<LogError>>,
    clock: Arc<dyn Clock>,
    /// How long the last append took.
    append_time: Duration,
}

impl<S: LogStore> GroupWriter<S> {
    /// A writer that has not failed and publishes to `feed`; `clock` only measures.
    pub fn new(store: S, feed: Arc<Feed>, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            feed,
            stopped: Arc::default(),
            clock,
            append_time: Duration::ZERO,
        }
    }

    /// Stores one group, publishes its frames and answers its submitters. An empty group costs nothing.
    ///
    /// # Errors
    /// [`LogError::Stopped`] from the first failure on; every submitter was told.
    pub fn step(&mut self, group: Vec<Submission>) -> Result<(), LogError> {
        let (mut frames, mut answers) = (Vec::new(), Vec::with_capacity(group.len()));
        for Submission { frame, done } in group {
            answers.push((done, frame.as_ref().map(|frame| Arc::clone(&frame.frame))));
            frames.extend(frame);
        }
        if self.stopped.get().is_none() && !frames.is_empty() {
            let start = self.clock.monotonic();
            // A panic must not leave those who wait without an answer: it is a failure like any other. So is one of whoever is
            // woken by a frame, which may be a waker of the program's own.
            let stored = catch_unwind(AssertUnwindSafe(|| {
                // Who reads the log itself sees a frame once it is stored: what follows from it is later.
                for sealed in &frames {
                    let recorded = sealed.frame.header().recorded_last;
                    self.feed.stamps().published(recorded);
                }
                let stored = self.store.append(&frames);
                self.append_time = self.clock.monotonic().saturating_sub(start);
                let publish = |frame: &SealedFrame| self.feed.publish(&frame.frame);
                stored.map(|()| frames.iter().for_each(publish))
            }));
            if let Err(cause) = stored.unwrap_or(Err(LogError::Panicked)) {
                // Before anybody is answered: who heard of the failure meets no partition that goes on.
                self.stop(cause);
            }
        }
        let stopped = self.stopped.get().cloned();
        fail_point!(LOG_BEFORE_REPLIES);
        let mut panicked = 0;
        for (done, frame) in answers {
            let committed = match &stopped {
                None => Ok(frame),
                Some(cause) => Err(cause.clone()),
            };
            // One answer that panics must not take the others with it.
            if catch_unwind(AssertUnwindSafe(|| done(&committed))).is_err() {
                panicked += 1;
            }
            fail_point!(LOG_REPLIED);
        }
        if panicked > 0 {
            tracing::error!(panicked, "answering turns panicked");
        }
        stopped.map_or(Ok(()), Err)
    }

    /// Says that nothing is written any more, and gives what is told from now on. The first cause stays.
    fn stop(&self, cause: LogError) -> LogError {
        let cause = Arc::new(cause);
        let stopped = self.stopped.get_or_init(|| LogError::Stopped { cause });
        self.feed.stop(stopped.clone());
        stopped.clone()
    }
}

/// The way to the writer's thread. Clones share it; the thread ends when all are gone.
#[derive(Clone, Debug)]
pub struct LogWriter {
    sender: Sender<Submission>,
    stopped: Arc<OnceLock<LogError>>,
}

/// The writer's thread, to be waited for.
#[derive(Debug)]
pub struct LogWriterThread {
    thread: std::thread::JoinHandle<()>,
}

/// Bytes after which a group is closed: far below what makes LMDB spill pages early.
const GROUP_BYTES_MAX: u64 = 32 << 20;

impl LogWriter {
    /// Starts the thread; at most `submissions_max` may wait for it.
    pub fn start<S: LogStore + 'static>(
        writer: GroupWriter<S>,
        submissions_max: usize,
    ) -> (Self, LogWriterThread) {
        let (handle, mut stepped) = Self::stepped(writer, submissions_max);
        let thread = crate::threads::spawn("log-writer", move || while stepped.wait() {});
        (handle, LogWriterThread { thread })
    }

    /// The same without a thread: for simulations, which step the writer.
    pub fn stepped<S: LogStore>(
        writer: GroupWriter<S>,
        submissions_max: usize,
    ) -> (Self, SteppedLogWriter<S>) {
        let (sender, receiver) = bounded(submissions_max);
        let stopped = Arc::clone(&writer.stopped);
        let stepped = SteppedLogWriter {
            writer,
            submissions: receiver,
            metrics: WriterMetrics::new(),
            is_said: false,
        };
        (Self { sender, stopped }, stepped)
    }

    /// Why nothing is written any more, if so: set before anybody is told.
    #[must_use]
    pub fn stopped(&self) -> Option<&LogError> {
        self.stopped.get()
    }

    /// Hands a submission over; never blocks.
    ///
    /// # Errors
    /// The submission, when the channel is full or the thread is gone.
    pub fn submit(&self, submission: Submission) -> Result<(), Submission> {
        self.sender.try_send(submission).map_err(|refused| {
            let (TrySendError::Full(submission) | TrySendError::Disconnected(submission)) = refused;
            submission
        })
    }
}

impl LogWriterThread {
    /// Waits until every [`LogWriter`] is gone and all that was submitted is answered. Blocks.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the log writer panicked");
        }
    }
}

/// The writer and its end of the channel. Dropped, it answers what is left.
#[derive(Debug)]
pub struct SteppedLogWriter<S: LogStore> {
    writer: GroupWriter<S>,
    submissions: Receiver<Submission>,
    metrics: WriterMetrics,
    /// Whether it was said that the log stops.
    is_said: bool,
}

impl<S: LogStore> SteppedLogWriter<S> {
    /// Submissions that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.submissions.len()
    }

    /// Stores what waits with one commit; whether anything did.
    pub fn step(&mut self) -> bool {
        let first = self.submissions.try_recv();
        first.map(|first| self.store(first)).is_ok()
    }

    /// The same, but waits for something; `false` once nobody can submit any more.
    fn wait(&mut self) -> bool {
        let first = self.submissions.recv();
        first.map(|first| self.store(first)).is_ok()
    }

    /// Stores a group that begins so.
    fn store(&mut self, first: Submission) {
        let mut group = vec![first];
        let mut sample = CommitSample {
            // LMDB syncs the data, then the meta page.
            fsyncs: 2,
            ..CommitSample::default()
        };
        loop {
            if let Some(frame) = group.last().and_then(|item| item.frame.as_ref()) {
                sample.bytes += frame.bytes.len() as u64;
                sample.frames += 1;
                sample.events += u64::from(frame.count);
            }
            if sample.bytes >= GROUP_BYTES_MAX {
                break;
            }
            match self.submissions.try_recv() {
                Ok(next) => group.push(next),
                Err(_) => break,
            }
        }
        let outcome = self.writer.step(group);
        sample.elapsed = self.writer.append_time;
        self.metrics.observe_queue(self.submissions.len());
        match outcome {
            Ok(()) if sample.frames > 0 => self.metrics.observe_commit(&sample),
            Ok(()) => {}
            Err(cause) => {
                self.metrics.mark_stopped();
                // Last, when everybody knows: what writes log lines may panic itself where the disk is full.
                if !std::mem::replace(&mut self.is_said, true) {
                    tracing::error!(%cause, "the log stops");
                }
            }
        }
    }
}

impl<S: LogStore> Drop for SteppedLogWriter<S> {
    /// Answers what is left, also after a panic: a bounded channel may keep its messages while a sender lives, and callers would
    /// wait for ever.
    fn drop(&mut self) {
        let told = if std::thread::panicking() {
            // What panics here is not the store, which is caught: figures, or a log of lines. Nobody else can say it.
            self.writer.stop(LogError::Panicked)
        } else {
            LogError::Closed
        };
        self.writer.feed.close();
        for left in self.submissions.try_iter() {
            // One answer that panics must not take the others with it, nor the process while another is under way.
            let _ = catch_unwind(AssertUnwindSafe(|| (left.done)(&Err(told.clone()))));
        }
    }
}

#[cfg(test)]
mod tests;
