//! The write side of an outbox: what each event sends, until it is handed to the store.

mod handed;

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;

use millstream_engine::codec::{EncodeError, StandaloneWriter};
use millstream_engine::event::{Offset, PartitionId, Position};
use millstream_engine::state::{RowsSize, StateStore, StateWrite};
use millstream_engine::time::Timestamp;

use self::handed::{Handed, PartOfBatch};
use super::super::error::RowError;
use super::super::fresh::HandedOver;
use super::super::reader::AnyReader;
use super::super::tables::Taken;
use super::super::verify::{Looked, TableCheck};
use super::super::versions::Stamp;
use super::super::{PastTables, Places, ProgressBoard, QueryError, Row, TableSet};
use super::format::{self, Span};
use super::ways::{Outlet, Way};
use super::{DeclaredOutbox, EffectPlace, Outbox};

/// Sends effects, inside [`Projection::project`](super::super::Projection::project).
pub struct OutboxMut<E> {
    name: &'static str,
    out: Out,
    stamp: Stamp,
    /// Id of the stream of the event that is being applied.
    stream: String,
    /// Effects of it so far, silent ones included.
    count: u32,
    /// Those that are sent.
    event: Vec<Sent>,
    /// Of events that are kept and were not handed to the store.
    pending: Vec<Sent>,
    pending_bytes: usize,
    failed: Option<EncodeError>,
    writer: StandaloneWriter,
    types: PhantomData<fn(E)>,
}

/// Where what is sent goes.
enum Out {
    /// Nowhere: a replay, or the like.
    Nowhere,
    /// To whoever looks.
    Kept,
    Stored(Stored),
}

struct Stored {
    way: Way,
    /// Place of the outbox among those of the projection.
    at: usize,
    handed_over: Arc<Handed>,
}

/// One effect as it would be stored.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Sent {
    pub(in crate::projection) outbox: &'static str,
    place: EffectPlace,
    pub(in crate::projection) stored: Vec<u8>,
}

impl Sent {
    /// Id of its stream, and its value.
    pub(in crate::projection) fn parts(&self) -> (&str, &[u8]) {
        let stored = format::read(&self.stored).expect("it was written just now");
        (stored.key, stored.value)
    }
}

impl<E> std::fmt::Debug for OutboxMut<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutboxMut")
            .field("name", &self.name)
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}

impl<E: Row> OutboxMut<E> {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            out: Out::Nowhere,
            stamp: Stamp {
                position: Position {
                    partition: PartitionId(0),
                    offset: Offset(0),
                },
                recorded_at: Timestamp::MIN,
                event_time: Timestamp::MIN,
            },
            stream: String::new(),
            count: 0,
            event: Vec::new(),
            pending: Vec::new(),
            pending_bytes: 0,
            failed: None,
            writer: StandaloneWriter::new(),
            types: PhantomData,
        }
    }

    /// Sends an effect, once the event is stored; not at all if it fails, and where the event is applied again, as in a
    /// rebuild or a replay. One that cannot be written fails the event there as well.
    pub fn send(&mut self, effect: E) {
        if self.failed.is_some() {
            return;
        }
        let place = EffectPlace {
            position: self.stamp.position,
            index: self.count,
        };
        self.count = self.count.saturating_add(1);
        let is_sent = match &self.out {
            Out::Nowhere => false,
            Out::Kept => true,
            Out::Stored(out) => out.way.sends(out.at, place.position),
        };
        if !is_sent {
            self.failed = self.writer.check(&effect).err();
            return;
        }
        let mut stored = format::begin(&self.stamp, &self.stream);
        match self.writer.append(&effect, &mut stored) {
            Ok(()) => self.event.push(Sent {
                outbox: self.name,
                place,
                stored,
            }),
            Err(cause) => self.failed = Some(cause),
        }
    }
}

impl<E: Row> TableSet for Outbox<E> {
    type Writers = OutboxMut<E>;

    const HAS_OUTBOXES: bool = true;

    fn names(&self) -> Vec<&'static str> {
        Vec::new()
    }

    fn outboxes(&self) -> Vec<DeclaredOutbox> {
        vec![DeclaredOutbox {
            name: self.name,
            from_start: self.from_start,
            effect: std::any::TypeId::of::<E>(),
        }]
    }

    fn names_beside(&self) -> Vec<String> {
        Vec::new()
    }

    fn versioned(&self) -> Vec<bool> {
        Vec::new()
    }

    fn unique_indexes(&self) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    fn need_each_event(&self) -> bool {
        true
    }

    fn hot(&self) -> Vec<Arc<dyn Any + Send + Sync>> {
        Vec::new()
    }

    fn take_writers(&self, _: &mut Taken<'_>, _: &Places<'_>) -> Option<Self::Writers> {
        Some(OutboxMut::new(self.name))
    }

    fn take_readers(
        &self,
        _: &mut Taken<'_>,
        _: &StateStore,
        _: &Arc<ProgressBoard>,
    ) -> Option<Vec<(&'static str, Arc<dyn AnyReader>)>> {
        Some(Vec::new())
    }

    fn verify_into(
        &self,
        _: &Looked<'_>,
        _: &PastTables,
        _: &mut Vec<TableCheck>,
    ) -> Result<(), QueryError> {
        Ok(())
    }

    fn connect(writer: &mut Self::Writers, outlet: &Outlet) {
        let Some(way) = outlet.way() else {
            writer.out = Out::Kept;
            return;
        };
        let mut boxes = way.outlets.boxes.iter();
        let Some(at) = boxes.position(|own| own.name == writer.name) else {
            return;
        };
        writer.out = Out::Stored(Stored {
            way: way.clone(),
            at,
            handed_over: Handed::of(&way.outlets, at),
        });
    }

    #[inline]
    fn begin(writer: &mut Self::Writers, stamp: &Stamp, _: Option<Offset>) {
        writer.stamp = *stamp;
        writer.count = 0;
    }

    #[inline]
    fn come_from(writer: &mut Self::Writers, id: &str) {
        writer.stream.clear();
        writer.stream.push_str(id);
    }

    #[inline]
    fn foresees(_: &mut Self::Writers) -> bool {
        false
    }

    fn foresee(_: &Self::Writers, _: &[u64]) {}

    #[inline]
    fn of_stream(_: &mut Self::Writers, _: &str) {}

    fn effects(writer: &Self::Writers) -> usize {
        writer.pending.len()
    }

    fn take_sent(writer: &mut Self::Writers, into: &mut Vec<Sent>) {
        writer.pending_bytes = 0;
        into.append(&mut writer.pending);
    }

    #[inline]
    fn check(writer: &mut Self::Writers) -> Result<(), RowError> {
        writer
            .failed
            .take()
            .map_or(Ok(()), |cause| Err(RowError::Encode(cause)))
    }

    #[inline]
    fn keep_checked(writer: &mut Self::Writers) {
        let bytes = |sent: &Sent| sent.stored.len() + size_of::<Sent>();
        writer.pending_bytes += writer.event.iter().map(bytes).sum::<usize>();
        writer.pending.append(&mut writer.event);
    }

    fn undo(writer: &mut Self::Writers) {
        writer.event.clear();
        writer.failed = None;
    }

    fn publish(_: &mut Self::Writers) -> usize {
        0
    }

    fn unstored(writer: &Self::Writers) -> usize {
        writer.pending.len()
    }

    fn pending_bytes(writer: &Self::Writers) -> usize {
        writer.pending_bytes
    }

    fn store(
        writer: &mut Self::Writers,
        writes: &mut Vec<StateWrite>,
    ) -> Result<Vec<HandedOver>, EncodeError> {
        writer.pending_bytes = 0;
        let Out::Stored(out) = &writer.out else {
            writer.pending.clear();
            return Ok(Vec::new());
        };
        if writer.pending.is_empty() {
            return Ok(Vec::new());
        }
        let table = out.way.outlets.ids.effects;
        let mut counts = vec![None; out.way.outlets.boxes[out.at].partitions.len()];
        writes.extend(writer.pending.drain(..).map(|sent| {
            let own = &mut counts[usize::from(sent.place.position.partition.0)];
            let (span, key) = (Span::of(sent.place), sent.place.key(sent.outbox));
            let (mut size, known) = own.unwrap_or((RowsSize::default(), span));
            size.add_row(key.len(), sent.stored.len());
            *own = Some((size, known.and(span)));
            StateWrite::PutRow {
                table,
                key,
                value: sent.stored,
            }
        }));
        let partitions = out.way.outlets.boxes[out.at].partitions.iter();
        let batch = partitions.zip(counts).map(|(partition, own)| {
            own.map(|(size, span)| PartOfBatch {
                size,
                span,
                is_late: partition.hand_over(span),
            })
        });
        let batch = batch.collect();
        Ok(vec![out.handed_over.add(batch)])
    }

    fn rows(_: &Self::Writers) -> usize {
        0
    }

    fn uses(_: &Self::Writers, _: &mut Vec<u64>) {}

    fn let_go(_: &mut Self::Writers, _: u64) {}
}
