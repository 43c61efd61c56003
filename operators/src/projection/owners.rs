//! Owners of the rows of one actor, each with those of its keys: a frame with many events is applied by all of them side by side.
//!
//! Place: [`ProjectionCore`](super::ProjectionCore) -> its applier -> **[`Owner`]**s. Each reads a part of the frame's events and
//! hands each to the owner that its [route](super::Route) names; then each applies its own, part by part, which is the order of
//! the log: see `sharing.rs`.
//! Invariants: (1) all changes of a frame are kept or none, so whoever looks sees a frame at one moment, and one position says
//! how far all of them are; (2) what the owners leave is what one would have left, if the law of
//! [`Projection::route`](super::Projection::route) holds. Nothing that is stored says how many there are.
//! Threads: one less than there are owners, of this projection alone; the first owner works on the actor's thread, which then
//! waits for the others. That is allowed as it takes no longer than if the actor did all by itself; a handler that hangs keeps
//! the actor's thread, as anywhere else, and no other projection.
//! Cost: two waits per frame, and as many lists as there are pairs of owners.
//! Failure: an event that fails undoes the frame, which is then applied event by event, each by its owner, on one thread.

mod sharing;

use std::fmt;
use std::sync::Arc;

use millstream_engine::codec::{EncodeError, EventReader};
use millstream_engine::state::StateWrite;
use millstream_engine::threads::try_spawn;
use rayon_core::{ThreadPool, ThreadPoolBuilder};

use super::applier::Applier;
use super::enrich::Sight;
use super::{HandedOver, OpenProjectionError, Projection, Rows, TableSet};

/// Owners where nothing is said, at most.
const OWNERS: usize = 8;
/// Most owners of the rows of one actor.
const OWNERS_MAX: usize = 64;

/// How many owners the rows of an actor have, and where they work. One, which is the actor itself, unless said otherwise.
#[derive(Clone)]
pub struct Owners {
    count: usize,
    /// `None`: one after the other, on the thread of the actor.
    threads: Option<Arc<ThreadPool>>,
}

/// So many threads for the owners of a projection.
fn threads(projection: &str, count: usize) -> Result<ThreadPool, OpenProjectionError> {
    let builder = ThreadPoolBuilder::new().num_threads(count);
    let builder = builder.spawn_handler(|thread| {
        let name = format!("owner-{projection}-{}", thread.index());
        try_spawn(&name, || thread.run()).map(drop)
    });
    let built = builder.build();
    built.map_err(|cause| OpenProjectionError::Threads(cause.to_string()))
}

impl Default for Owners {
    fn default() -> Self {
        Self::in_turn(1)
    }
}

impl fmt::Debug for Owners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owners")
            .field("count", &self.count)
            .field("has_threads", &self.threads.is_some())
            .finish()
    }
}

impl Owners {
    /// So many, at least 1, that work one after the other.
    #[must_use]
    pub fn in_turn(count: usize) -> Self {
        Self {
            count: count.clamp(1, OWNERS_MAX),
            threads: None,
        }
    }

    /// The owners of `P`, of so many (0: as many as there are processors, at most 8), beside each other. Never more than
    /// processors, which would only wait for each other.
    ///
    /// # Errors
    /// [`OpenProjectionError::Threads`].
    pub fn of<P: Projection>(count: usize, processors: usize) -> Result<Self, OpenProjectionError> {
        let count = match count {
            0 => processors.min(OWNERS),
            count => count.min(processors),
        };
        let mut own = Self::in_turn(count).fit::<P>();
        if own.count > 1 {
            own.threads = Some(Arc::new(threads(P::NAME, own.count - 1)?));
        }
        Ok(own)
    }

    /// One, if rows of `P` cannot have several.
    pub(super) fn fit<P: Projection>(self) -> Self {
        if P::ROWS == Rows::ByKey && P::BATCH == 1 {
            self
        } else {
            Self::default()
        }
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Processors that they keep busy while all of them work.
    pub(super) fn processors(&self) -> u32 {
        let beside = self.threads.as_ref();
        let beside = beside.map_or(0, |own| own.current_num_threads());
        u32::try_from(beside + 1).unwrap_or(u32::MAX)
    }
}

/// An owner beside the actor itself, and all that its user code touches.
pub(super) struct Owner<P: Projection> {
    pub(super) writers: <P::Tables as TableSet>::Writers,
    events: EventReader<P::Event>,
    /// Of a projection that looks into no others.
    sight: Sight,
}

impl<P: Projection> Owner<P> {
    pub(super) fn new(writers: <P::Tables as TableSet>::Writers) -> Self {
        Self {
            writers,
            events: EventReader::new(),
            sight: Sight::default(),
        }
    }
}

impl<P: Projection> Applier<P> {
    /// The same, with owners beside itself.
    pub(super) fn beside(self, others: Vec<Owner<P>>, owners: Owners) -> Self {
        Self {
            others,
            owners,
            ..self
        }
    }

    /// Whether rows have several owners.
    #[inline]
    pub(super) const fn is_shared(&self) -> bool {
        self.owners.count() > 1
    }

    fn all(&self) -> impl Iterator<Item = &<P::Tables as TableSet>::Writers> {
        let others = self.others.iter().map(|other| &other.writers);
        std::iter::once(&self.writers).chain(others)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut <P::Tables as TableSet>::Writers> {
        let others = self.others.iter_mut().map(|other| &mut other.writers);
        std::iter::once(&mut self.writers).chain(others)
    }

    /// Undoes what was not kept.
    pub(super) fn undo(&mut self) {
        self.all_mut().for_each(P::Tables::undo);
    }

    pub(super) fn publish(&mut self) -> usize {
        self.all_mut().map(P::Tables::publish).sum()
    }

    pub(super) fn rows(&self) -> usize {
        self.all().map(P::Tables::rows).sum()
    }

    pub(super) fn unstored(&self) -> usize {
        self.all().map(P::Tables::unstored).sum()
    }

    pub(super) fn pending_bytes(&self) -> usize {
        self.all().map(P::Tables::pending_bytes).sum()
    }

    pub(super) fn effects(&self) -> usize {
        self.all().map(P::Tables::effects).sum()
    }

    /// Lets about half of the rows go.
    pub(super) fn shrink(&mut self) {
        self.all_mut().for_each(P::Tables::shrink);
    }

    pub(super) fn store(
        &mut self,
        writes: &mut Vec<StateWrite>,
    ) -> Result<Vec<HandedOver>, EncodeError> {
        let mut handed_over = Vec::new();
        for writers in self.all_mut() {
            handed_over.extend(P::Tables::store(writers, writes)?);
        }
        Ok(handed_over)
    }
}
