//! The receiving side of edges: lanes of one item type, read in turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::edge::{Edge, Port};
use super::message::Message;
use crate::mailbox::LaneReceiver;

struct Lane<T> {
    receiver: LaneReceiver<Message<T>>,
    edge: Arc<Edge<T>>,
    wanted: Arc<AtomicUsize>,
    /// Nothing is taken from it until the barriers of the others have come.
    is_held: bool,
}

/// Some lanes of one type, and which is next.
pub(super) struct Lanes<T> {
    lanes: Vec<Lane<T>>,
    next: usize,
    taken: Vec<Message<T>>,
}

impl<T: Send + 'static> Lanes<T> {
    /// Takes the lanes of `edges` into `partition`.
    pub(super) fn take(edges: &[Arc<Edge<T>>], partition: usize) -> Self {
        let mut lanes = Vec::new();
        for edge in edges {
            for Port { receiver, wanted } in edge.take_ports(partition) {
                lanes.push(Lane {
                    receiver,
                    edge: Arc::clone(edge),
                    wanted,
                    is_held: false,
                });
            }
        }
        Self {
            lanes,
            next: 0,
            taken: Vec::with_capacity(1),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lanes.len()
    }

    /// The next message of any lane, and the lane's number; lanes take turns.
    pub(super) fn next(&mut self) -> Option<(usize, Message<T>)> {
        for _ in 0..self.lanes.len() {
            let at = self.next;
            self.next = if at + 1 == self.lanes.len() {
                0
            } else {
                at + 1
            };
            if self.lanes[at].is_held {
                continue;
            }
            self.lanes[at].receiver.drain(1, &mut self.taken);
            if let Some(message) = self.taken.pop() {
                return Some((at, message));
            }
        }
        None
    }

    /// Messages that wait, without those of lanes that are held.
    pub(super) fn waiting(&self) -> usize {
        let lanes = self.lanes.iter().filter(|lane| !lane.is_held);
        lanes.map(|lane| lane.receiver.len()).sum()
    }

    /// Takes nothing from a lane until [`release`](Self::release).
    pub(super) fn hold(&mut self, lane: usize) {
        self.lanes[lane].is_held = true;
    }

    pub(super) fn release(&mut self) {
        for lane in &mut self.lanes {
            lane.is_held = false;
        }
    }

    pub(super) fn recycle(&self, lane: usize, batch: crate::batch::Batch<T>) {
        self.lanes[lane].edge.recycle(batch);
    }

    /// Tells the senders how many items a batch should have.
    pub(super) fn want(&self, items: usize) {
        for lane in &self.lanes {
            lane.wanted.store(items, Ordering::Relaxed);
        }
    }
}
