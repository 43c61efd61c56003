//! Owners of the rows of one actor, each with those of its keys: a frame with many events is applied by all of them side by side.
//!
//! Place: [`ProjectionCore`](super::ProjectionCore) -> its applier -> **[`Owner`]**s. Each reads a part of the frame's events and hands each to the owner that its [route](super::Route) names; then each
//! applies its own, part by part, which is the order of the log.
//! Invariants: (1) all changes of a frame are kept or none, so whoever looks sees a frame at one moment, and one position says
//! how far all of them are; (2) what the owners leave is what one would have left, if the law of
//! [`Projection::route`](super::Projection::route) holds. Nothing that is stored says how many there are.
//! Threads: one less than there are owners, of this projection alone; the first owner works on the actor's thread, which then
//! waits for the others. That is allowed as it takes no longer than if the actor did all by itself; a handler that hangs keeps
//! the actor's thread, as anywhere else, and no other projection.
//! Cost: two waits per frame, and as many lists as there are pairs of owners.
//! Failure: an event that fails undoes the frame, which is then applied event by event, each by its owner, on one thread.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use millstream_engine::codec::{EncodeError, EventReader};
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::FrameSlice;
use millstream_engine::log::frame::{Frame, KindSet, Record, SHAPES};
use millstream_engine::state::StateWrite;
use millstream_engine::threads::try_spawn;
use rayon_core::{ThreadPool, ThreadPoolBuilder};

use super::applier::{Applier, of_record};
use super::enrich::Sight;
use super::versions::Stamp;
use super::wanted::{Portion, Wanted};
use super::{HandedOver, OpenProjectionError, Projection, Rows, TableSet};
use crate::failing::Failure;

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
    /// processors: what one of them has to do could be done by none sooner.
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

/// An event that was read, on its way to its owner.
type ReadEvent<'f, P> = (Record<'f>, <P as Projection>::Event);

/// By owner.
type ByOwner<'f, P> = Vec<Vec<ReadEvent<'f, P>>>;

/// A frame that all owners apply.
struct Shared<'f, P> {
    projection: &'f P,
    wanted: &'f Wanted,
    partition: PartitionId,
    slice: &'f FrameSlice,
    portion: Portion,
    owners: usize,
}

impl<'f, P: Projection> Shared<'f, P> {
    /// The first event of an owner's part of the frame.
    fn start(&self, number: usize) -> Offset {
        self.slice
            .from
            .plus((self.slice.len() * number / self.owners) as u64)
    }

    /// Reads the events of one part of the frame, and says whose they are; gives them with how many are wanted.
    fn read(
        &self,
        number: usize,
        events: &mut EventReader<P::Event>,
        sight: &Sight,
    ) -> Result<(ByOwner<'f, P>, u64), Failure> {
        let (from, end) = (self.start(number), self.start(number + 1));
        let expected = (end.0 - from.0) as usize / self.owners * 9 / 8;
        let buckets = (0..self.owners).map(|_| Vec::with_capacity(expected));
        let mut buckets: ByOwner<'f, P> = buckets.collect();
        let dictionary = self.slice.frame.attachment(SHAPES).unwrap_or_default();
        events
            .begin_frame(dictionary)
            .map_err(Failure::unreadable)?;
        let kinds = match self.portion {
            Portion::Some(kinds) => kinds,
            _ => KindSet::ALL,
        };
        let frame: &'f Frame = &self.slice.frame;
        let first = (from.0 - frame.header().first.0) as u32;
        let mut wanted = 0;
        for record in frame.records_of(first, kinds) {
            if record.offset >= end {
                break;
            }
            if self.portion != Portion::All && !self.wanted.has(P::CATEGORY, &record) {
                continue;
            }
            wanted += 1;
            if !self.wanted.takes(self.partition, &record) {
                continue;
            }
            let payload = events.decode(record.kind, record.payload);
            let payload = payload.map_err(Failure::unreadable)?;
            let event = of_record(self.partition, &record, &payload, sight);
            let owner = self.projection.route(&event).owner(self.owners);
            sight.check().map_err(Failure::of)?;
            buckets[owner].push((record, payload));
        }
        Ok((buckets, wanted))
    }

    /// Applies the events of one owner, in order; keeps nothing yet.
    fn apply(
        &self,
        events: Vec<Vec<ReadEvent<'f, P>>>,
        writers: &mut <P::Tables as TableSet>::Writers,
        sight: &Sight,
    ) -> Result<(), Failure> {
        for (record, payload) in events.into_iter().flatten() {
            let event = of_record(self.partition, &record, &payload, sight);
            let stamp = Stamp {
                position: event.position,
                recorded_at: event.recorded_at,
                event_time: event.event_time,
            };
            P::Tables::begin(writers, &stamp, None);
            let applied = self.projection.project(&event, writers);
            // Whatever the code made of a row that could not be had.
            sight.check().map_err(Failure::of)?;
            applied.map_err(Failure::of)?;
        }
        P::Tables::check(writers).map_err(Failure::of)
    }
}

/// Does what runs user code.
fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let outcome = catch_unwind(AssertUnwindSafe(work));
    outcome.unwrap_or_else(|panic| Err(Failure::panicked(panic)))
}

impl Owners {
    /// Does work for each, beside each other if they have threads: the first on this one.
    fn each<T: Send>(&self, mut all: Vec<T>, work: impl Fn(T) + Sync) {
        let work = &work;
        match &self.threads {
            Some(threads) => threads.in_place_scope(|scope| {
                let others = all.drain(1..);
                others.for_each(|one| scope.spawn(move |_| work(one)));
                all.into_iter().for_each(work);
            }),
            None => all.into_iter().for_each(work),
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

    /// Applies the new events of a frame by all owners, and gives how many; if one of them fails, nothing has changed.
    pub(super) fn apply_shared(
        &mut self,
        partition: PartitionId,
        slice: &FrameSlice,
        portion: Portion,
    ) -> Result<u64, Failure> {
        let applied = self.try_shared(partition, slice, portion);
        if applied.is_err() {
            self.undo();
            self.sight.take_fault();
            let others = self.others.iter_mut();
            others.for_each(|other| drop(other.sight.take_fault()));
        } else {
            self.all_mut().for_each(P::Tables::keep_checked);
        }
        applied
    }

    fn try_shared(
        &mut self,
        partition: PartitionId,
        slice: &FrameSlice,
        portion: Portion,
    ) -> Result<u64, Failure> {
        let shared = &Shared {
            projection: &*self.projection,
            wanted: &self.wanted,
            partition,
            slice,
            portion,
            owners: self.owners.count(),
        };
        let mut users = vec![(&mut self.writers, &mut self.events, &mut self.sight)];
        let others = self.others.iter_mut();
        users.extend(others.map(|own| (&mut own.writers, &mut own.events, &mut own.sight)));
        let mut read: Vec<_> = users.iter().map(|_| Ok(Default::default())).collect();
        let readers = users.iter_mut().zip(&mut read).enumerate();
        let readers =
            readers.map(|(number, ((_, events, sight), read))| (number, events, sight, read));
        self.owners
            .each(readers.collect(), |(number, events, sight, read)| {
                *read = guarded(|| shared.read(number, events, sight));
            });
        let (mut count, mut by_owner) = (0, Vec::new());
        by_owner.resize_with(users.len(), Vec::new);
        for part in read {
            let (buckets, wanted): (ByOwner<'_, P>, u64) = part?;
            count += wanted;
            // Parts come in order, so each owner's events do.
            for (all, bucket) in by_owner.iter_mut().zip(buckets) {
                all.push(bucket);
            }
        }
        let mut outcomes: Vec<_> = users.iter().map(|_| Ok(())).collect();
        let works = users.into_iter().zip(by_owner).zip(&mut outcomes);
        self.owners.each(
            works.collect(),
            |(((writers, _, sight), events), outcome)| {
                *outcome = guarded(|| shared.apply(events, writers, sight));
            },
        );
        outcomes.into_iter().collect::<Result<(), _>>()?;
        Ok(count)
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

    pub(super) fn version_bytes(&self) -> usize {
        self.all().map(P::Tables::version_bytes).sum()
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
