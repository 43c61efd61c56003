//! Applying one event: decoded, guarded, all of its changes or none.

use std::panic::{AssertUnwindSafe, catch_unwind};

use millstream_engine::codec::EventReader;
use millstream_engine::event::{Offset, PartitionId, Position};
use millstream_engine::log::WantedKinds;
use millstream_engine::log::frame::{Frame, Kind, Record, SHAPES};

use super::enrich::Sight;
use super::owners::{Owner, Owners};
use super::versions::Stamp;
use super::wanted::{Portion, Wanted};
use super::writer::{AHEAD, mark_of};
use super::{ProjectedEvent, Projection, Rows, TableSet};
use crate::failing::Failure;

/// The projection with all that user code touches.
pub(super) struct Applier<P: Projection> {
    pub(super) projection: std::sync::Arc<P>,
    pub(super) writers: <P::Tables as TableSet>::Writers,
    pub(super) events: EventReader<P::Event>,
    pub(super) wanted: Wanted,
    /// What it sees of other projections.
    pub(super) sight: Sight,
    /// Those beside itself that have rows of their own.
    pub(super) others: Vec<Owner<P>>,
    pub(super) owners: Owners,
}

impl<P: Projection> Applier<P> {
    pub(super) fn new(
        projection: std::sync::Arc<P>,
        writers: <P::Tables as TableSet>::Writers,
    ) -> Self {
        Self {
            wanted: projection.wanted(),
            projection,
            writers,
            events: EventReader::new(),
            sight: Sight::default(),
            others: Vec::new(),
            owners: Owners::default(),
        }
    }

    /// The same, with what it sees of other projections.
    pub(super) fn seeing(self, sight: Sight) -> Self {
        Self { sight, ..self }
    }

    /// How much is wanted of a frame with these kinds.
    pub(super) fn portion(&self, kinds: &[Kind]) -> Portion {
        self.wanted.portion(P::CATEGORY, kinds)
    }

    /// The kinds of events that are read from the log.
    pub(super) fn kinds(&self) -> WantedKinds {
        self.wanted.kinds(P::CATEGORY)
    }

    /// Whether an event is the projection's, as far as it can be told without asking user code.
    #[inline]
    pub(super) fn wants(&self, record: &Record<'_>) -> bool {
        self.wanted.has(P::CATEGORY, record)
    }

    /// Takes the shapes of the frame whose records come next.
    pub(super) fn begin(&mut self, frame: &Frame) -> Result<(), Failure> {
        let dictionary = frame.attachment(SHAPES).unwrap_or_default();
        self.events
            .begin_frame(dictionary)
            .map_err(Failure::unreadable)
    }

    /// Has the rows at hand that these events probably touch, [`AHEAD`] at most, where that pays.
    #[inline]
    pub(super) fn foresee(&mut self, records: &[Record<'_>]) {
        if P::Tables::foresees(&mut self.writers) {
            foresee::<P::Tables>(&self.writers, records.iter());
        }
    }

    /// Applies events of the frame begun last together. If that fails, nothing has changed.
    pub(super) fn apply_batch(
        &mut self,
        partition: PartitionId,
        records: &[Record<'_>],
    ) -> Result<(), Failure> {
        let (projection, writers) = (&*self.projection, &mut self.writers);
        let (events, wanted, sight) = (&mut self.events, &self.wanted, &self.sight);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let mut payloads = Vec::with_capacity(records.len());
            for record in records {
                if wanted.takes(partition, record) {
                    let payload = events.decode(record.kind, record.payload);
                    payloads.push((record, payload.map_err(Failure::unreadable)?));
                }
            }
            let batch = payloads.iter();
            let batch = batch.map(|(record, payload)| of_record(partition, record, payload, sight));
            let batch: Vec<_> = batch.collect();
            if !batch.is_empty() {
                projection
                    .project_batch(&batch, writers)
                    .map_err(Failure::of)?;
                sight.check().map_err(Failure::of)?;
                P::Tables::keep(writers).map_err(Failure::of)?;
            }
            Ok(())
        }));
        let applied = outcome.unwrap_or_else(|panic| Err(Failure::panicked(panic)));
        if applied.is_err() {
            self.undo();
            self.sight.take_fault();
        }
        applied
    }

    /// Applies an event of the frame begun last, with another payload if it was edited; gives whether the projection's filter
    /// took it. `late` is up to where the partition had been read, of an event that is freed behind others.
    #[inline]
    pub(super) fn apply_as(
        &mut self,
        edit: Option<&str>,
        partition: PartitionId,
        record: &Record<'_>,
        late: Option<Offset>,
    ) -> Result<bool, Failure> {
        self.sight.begin(partition, record.offset, late.is_some());
        let (projection, writers) = (&*self.projection, &mut self.writers);
        let (events, wanted, sight) = (&mut self.events, &self.wanted, &self.sight);
        let (others, owners) = (&mut self.others, self.owners.count());
        // Reading an event runs its `Deserialize` and upcasters, keeping its rows their `Serialize`: user
        // code as well.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            if !wanted.takes(partition, record) {
                return Ok(false);
            }
            let payload = match edit {
                None => events.decode(record.kind, record.payload),
                Some(edit) => events.decode_edited(record.kind, record.payload, edit),
            };
            let payload = payload.map_err(Failure::unreadable)?;
            let event = of_record(partition, record, &payload, sight);
            let writers = if P::ROWS == Rows::ByKey {
                match projection.route(&event).owner(owners).checked_sub(1) {
                    Some(other) => &mut others[other].writers,
                    None => writers,
                }
            } else {
                writers
            };
            P::Tables::begin(
                writers,
                &Stamp {
                    position: event.position,
                    recorded_at: event.recorded_at,
                    event_time: event.event_time,
                },
                late,
            );
            P::Tables::of_stream(writers, record.stream);
            if P::Tables::HAS_OUTBOXES {
                P::Tables::come_from(writers, event.id);
            }
            projection.project(&event, writers).map_err(Failure::of)?;
            sight.check().map_err(Failure::of)?;
            P::Tables::keep(writers).map_err(Failure::of)?;
            Ok(true)
        }));
        let failure = match outcome {
            Ok(Ok(taken)) => return Ok(taken),
            Ok(Err(failure)) => failure,
            Err(panic) => Failure::panicked(panic),
        };
        // Whatever the code made of a row that could not be had.
        let failure = self
            .sight
            .check()
            .map_err(Failure::of)
            .err()
            .unwrap_or(failure);
        self.undo();
        Err(failure)
    }
}

/// Has the rows at hand that events touch, as far as they are foreseen; of the first [`AHEAD`].
#[inline]
pub(super) fn foresee<'r, T: TableSet>(
    writers: &T::Writers,
    records: impl Iterator<Item = &'r Record<'r>>,
) {
    let mut streams = [0; AHEAD];
    let mut count = 0;
    for (stream, record) in streams.iter_mut().zip(records) {
        *stream = mark_of(record.stream);
        count += 1;
    }
    T::foresee(writers, &streams[..count]);
}

/// What the projection sees of a record.
#[inline]
pub(super) fn of_record<'r, E>(
    partition: PartitionId,
    record: &'r Record<'_>,
    payload: &'r E,
    sight: &'r Sight,
) -> ProjectedEvent<'r, E> {
    ProjectedEvent {
        id: record.stream,
        version: record.version,
        position: Position {
            partition,
            offset: record.offset,
        },
        recorded_at: record.recorded_at,
        event_time: record.event_time,
        metadata: &record.metadata,
        payload,
        sight,
    }
}
