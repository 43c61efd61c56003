//! The ways of versions' effects into the outboxes of their projection, and how both sides of a switch are made to stand still.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use millstream_engine::event::{Offset, PartitionId, Position, Token};
use millstream_engine::state::ProjectionId;

use super::super::ProgressBoard;
use super::outlets::Outlets;
use super::waiting::OutboxState;

/// How often it is looked whether all turns are over.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Offsets behind what was applied, by partition.
type Applied = Arc<[AtomicU64]>;
/// The same of all versions.
pub(super) type AppliedBy = HashMap<ProjectionId, Applied, foldhash::fast::RandomState>;

impl Outlets {
    /// The way out of a version, which sends what is its own.
    #[must_use]
    pub fn of_version(self: &Arc<Self>, owner: ProjectionId) -> Outlet {
        let mut all = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let partitions = self.boxes.first().map_or(0, |own| own.partitions.len());
        let nothing = || (0..partitions).map(|_| AtomicU64::new(0)).collect();
        let applied = Arc::clone(all.entry(owner).or_insert_with(nothing));
        Outlet(Some(Way {
            outlets: Arc::clone(self),
            owner,
            applied,
        }))
    }

    /// Has two versions come no further than the further of them is now, partition by partition; gives how far that is. They
    /// come so far also where an outbox is full: what the one has applied in silence the other has to send. Until
    /// [`go_on`](Self::go_on) and [`ProgressBoard::stop_behind`] free them. `None`: a turn of one of their actors did not come to
    /// its end before the deadline, and nothing has changed.
    #[doc(hidden)]
    pub async fn halt(
        &self,
        versions: [(&ProgressBoard, ProjectionId); 2],
        deadline: Duration,
    ) -> Option<Vec<Offset>> {
        let halting = Halting::new(self);
        let at_rest = async {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            while self.inside.load(Ordering::SeqCst) > 0 {
                looks.tick().await;
            }
        };
        tokio::time::timeout(deadline, at_rest).await.ok()?;
        // No actor has a frame in hand that it did not count yet, nor looks at its bound.
        let ends = self.furthest(versions.map(|(_, id)| id));
        let mut token = Token::default();
        for (partition, end) in (0..).map(PartitionId).zip(&ends) {
            if let Some(offset) = end.0.checked_sub(1).map(Offset) {
                token.observe(Position { partition, offset });
            }
        }
        for (board, _) in &versions {
            board.stop_behind(Some(&token));
        }
        // Behind the bounds: there is no end to what is sent without.
        self.handing_over.store(true, Ordering::SeqCst);
        drop(halting);
        Some(ends)
    }

    /// Has versions wait for room again. Before the bounds are taken away.
    #[doc(hidden)]
    pub fn go_on(&self) {
        self.handing_over.store(false, Ordering::SeqCst);
    }

    /// Offsets behind what any of these versions has applied.
    fn furthest(&self, versions: [ProjectionId; 2]) -> Vec<Offset> {
        let all = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let partitions = self.boxes.first().map_or(0, |own| own.partitions.len());
        let mut ends = vec![Offset(0); partitions];
        for id in versions {
            let applied = all.get(&id).into_iter().flat_map(|applied| applied.iter());
            for (end, applied) in ends.iter_mut().zip(applied) {
                *end = (*end).max(Offset(applied.load(Ordering::Acquire)));
            }
        }
        ends
    }
}

/// While it is there no actor begins a turn.
struct Halting<'o>(&'o Outlets);

impl<'o> Halting<'o> {
    fn new(outlets: &'o Outlets) -> Self {
        outlets.halting.store(true, Ordering::SeqCst);
        Self(outlets)
    }
}

impl Drop for Halting<'_> {
    fn drop(&mut self) {
        self.0.halting.store(false, Ordering::SeqCst);
    }
}

/// A turn of an actor.
#[derive(Debug)]
pub(in crate::projection) struct Turn(Option<Arc<Outlets>>);

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(outlets) = &self.0 {
            outlets.inside.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// The way of a version's effects into the outboxes, or of the test kit's to whoever looks.
#[derive(Clone, Debug)]
pub struct Outlet(Option<Way>);

/// A version's own.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) outlets: Arc<Outlets>,
    owner: ProjectionId,
    applied: Applied,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Way").field(&self.owner).finish()
    }
}

impl Outlet {
    /// All is kept in memory.
    pub(in crate::projection) const fn kept() -> Self {
        Self(None)
    }

    pub(super) const fn way(&self) -> Option<&Way> {
        self.0.as_ref()
    }

    /// Held while frames are taken from the log and applied; `None` while nobody may.
    pub(in crate::projection) fn turn(&self) -> Option<Turn> {
        let outlets = self.0.as_ref().map(|way| Arc::clone(&way.outlets));
        let turn = Turn(outlets);
        let Some(outlets) = &turn.0 else {
            return Some(turn);
        };
        // In this order, and the other one looks in the other order: one of the two sees what the other did.
        outlets.inside.fetch_add(1, Ordering::SeqCst);
        (!outlets.halting.load(Ordering::SeqCst)).then_some(turn)
    }

    /// All before `next` was applied.
    pub(in crate::projection) fn note_applied(&self, partition: PartitionId, next: Offset) {
        let Some(way) = &self.0 else { return };
        if let Some(applied) = way.applied.get(usize::from(partition.0)) {
            applied.store(next.0, Ordering::Release);
        }
    }

    /// Whether a version that answers has to wait: an outbox has as many effects as it may, and this is no switch.
    pub(in crate::projection) fn is_full(&self) -> bool {
        let Some(way) = &self.0 else { return false };
        way.outlets.boxes.iter().any(OutboxState::is_full)
            && !way.outlets.handing_over.load(Ordering::SeqCst)
    }
}

impl Way {
    /// Whether effects of an event are sent by this version.
    pub(super) fn sends(&self, outbox: usize, position: Position) -> bool {
        let Position { partition, offset } = position;
        let begin = self.outlets.boxes[outbox]
            .begin
            .get(usize::from(partition.0));
        begin.is_some_and(|begin| *begin <= offset)
            && self.outlets.cuts().owner(partition, offset) == Some(self.owner)
    }
}
