//! Admission to a mailbox: one semaphore that bounds items and bytes at once.
//!
//! Invariants: (1) credits in use never exceed [`Credits::total`]; (2) an item costs at least one
//! credit and at least its bytes in units, so neither items nor bytes pass their bound, except (3) one
//! item larger than the whole bound, which costs all credits and so is let in only when nothing else
//! is there; (4) waiters are served in the order they came.
//! Threads: any. Cost: one compare-and-swap per acquisition, one short lock per release, and a
//! release is made per drained batch. Rejected: two semaphores (a sender that holds one and waits for
//! the other blocks the rest).

use std::num::{NonZeroU32, NonZeroU64};

use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, TryAcquireError};

/// How much one mailbox holds, over all its lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailboxLimits {
    /// Items queued before senders wait. Default 4,096. More: longer bursts and waits; every lane
    /// reserves this many slots.
    pub items_max: NonZeroU32,
    /// Bytes queued before senders wait, as the senders count them. Default 16 MiB.
    pub bytes_max: NonZeroU64,
}

impl Default for MailboxLimits {
    fn default() -> Self {
        Self {
            items_max: const { NonZeroU32::new(4_096).unwrap() },
            bytes_max: const { NonZeroU64::new(16 << 20).unwrap() },
        }
    }
}

/// Why credits could not be had at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Others hold them: they come back when the receiver drains.
    Full,
    /// Never again: the mailbox was closed.
    Closed,
}

/// The credits of one mailbox, shared by its lanes.
#[derive(Debug)]
pub struct Credits {
    semaphore: Semaphore,
    total: u32,
    unit_bytes: u64,
}

impl Credits {
    /// All credits of a mailbox with these limits, none in use.
    pub fn new(limits: MailboxLimits) -> Self {
        let (items, bytes) = (limits.items_max.get(), limits.bytes_max.get());
        // With fewer bytes than items a unit of one byte would let in too much: bytes bind alone.
        let total = u32::try_from(bytes).map_or(items, |bytes| items.min(bytes));
        let permits = (total as usize).min(Semaphore::MAX_PERMITS);
        let total = u32::try_from(permits).unwrap_or(total);
        Self {
            semaphore: Semaphore::new(permits),
            total,
            unit_bytes: (bytes / u64::from(total)).max(1),
        }
    }

    /// Credits that an item of `bytes` costs: one per unit begun, in `1..=total`.
    pub fn cost(&self, bytes: usize) -> u32 {
        let bytes = bytes as u64;
        if bytes <= self.unit_bytes {
            return 1; // The common case pays no division.
        }
        u32::try_from(bytes.div_ceil(self.unit_bytes))
            .map_or(self.total, |cost| cost.min(self.total))
    }

    /// Takes `cost` credits if they are free and nobody waits for them; `false` otherwise, and for
    /// ever once closed.
    pub fn try_acquire(&self, cost: u32) -> bool {
        self.acquire_now(cost).is_ok()
    }

    pub(super) fn acquire_now(&self, cost: u32) -> Result<(), Refused> {
        match self.semaphore.try_acquire_many(cost) {
            Ok(permit) => {
                permit.forget();
                Ok(())
            }
            Err(TryAcquireError::NoPermits) => Err(Refused::Full),
            Err(TryAcquireError::Closed) => Err(Refused::Closed),
        }
    }

    /// Waits for `cost` credits behind whoever waits already; `false` when the mailbox was closed.
    ///
    /// Dropping the future takes nothing and gives up the place in the queue.
    pub async fn acquire(&self, cost: u32) -> bool {
        match self.semaphore.acquire_many(cost).await {
            Ok(permit) => {
                permit.forget();
                true
            }
            Err(_closed) => false,
        }
    }

    /// Gives `credits` back, the sum of a drained batch; wakes waiters that now fit.
    pub fn release(&self, credits: usize) {
        if credits > 0 {
            self.semaphore.add_permits(credits);
        }
    }

    /// Refuses every later and every waiting acquisition; what was acquired stays valid.
    pub fn close(&self) {
        self.semaphore.close();
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.semaphore.is_closed()
    }

    /// All credits there are.
    pub fn total(&self) -> u32 {
        self.total
    }

    /// Credits held by items queued, by items on their way in, and by waiters part-way served.
    pub fn used(&self) -> u32 {
        let free = u32::try_from(self.semaphore.available_permits()).unwrap_or(u32::MAX);
        self.total.saturating_sub(free)
    }
}
