//! What one of several versions of a projection is to its readers, and how far its actors may go because of that.
//!
//! Place: whoever switches versions -> **[`Role`]**, a part of the version's [`ProgressBoard`] -> its actors and readers.
//! Invariants: (1) a version that is bound to another one shows nothing that the other does not show yet, so whoever read the
//! first and then reads the second never goes back; (2) what was dropped gives no answers.
//! Threads: any; the actors look at one atomic per frame while nothing binds them.
//! Not here: when versions are switched, which one answers after a restart (`state/` has that).

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use millstream_engine::event::{Offset, PartitionId, Token};

use super::outbox::Outlet;
use super::{Pacer, ProgressBoard, QueryError};

/// No bound.
const FREE: u64 = u64::MAX;

/// What a version of a projection is to its readers.
pub(super) struct Role {
    version: u32,
    is_active: AtomicBool,
    is_dropped: AtomicBool,
    /// Somebody waits for it.
    is_hurried: AtomicBool,
    /// All of its actors have ended in order: it shows nothing more.
    is_over: AtomicBool,
    /// Whether either of the next two is set.
    is_bound: AtomicBool,
    /// The version that it may not overtake.
    ceiling: Mutex<Option<Arc<ProgressBoard>>>,
    /// Offset per partition up to which it may apply (exclusive).
    ends: Vec<AtomicU64>,
    /// Tries of events that failed.
    failures: AtomicU64,
    /// Times that one of its actors began.
    opened: AtomicU64,
    /// Frames that several owners applied, and those that they could not.
    shared: AtomicU64,
    unshared: AtomicU64,
    /// What gives it its turns while it is behind and does not answer.
    pacer: OnceLock<Arc<Pacer>>,
    /// Where it sends effects, if it has outboxes.
    outlet: OnceLock<Outlet>,
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Role")
            .field("version", &self.version)
            .field("is_active", &self.is_active)
            .field("is_dropped", &self.is_dropped)
            .finish_non_exhaustive()
    }
}

impl Role {
    pub(super) fn new(version: u32, partitions: u16) -> Self {
        Self {
            version,
            is_active: AtomicBool::new(true),
            is_dropped: AtomicBool::new(false),
            is_hurried: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            is_bound: AtomicBool::new(false),
            ceiling: Mutex::default(),
            ends: (0..partitions).map(|_| AtomicU64::new(FREE)).collect(),
            failures: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            shared: AtomicU64::new(0),
            unshared: AtomicU64::new(0),
            pacer: OnceLock::new(),
            outlet: OnceLock::new(),
        }
    }

    fn ceiling(&self) -> std::sync::MutexGuard<'_, Option<Arc<ProgressBoard>>> {
        self.ceiling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_over(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    fn count_bounds(&self, is_below: bool) {
        let mut ends = self.ends.iter();
        let is_ended = ends.any(|end| end.load(Ordering::Acquire) != FREE);
        self.is_bound.store(is_below || is_ended, Ordering::Release);
    }
}

impl ProgressBoard {
    /// The version of the projection; 0 where there are no versions, as of the table of a dataflow.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.role().version
    }

    /// Name of its stages and of what waits in them: the projection's, with the version if it does not answer queries.
    #[must_use]
    pub fn stage_name(&self) -> String {
        match self.version() {
            version if !self.is_active() => format!("{}@{version}", self.projection()),
            _ => self.projection().to_owned(),
        }
    }

    /// Whether this version answers queries on its tables by name. Always so of a projection with one version.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.role().is_active.load(Ordering::Acquire)
    }

    /// Whether queries are answered with its rows: by itself, or by a version of another projection that looks into them.
    pub(super) fn is_asked(&self) -> bool {
        self.is_any(Self::is_active)
    }

    /// Whether this version was dropped: it gives no answers.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        self.role().is_dropped.load(Ordering::Acquire)
    }

    /// Tries of events, and of batches, that failed since the board was made.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.role().failures.load(Ordering::Relaxed)
    }

    /// Times that an actor of the projection began since the board was made: one for each and its restarts.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.role().opened.load(Ordering::Relaxed)
    }

    /// Frames that several owners of rows have applied side by side since the board was made; and those of which an event
    /// failed, so that they were applied event by event. See [`Rows::ByKey`](super::Rows::ByKey).
    #[must_use]
    pub fn shared_frames(&self) -> (u64, u64) {
        let role = self.role();
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        (count(&role.shared), count(&role.unshared))
    }

    pub(super) fn count_shared(&self, is_applied: bool) {
        let role = self.role();
        let count = if is_applied {
            &role.shared
        } else {
            &role.unshared
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_failure(&self) {
        self.role().failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_opened(&self) {
        self.role().opened.fetch_add(1, Ordering::Relaxed);
    }

    /// That this version was not dropped.
    pub(super) fn check_there(&self) -> Result<(), QueryError> {
        if self.is_dropped() {
            return Err(QueryError::Dropped {
                projection: self.projection(),
                version: self.version(),
            });
        }
        Ok(())
    }

    /// Whether it still comes further.
    ///
    /// # Errors
    /// [`QueryError::Stopped`].
    #[doc(hidden)]
    pub fn check_running(&self) -> Result<(), QueryError> {
        if self.is_stopped() {
            return Err(self.stopped_error());
        }
        Ok(())
    }

    /// Says whether this version answers queries.
    #[doc(hidden)]
    pub fn set_active(&self, is_active: bool) {
        self.role().is_active.store(is_active, Ordering::Release);
    }

    /// Says that this version is being dropped. Whoever waits for it is told.
    #[doc(hidden)]
    pub fn drop_version(&self) {
        self.role().is_dropped.store(true, Ordering::Release);
        self.stop("this version was dropped");
    }

    /// Says what gives this version its turns.
    #[doc(hidden)]
    pub fn set_pacer(&self, pacer: Arc<Pacer>) {
        // Set once, when it is made.
        let _ = self.role().pacer.set(pacer);
    }

    /// Says whether somebody waits for this version to come as far as another one: it takes all the time then that it needs.
    #[doc(hidden)]
    pub fn hurry(&self, is_hurried: bool) {
        let role = self.role();
        role.is_hurried.store(is_hurried, Ordering::Release);
    }

    /// Says where this version sends effects. It sends none without.
    #[doc(hidden)]
    pub fn set_outlet(&self, outlet: Outlet) {
        // Set once, when it is made.
        let _ = self.role().outlet.set(outlet);
    }

    /// Where this version sends effects, if it does.
    pub(super) fn outlet(&self) -> Option<&Outlet> {
        self.role().outlet.get()
    }

    /// What gives this version its turns now, if something does.
    pub(super) fn pacer(&self) -> Option<&Arc<Pacer>> {
        let is_waited_for =
            |board: &Self| board.is_active() || board.role().is_hurried.load(Ordering::Acquire);
        let pacer = self.role().pacer.get();
        pacer.filter(|_| !self.is_any(is_waited_for))
    }

    /// From when this returns, shows nothing that `above` does not show; `None` frees it. What is shown already stays: wait
    /// for `above` to have [reached](Self::reached) [`token`](Self::token).
    #[doc(hidden)]
    pub fn stay_below(&self, above: Option<Arc<ProgressBoard>>) {
        // Nothing is shown between the look at the bound and the showing.
        let paused = self.pause();
        let mut ceiling = self.role().ceiling();
        self.role().count_bounds(above.is_some());
        *ceiling = above;
        drop((ceiling, paused));
    }

    /// Whether it may not overtake this version.
    #[doc(hidden)]
    pub fn is_below(&self, above: &Arc<ProgressBoard>) -> bool {
        let ceiling = self.role().ceiling();
        ceiling.as_ref().is_some_and(|own| Arc::ptr_eq(own, above))
    }

    /// Applies nothing behind `token` from now on, but what was begun; `None` lets it go on.
    #[doc(hidden)]
    pub fn stop_behind(&self, token: Option<&Token>) {
        let ceiling = self.role().ceiling();
        for (partition, end) in (0..).map(PartitionId).zip(&self.role().ends) {
            let last = token.map(|token| {
                let mut positions = token.positions().iter();
                let found = positions.find(|position| position.partition == partition);
                found.map_or(0, |position| position.offset.plus(1).0)
            });
            end.store(last.unwrap_or(FREE), Ordering::Release);
        }
        self.role().count_bounds(ceiling.is_some());
        drop(ceiling);
    }

    /// Offset before which events of a partition may be applied.
    #[inline]
    pub(super) fn bound(&self, partition: PartitionId) -> Offset {
        if !self.role().is_bound.load(Ordering::Acquire) {
            return Offset(FREE);
        }
        let end = self.role().ends.get(usize::from(partition.0));
        let end = Offset(end.map_or(FREE, |end| end.load(Ordering::Acquire)));
        end.min(self.showable(partition))
    }

    /// Offset before which events of a partition may be shown.
    #[inline]
    pub(super) fn showable(&self, partition: PartitionId) -> Offset {
        if !self.role().is_bound.load(Ordering::Acquire) {
            return Offset(FREE);
        }
        let ceiling = self.role().ceiling();
        let Some(above) = ceiling.as_ref() else {
            return Offset(FREE);
        };
        if above.is_stopped() {
            // One that was given up must not keep others.
            return Offset(FREE);
        }
        if !above.role().is_over.load(Ordering::Acquire) {
            return above.visible(partition);
        }
        // Nor one that has ended, at its own end or where it stood: then what that one may not overtake is ahead of both. That
        // way leads to the version that answers, which may have ended before the log does.
        if above.is_active() {
            return Offset(FREE);
        }
        let above = Arc::clone(above);
        drop(ceiling);
        above.showable(partition)
    }
}
