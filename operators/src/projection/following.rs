//! What those who go by stored rows need of a projection's board: how far it has stored, waiting for more, and the end.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use millstream_engine::event::{Offset, PartitionId, Token};
use millstream_engine::mailbox::Mailbox;
use tokio::sync::futures::Notified;

use super::{ProgressBoard, QueryError};

/// One of the actors that fill the tables.
#[derive(Debug)]
pub(super) struct Actor {
    mailbox: Weak<Mailbox>,
    is_done: bool,
}

/// While it is there, the projection stores soon what it has shown.
#[derive(Debug)]
pub(super) struct Hurry<'b>(&'b ProgressBoard);

impl Drop for Hurry<'_> {
    fn drop(&mut self) {
        self.0.hurried.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The same, held by whoever holds the board.
#[derive(Debug)]
pub(super) struct Hurried(Arc<ProgressBoard>);

impl Hurried {
    pub(super) fn new(board: &Arc<ProgressBoard>) -> Self {
        // The guard's end is this one's.
        std::mem::forget(board.store_sooner());
        Self(Arc::clone(board))
    }
}

impl Drop for Hurried {
    fn drop(&mut self) {
        drop(Hurry(&self.0));
    }
}

/// What else a projection's board knows: those that look into its tables, and those that its own projection looks into.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    /// Woken by each store.
    followers: Mutex<Vec<Weak<Mailbox>>>,
    /// By actor of this projection: whom it waits for, and where.
    waits: Mutex<BTreeMap<u16, (PartitionId, Arc<ProgressBoard>)>>,
    /// Those of the versions of other projections that look into its tables.
    readers: OnceLock<Vec<Weak<ProgressBoard>>>,
}

impl ProgressBoard {
    /// Has each store wake whoever receives there.
    pub(super) fn wake_when_stored(&self, mailbox: &Arc<Mailbox>) {
        let all = self.neighbours.followers.lock();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        let own = Arc::downgrade(mailbox);
        all.retain(|other| other.strong_count() > 0 && !other.ptr_eq(&own));
        all.push(own);
    }

    /// Says which versions of other projections look into the tables of this one. Projections do not read in a circle.
    #[doc(hidden)]
    pub fn set_readers(&self, readers: Vec<Weak<Self>>) {
        // Set once, before its stages run.
        let _ = self.neighbours.readers.set(readers);
    }

    /// Whether this holds of this version, or of one that looks into its tables, by way of others as well: whoever waits for
    /// that one waits for this one.
    pub(super) fn is_any(&self, holds: fn(&Self) -> bool) -> bool {
        let readers = self.neighbours.readers.get();
        holds(self)
            || readers.is_some_and(|readers| {
                let mut readers = readers.iter().filter_map(Weak::upgrade);
                readers.any(|reader| reader.is_any(holds))
            })
    }

    fn wake_followers(&self) {
        let all = self.neighbours.followers.lock();
        let all = all.unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .filter_map(Weak::upgrade)
            .for_each(|mailbox| mailbox.wake());
    }

    /// Says what an actor waits for.
    pub(super) fn wait_for(&self, actor: u16, waits: Option<&(PartitionId, Arc<Self>)>) {
        let all = self.neighbours.waits.lock();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        match waits {
            Some(waits) => all.insert(actor, waits.clone()),
            None => all.remove(&actor),
        };
    }

    /// The projection, one of those whose tables this one looks into, that has to store an event before this one may apply it;
    /// with the partition of that event, and why it does not come further, if it was given up. `None` while nothing is
    /// waited for.
    #[must_use]
    pub fn waits_for(&self) -> Option<(&'static str, PartitionId, Option<QueryError>)> {
        let all = self.neighbours.waits.lock();
        let all = all.unwrap_or_else(PoisonError::into_inner);
        let (partition, board) = all.values().next()?;
        let cause = board.is_stopped().then(|| board.stopped_error());
        Some((board.projection(), *partition, cause))
    }

    /// Number of partitions of the log; none of a table whose rows are not made from it.
    #[must_use]
    pub fn partitions(&self) -> u16 {
        u16::try_from(self.visible.len()).unwrap_or(u16::MAX)
    }

    /// An actor is at work that is woken there.
    pub(super) fn begin(&self, actor: u16, mailbox: &Arc<Mailbox>) {
        let mut all = self.actors.lock().unwrap_or_else(PoisonError::into_inner);
        let own = Actor {
            mailbox: Arc::downgrade(mailbox),
            is_done: false,
        };
        all.insert(actor, own);
    }

    /// An actor has applied and stored all that there will be.
    pub(super) fn end_of(&self, actor: u16) {
        let mut all = self.actors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.get_mut(&actor) {
            own.is_done = true;
        }
        if all.values().all(|own| own.is_done) {
            self.role().set_over();
        }
        drop(all);
        self.announce_stored();
    }

    /// Whether nothing more will come, and why.
    pub(super) fn end(&self) -> Option<Result<(), QueryError>> {
        let all = self.actors.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = !all.is_empty() && all.values().all(|own| own.is_done);
        drop(all);
        if is_over {
            return Some(Ok(()));
        }
        self.is_stopped().then(|| Err(self.stopped_error()))
    }

    /// All before `next` is stored.
    pub(super) fn store(&self, partition: PartitionId, next: Offset) {
        let visible = &self.visible[usize::from(partition.0)];
        visible.stored.store(next.0, Ordering::Release);
    }

    /// Offset after the last stored event of a partition.
    #[must_use]
    pub fn stored(&self, partition: PartitionId) -> Offset {
        let found = self.visible.get(usize::from(partition.0));
        Offset(found.map_or(0, |visible| visible.stored.load(Ordering::Acquire)))
    }

    /// Whether all that `token` has seen is stored.
    pub(super) fn has_stored(&self, token: &Token) -> bool {
        let mut positions = token.positions().iter();
        positions.all(|position| self.stored(position.partition) > position.offset)
    }

    /// Waits until all before these offsets is stored, at most `deadline`.
    ///
    /// # Errors
    /// [`QueryError::Behind`] with how far it is; [`QueryError::Stopped`].
    pub async fn until_stored(
        &self,
        ends: &[(PartitionId, Offset)],
        deadline: Duration,
    ) -> Result<(), QueryError> {
        let behind = || {
            ends.iter().find_map(|(partition, end)| {
                let left = end.0.saturating_sub(self.stored(*partition).0);
                (left > 0).then_some((*partition, left))
            })
        };
        if behind().is_none() {
            return Ok(());
        }
        let _sooner = self.store_sooner();
        self.until(|| behind().is_none().then_some(()), deadline)
            .await?;
        match behind() {
            None => Ok(()),
            Some((partition, behind)) => Err(QueryError::Behind {
                projection: self.projection(),
                partition,
                behind,
                waited: deadline,
            }),
        }
    }

    /// Wakes those who wait, for what is shown or for what is stored. Once per store, and at the end.
    pub(super) fn announce_stored(&self) {
        self.announce();
        self.stored.notify_waiters();
        self.wake_followers();
    }

    /// Resolves when something was stored, or the projection ended.
    pub(super) fn stored_more(&self) -> Notified<'_> {
        self.stored.notified()
    }

    /// Has the projection store soon, for as long as what it gives is there.
    pub(super) fn store_sooner(&self) -> Hurry<'_> {
        if self.hurried.fetch_add(1, Ordering::AcqRel) == 0 {
            let all = self.actors.lock().unwrap_or_else(PoisonError::into_inner);
            let mailboxes = all.values().filter_map(|own| own.mailbox.upgrade());
            let mailboxes: Vec<_> = mailboxes.collect();
            drop(all);
            mailboxes.iter().for_each(|mailbox| mailbox.wake());
        }
        Hurry(self)
    }

    /// Whether somebody waits for what is stored.
    pub(super) fn is_hurried(&self) -> bool {
        self.hurried.load(Ordering::Acquire) > 0
    }
}
