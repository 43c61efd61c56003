//! One lane of a mailbox: a bounded queue of one type from one sender to the receiver.
//!
//! Invariant: the queue has a slot for every credit that it draws on and an item holds at least one
//! credit from before its push until after its pop, so a push that holds credits always finds a slot.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::credits::{Credits, Refused};
use super::shared::LaneDepth;
use super::{Closed, Mailbox, Overloaded};

/// What is queued: the item and what it took from the credits.
struct Slot<T> {
    item: T,
    cost: u32,
    /// As the sender counted, saturating: only used to bound a drain.
    bytes: u32,
}

struct Lane<T> {
    mailbox: Arc<Mailbox>,
    /// Of the mailbox, or the lane's own.
    credits: Arc<Credits>,
    sender: Sender<Slot<T>>,
    receiver: Receiver<Slot<T>>,
    /// Set when the last receiver is gone.
    abandoned: AtomicBool,
}

impl<T> Lane<T> {
    /// Drops what is queued and gives its credits back.
    fn discard(&self) {
        let mut credits = 0;
        while let Ok(slot) = self.receiver.try_recv() {
            credits += slot.cost as usize;
        }
        self.credits.release(credits);
    }
}

impl<T: Send> LaneDepth for Lane<T> {
    fn items(&self) -> usize {
        self.receiver.len()
    }
}

pub(super) type NewLane<T> = (LaneSender<T>, LaneReceiver<T>, Weak<dyn LaneDepth>);

pub(super) fn new_lane<T: Send + 'static>(
    mailbox: Arc<Mailbox>,
    credits: Arc<Credits>,
) -> NewLane<T> {
    let (sender, receiver) = bounded(credits.total() as usize);
    let lane = Arc::new(Lane {
        mailbox,
        credits,
        sender,
        receiver,
        abandoned: AtomicBool::new(false),
    });
    let weak = Arc::downgrade(&lane);
    let depth: Weak<dyn LaneDepth> = weak;
    let receiver = LaneReceiver {
        end: Arc::new(ReceivingEnd {
            lane: Arc::clone(&lane),
        }),
    };
    (LaneSender { lane }, receiver, depth)
}

/// The sending end of a lane. Clones share the lane; order is kept per lane as the pushes happen.
pub struct LaneSender<T> {
    lane: Arc<Lane<T>>,
}

impl<T: Send> LaneSender<T> {
    /// Queues `item`, which counts for `bytes`, without waiting.
    ///
    /// Never overtakes senders that wait for credits.
    ///
    /// # Errors
    /// [`Overloaded`] with the item: the mailbox is full or closed; nothing was queued.
    pub fn try_send(&self, item: T, bytes: usize) -> Result<(), Overloaded<T>> {
        let credits = &*self.lane.credits;
        let cost = credits.cost(bytes);
        if self.is_abandoned() {
            return Err(Overloaded::Closed(item));
        }
        match credits.acquire_now(cost) {
            Ok(()) => self
                .push(item, cost, bytes)
                .map_err(|Closed(item)| Overloaded::Closed(item)),
            Err(Refused::Full) => {
                self.lane.mailbox.count_refused();
                Err(Overloaded::Full(item))
            }
            Err(Refused::Closed) => Err(Overloaded::Closed(item)),
        }
    }

    /// Queues `item`, which counts for `bytes`, waiting in turn while the mailbox is full.
    ///
    /// Dropping the future before it is ready queues nothing and drops the item.
    ///
    /// # Errors
    /// [`Closed`] with the item: the mailbox was closed, before or while waiting.
    pub async fn send(&self, item: T, bytes: usize) -> Result<(), Closed<T>> {
        let credits = &*self.lane.credits;
        let cost = credits.cost(bytes);
        if self.is_abandoned() {
            return Err(Closed(item));
        }
        let admitted = match credits.acquire_now(cost) {
            Ok(()) => true,
            Err(Refused::Full) => self.lane.mailbox.acquire_waiting(credits, cost).await,
            Err(Refused::Closed) => false,
        };
        if admitted {
            self.push(item, cost, bytes)
        } else {
            Err(Closed(item))
        }
    }

    /// Items in this lane now.
    pub fn len(&self) -> usize {
        self.lane.receiver.len()
    }

    /// Whether nothing is in this lane now.
    pub fn is_empty(&self) -> bool {
        self.lane.receiver.is_empty()
    }

    /// The mailbox that the lane belongs to.
    pub fn mailbox(&self) -> &Arc<Mailbox> {
        &self.lane.mailbox
    }

    /// Whether nothing will be taken any more: the mailbox was closed, or the last receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.is_abandoned() || self.lane.mailbox.is_closed()
    }

    fn is_abandoned(&self) -> bool {
        self.lane.abandoned.load(Ordering::Acquire)
    }

    /// Queues an item whose credits are held, and wakes the receiver.
    fn push(&self, item: T, cost: u32, bytes: usize) -> Result<(), Closed<T>> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Err(refused) = self.lane.sender.try_send(Slot { item, cost, bytes }) {
            // The lane has a slot per credit and keeps its own receiver: neither full nor closed.
            debug_assert!(false, "a lane had no slot for an item that held credits");
            self.lane.credits.release(cost as usize);
            return Err(Closed(refused.into_inner().item));
        }
        self.lane.mailbox.wake(); // Its fence also orders the push before the load below.
        if self.is_abandoned() {
            self.lane.discard();
            self.lane.mailbox.wake(); // A receiver that stops waits for the last credit.
        }
        Ok(())
    }
}

impl<T> Clone for LaneSender<T> {
    fn clone(&self) -> Self {
        Self {
            lane: Arc::clone(&self.lane),
        }
    }
}

impl<T> fmt::Debug for LaneSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneSender")
            .field("items", &self.lane.receiver.len())
            .finish()
    }
}

/// What one drain took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainSummary {
    /// Items taken.
    pub items: usize,
    /// Their bytes as the senders counted them.
    pub bytes: u64,
    /// Credits given back.
    pub credits: usize,
    /// Whether the lane was found empty, rather than the drain stopped by its bounds.
    pub emptied: bool,
}

/// Held by all receivers of a lane together; its end abandons the lane.
struct ReceivingEnd<T> {
    lane: Arc<Lane<T>>,
}

impl<T> Drop for ReceivingEnd<T> {
    fn drop(&mut self) {
        self.lane.abandoned.store(true, Ordering::Release);
        std::sync::atomic::fence(Ordering::SeqCst);
        self.lane.discard();
    }
}

/// The receiving end of a lane.
///
/// A clone takes from the same lane: a supervisor keeps one to hand to the actor that is started
/// after a failure. Only one of them may drain at a time if order matters.
pub struct LaneReceiver<T> {
    end: Arc<ReceivingEnd<T>>,
}

impl<T: Send> LaneReceiver<T> {
    /// Moves up to `items_max` items to the end of `into`, oldest first, and gives their credits back
    /// at once at the end.
    pub fn drain(&self, items_max: usize, into: &mut Vec<T>) -> DrainSummary {
        self.drain_within(items_max, u64::MAX, into)
    }

    /// Like [`drain`](Self::drain), and takes no further item once `bytes_max` is reached: at least
    /// one item comes whatever its size, the last may pass the bound.
    pub fn drain_within(
        &self,
        items_max: usize,
        bytes_max: u64,
        into: &mut Vec<T>,
    ) -> DrainSummary {
        let lane = &*self.end.lane;
        let mut summary = DrainSummary::default();
        while summary.items < items_max && (summary.bytes < bytes_max || summary.items == 0) {
            let Ok(slot) = lane.receiver.try_recv() else {
                summary.emptied = true;
                break;
            };
            into.push(slot.item);
            summary.items += 1;
            summary.bytes += u64::from(slot.bytes);
            summary.credits += slot.cost as usize;
        }
        lane.credits.release(summary.credits);
        summary
    }

    /// Items in this lane now.
    pub fn len(&self) -> usize {
        self.end.lane.receiver.len()
    }

    /// Whether nothing is in this lane now.
    pub fn is_empty(&self) -> bool {
        self.end.lane.receiver.is_empty()
    }

    /// The mailbox that the lane belongs to.
    pub fn mailbox(&self) -> &Arc<Mailbox> {
        &self.end.lane.mailbox
    }
}

impl<T> Clone for LaneReceiver<T> {
    fn clone(&self) -> Self {
        Self {
            end: Arc::clone(&self.end),
        }
    }
}

impl<T> fmt::Debug for LaneReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneReceiver")
            .field("items", &self.end.lane.receiver.len())
            .finish()
    }
}
