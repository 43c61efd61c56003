//! A frame that all owners of the rows apply: first each reads a part of it, then each applies what is its own.

use millstream_engine::codec::EventReader;
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::FrameSlice;
use millstream_engine::log::frame::{Frame, KindSet, Record, SHAPES};
use millstream_engine::stage::caught;

use super::Owners;
use crate::failing::Failure;
use crate::projection::applier::{Applier, foresee, of_record};
use crate::projection::enrich::Sight;
use crate::projection::versions::Stamp;
use crate::projection::wanted::{Portion, Wanted};
use crate::projection::writer::AHEAD;
use crate::projection::{Projection, TableSet};

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
        for events in events.iter().flat_map(|events| events.chunks(AHEAD)) {
            if P::Tables::foresees(writers) {
                foresee::<P::Tables>(writers, events.iter().map(|(record, _)| record));
            }
            for (record, payload) in events {
                self.apply_one(record, payload, writers, sight)?;
            }
        }
        P::Tables::check(writers).map_err(Failure::of)
    }

    #[inline]
    fn apply_one(
        &self,
        record: &Record<'_>,
        payload: &P::Event,
        writers: &mut <P::Tables as TableSet>::Writers,
        sight: &Sight,
    ) -> Result<(), Failure> {
        let event = of_record(self.partition, record, payload, sight);
        let stamp = Stamp {
            position: event.position,
            recorded_at: event.recorded_at,
            event_time: event.event_time,
        };
        P::Tables::begin(writers, &stamp, None);
        P::Tables::of_stream(writers, record.stream);
        let applied = self.projection.project(&event, writers);
        // Whatever the code made of a row that could not be had.
        sight.check().map_err(Failure::of)?;
        applied.map_err(Failure::of)
    }
}

/// Does what runs user code.
fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let outcome = caught(work);
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
    /// Applies the new events of a frame by all owners, and gives how many; if one of them fails, nothing has changed.
    pub(in crate::projection) fn apply_shared(
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
}
