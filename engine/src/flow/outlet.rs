//! The end of a stage that another one follows: buffers items per target and sends them on in batches.
//!
//! Invariants: (1) a watermark, idleness and the end are sent to a target after all its items that came before;
//! (2) nothing overtakes what was refused; (3) an item that is late by its source's watermark carries that
//! watermark. Cost: per item a push into two columns; per batch one send, and its memory comes back.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::edge::{Edge, Link, Wiring};
use super::message::Message;
use super::operator::{Emit, Fault, Operator, Turn};
use super::route::Route;
use crate::batch::Batch;
use crate::mailbox::Overloaded;
use crate::stage::Blocked;
use crate::time::Timestamp;

struct Target<T> {
    link: Link<T>,
    buffer: Batch<T>,
    /// Items at which the buffer is sent, read once per batch.
    full_at: usize,
    /// How many targets the outlet has.
    targets: usize,
    /// What was refused and what must wait behind it.
    queue: VecDeque<Message<T>>,
    /// The watermark that was sent last.
    watermark: Timestamp,
    /// It was told last that the lane is idle.
    is_idle: bool,
}

impl<T: Send + 'static> Target<T> {
    fn send(&mut self, message: Message<T>) {
        self.is_idle = matches!(message, Message::Idle);
        if !self.queue.is_empty() {
            self.queue.push_back(message);
            return;
        }
        let bytes = message.bytes();
        match self.link.sender.try_send(message, bytes) {
            // A receiver that is gone has ended or failed; whoever watches it ends this stage as well.
            Ok(()) | Err(Overloaded::Closed(_)) => {}
            Err(Overloaded::Full(message)) => self.queue.push_back(message),
        }
    }

    fn send_buffer(&mut self, edge: &Edge<T>) {
        if self.buffer.is_empty() {
            return;
        }
        let batch = std::mem::replace(&mut self.buffer, edge.spare_batch());
        self.full_at = full_at(self.link.wanted_items(), self.targets);
        self.send(Message::Batch(batch));
    }

    #[cold]
    fn send_late(&mut self, edge: &Edge<T>, limit: Timestamp, time: Timestamp, item: T) {
        self.send_buffer(edge);
        if let Some(Message::Late { limit: last, batch }) = self.queue.back_mut()
            && *last == limit
        {
            batch.push(time, item);
            return;
        }
        let mut batch = Batch::with_capacity(1);
        batch.push(time, item);
        self.send(Message::Late { limit, batch });
    }

    fn send_watermark(&mut self, edge: &Edge<T>, watermark: Timestamp) {
        self.send_buffer(edge);
        if watermark > self.watermark {
            self.watermark = watermark;
            self.send(Message::Watermark(watermark));
        }
    }
}

/// Below this, filling many buffers at once does not pay any more.
const SHARED_ITEMS_MIN: usize = 256;

/// Items at which a buffer is sent: as many as its receiver wants. A sender with many targets fills all of their
/// buffers at once, and a receiver gets the rest from other senders, so each is smaller then.
fn full_at(wanted: usize, targets: usize) -> usize {
    let share = wanted * 2 / targets.max(2);
    share.max(SHARED_ITEMS_MIN).min(wanted)
}

/// Sends a stage's output to the next stage.
pub struct Outlet<T, R> {
    edge: Arc<Edge<T>>,
    route: R,
    targets: Vec<Target<T>>,
    watermark: Timestamp,
    late_before: Timestamp,
    linger: Duration,
    flushed_at: Duration,
    now: Duration,
}

impl<T: Send + 'static, R> Outlet<T, R> {
    /// An outlet into `edge`; takes its lanes when it is opened.
    pub fn new(edge: Arc<Edge<T>>, route: R) -> Self {
        let linger = edge.options().linger();
        Self {
            edge,
            route,
            targets: Vec::new(),
            watermark: Timestamp::MIN,
            late_before: Timestamp::MIN,
            linger,
            flushed_at: Duration::ZERO,
            now: Duration::ZERO,
        }
    }
}

impl<T: Send + 'static, R: Route<T>> Outlet<T, R> {
    /// Takes one item: for operators that hold an outlet as a side output.
    #[inline]
    pub fn push(&mut self, time: Timestamp, item: T) {
        let (edge, targets) = (&*self.edge, &mut self.targets);
        let (count, late_before) = (targets.len(), self.late_before);
        self.route.route(time, item, count, |at, time, item| {
            let target = &mut targets[at];
            if time < late_before {
                target.send_late(edge, late_before, time, item);
                return;
            }
            target.buffer.push(time, item);
            if target.buffer.items.len() >= target.full_at {
                target.send_buffer(edge);
            }
        });
    }
}

impl<T: Send + 'static, R: Route<T>> Operator<T> for Outlet<T, R> {
    type Out = Infallible;

    #[inline(always)]
    fn item<E: Emit<Infallible>>(&mut self, time: Timestamp, item: T, _out: &mut E) {
        self.push(time, item);
    }

    fn watermark<E: Emit<Infallible>>(&mut self, watermark: Timestamp, _out: &mut E) {
        self.watermark = self.watermark.max(watermark);
    }

    fn late_before(&mut self, limit: Timestamp) {
        self.late_before = limit;
    }

    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        let links = self.edge.take_links(wiring.partition);
        if links.is_empty() {
            return Err(Fault("its lanes were taken or never connected".to_owned()));
        }
        let count = links.len();
        let targets = links.into_iter().map(|link| Target {
            full_at: full_at(link.wanted_items(), count),
            targets: count,
            link,
            buffer: Batch::new(),
            queue: VecDeque::new(),
            watermark: Timestamp::MIN,
            is_idle: false,
        });
        self.targets = targets.collect();
        Ok(())
    }

    fn begin(&mut self, turn: &Turn) {
        self.now = turn.monotonic;
    }

    fn flush(&mut self, idle: bool) -> Result<(), Fault> {
        if idle || self.now.saturating_sub(self.flushed_at) >= self.linger {
            self.flushed_at = self.now;
            for target in &mut self.targets {
                target.send_watermark(&self.edge, self.watermark);
            }
        }
        Ok(())
    }

    fn is_blocked(&self) -> bool {
        self.targets.iter().any(|target| !target.queue.is_empty())
    }

    fn blocked(&mut self, waits: &mut Vec<Blocked>) {
        for target in &mut self.targets {
            if target.queue.is_empty() {
                continue;
            }
            let queue = std::mem::take(&mut target.queue);
            let sender = target.link.sender.clone();
            waits.push(Box::pin(async move {
                for message in queue {
                    let bytes = message.bytes();
                    if sender.send(message, bytes).await.is_err() {
                        return; // As in `send`: it has ended.
                    }
                }
            }));
        }
    }

    /// May be told repeatedly: only those are told again that got something since.
    fn idle(&mut self) {
        for target in &mut self.targets {
            target.send_watermark(&self.edge, self.watermark);
            if !target.is_idle {
                target.send(Message::Idle);
            }
        }
    }

    fn end<E: Emit<Infallible>>(&mut self, _out: &mut E) {
        for target in &mut self.targets {
            target.send_watermark(&self.edge, self.watermark);
            target.send(Message::End);
        }
    }
}

impl<T, R: Clone> Clone for Outlet<T, R> {
    /// An outlet into the same edge that has taken no lanes yet.
    fn clone(&self) -> Self {
        Self {
            edge: Arc::clone(&self.edge),
            route: self.route.clone(),
            targets: Vec::new(),
            watermark: Timestamp::MIN,
            late_before: Timestamp::MIN,
            linger: self.linger,
            flushed_at: Duration::ZERO,
            now: Duration::ZERO,
        }
    }
}

impl<T, R> fmt::Debug for Outlet<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet")
            .field("targets", &self.targets.len())
            .finish_non_exhaustive()
    }
}
