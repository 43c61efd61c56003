//! Finding the outboxes of a projection again, or making a place for them; and who sends from here on.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::LogReader;
use millstream_engine::metrics::OutboxMetrics;
use millstream_engine::state::{
    ProjectionId, RegisteredProjection, StateError, StateStore, StateWriterHandle,
};
use millstream_engine::time::Timestamp;
use uuid::Uuid;

use super::DeclaredOutbox;
use super::asides::put_back;
use super::cuts::Cuts;
use super::format::{keys_of, prefix};
use super::histories::put_aside;
use super::outlets::{CUTS, OutletIds, Outlets, OutletsParts};
use super::waiting::{OutboxState, PartitionState};

/// Of the names under which outboxes are registered: a place beside the versions of a projection, so that what one has sent is
/// there when that version is dropped.
const OWNER: &str = "effects of ";
const VERSION: u32 = 1;
const TABLES: [&str; 3] = ["effects", "given up", "records"];
const FORMAT: u8 = 1;

/// The projection whose outboxes are registered so; `None` if it is a projection itself.
#[must_use]
pub fn effects_of(registered: &RegisteredProjection) -> Option<&str> {
    let projection = registered.name.strip_prefix(OWNER)?;
    let is_ours = registered.version == VERSION && registered.table_names == TABLES;
    is_ours.then_some(projection)
}

/// What a projection's outboxes are opened with.
#[doc(hidden)]
pub struct OpenOutlets<'o> {
    /// Name of the projection.
    pub projection: &'static str,
    /// The outboxes of all of its versions, each once.
    pub outboxes: &'o [DeclaredOutbox],
    /// The rows of the version that answers.
    pub active: ProjectionId,
    /// The rows of all that are registered under the name.
    pub registered: &'o [ProjectionId],
    /// Offset behind the last durable event of each partition.
    pub heads: &'o [Offset],
    /// Identity of the log.
    pub store_id: Option<Uuid>,
    /// The log: whether it still has the events of what is stored.
    pub log: &'o dyn LogReader,
    /// Now.
    pub now: Timestamp,
    /// Stored rows.
    pub store: &'o StateStore,
    /// Stores rows.
    pub writer: &'o StateWriterHandle,
}

impl fmt::Debug for OpenOutlets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenOutlets")
            .field("projection", &self.projection)
            .field("outboxes", &self.outboxes)
            .finish_non_exhaustive()
    }
}

impl Outlets {
    /// Opens the outboxes of a projection. What they are begun with, and who sends from where on, is durable when this
    /// returns. Blocks on the state's writer.
    ///
    /// # Errors
    /// [`StateError`].
    #[doc(hidden)]
    pub fn open(parts: &OpenOutlets<'_>) -> Result<Arc<Self>, StateError> {
        let (store, writer) = (parts.store, parts.writer);
        let name = format!("{OWNER}{}", parts.projection);
        let tables = writer.register_projection(&name, VERSION, &TABLES)?.tables;
        let ids = OutletIds {
            effects: tables[0],
            given_up: tables[1],
            records: tables[2],
        };
        let known = store.get(ids.records, CUTS)?;
        let mut cuts = match &known {
            Some(bytes) => Cuts::decode(bytes).ok_or_else(|| damaged("who sends what"))?,
            None => Cuts::default(),
        };
        go_on(&mut cuts, parts)?;
        cuts.end_at(parts.heads);
        let mut boxes = Vec::with_capacity(parts.outboxes.len());
        let mut begun = Vec::new();
        for outbox in parts.outboxes {
            let key = begin_key(outbox.name);
            let stored = store.get(ids.records, &key)?;
            let mut begin = match &stored {
                Some(bytes) => read_begin(bytes).ok_or_else(|| damaged("where effects begin"))?,
                None if outbox.from_start => vec![Offset(0); parts.heads.len()],
                None => parts.heads.to_vec(),
            };
            // A log that ends before that is an older one: what is appended to it is sent.
            let heads = begin.iter_mut().zip(parts.heads);
            heads.for_each(|(begin, head)| *begin = (*begin).min(*head));
            put_aside(parts, ids, outbox.name)?;
            put_back(parts, ids, outbox.name, &cuts)?;
            let encoded = write_begin(&begin);
            if stored.as_ref() != Some(&encoded) {
                begun.push((key, encoded));
            }
            boxes.push(state_of(parts.projection, outbox, begin, ids, store)?);
        }
        let encoded = cuts.encode();
        if known.as_ref() != Some(&encoded) {
            begun.push((CUTS.to_vec(), encoded));
        }
        let outlets = Self::new(OutletsParts {
            projection: parts.projection,
            store_id: parts.store_id,
            ids,
            store: store.clone(),
            writer: writer.clone(),
            cuts,
            boxes,
        });
        if !begun.is_empty() {
            for (key, value) in begun {
                outlets.record(&key, value)?;
            }
            // Lost in a power failure, it would begin later the next time, and leave out what came before.
            writer.sync()?;
        }
        Ok(outlets)
    }
}

/// Has the version that answers go on where the one before it ends.
fn go_on(cuts: &mut Cuts, parts: &OpenOutlets<'_>) -> Result<(), StateError> {
    let Some(last) = cuts.last().cloned() else {
        cuts.add(parts.active, &vec![Offset(0); parts.heads.len()]);
        return Ok(());
    };
    if last.owner == parts.active {
        return Ok(());
    }
    let now = stored(parts, parts.active)?;
    if !parts.registered.contains(&last.owner) {
        let is_anew = now.iter().all(|next| *next == Offset(0));
        let mut ends = last.from.iter().zip(parts.heads);
        if is_anew || ends.any(|(from, head)| from > head) {
            tracing::warn!(
                projection = parts.projection,
                "the rows of the version that sent effects are gone: they begin with what is appended from now on"
            );
            *cuts = Cuts::default();
            cuts.add(parts.active, parts.heads);
            return Ok(());
        }
        // It was dropped at rest, after a switch at rest.
        tracing::warn!(
            projection = parts.projection,
            "the version that sent effects was dropped before the one that answers has run: effects go on with what that one \
             has still to apply, and those of events that only it had applied are sent by nobody"
        );
        cuts.add(parts.active, &now);
        return Ok(());
    }
    let before = stored(parts, last.owner)?;
    let both = || before.iter().copied().zip(now.iter().copied());
    let left_out: u64 = both()
        .map(|(before, now)| now.0.saturating_sub(before.0))
        .sum();
    if left_out > 0 {
        tracing::warn!(
            projection = parts.projection,
            events = left_out,
            "the version that answers has applied events that the one which answered before has not: their effects are sent \
             by that one, if it runs"
        );
    }
    let from: Vec<_> = both().map(|(before, now)| before.max(now)).collect();
    cuts.add(parts.active, &from);
    Ok(())
}

/// Offsets behind what the stored rows of a version have seen.
fn stored(parts: &OpenOutlets<'_>, id: ProjectionId) -> Result<Vec<Offset>, StateError> {
    let partitions = (0..).map(PartitionId).take(parts.heads.len());
    let next = |partition| {
        let progress = parts.store.progress(id, partition)?;
        Ok(progress.unwrap_or_default().next)
    };
    partitions.map(next).collect()
}

fn state_of(
    projection: &str,
    outbox: &DeclaredOutbox,
    begin: Vec<Offset>,
    ids: OutletIds,
    store: &StateStore,
) -> Result<OutboxState, StateError> {
    let count = u16::try_from(begin.len()).unwrap_or(u16::MAX);
    let partitions = (0..count).map(|partition| {
        let (first, last) = keys_of(outbox.name, PartitionId(partition));
        let (first, last) = (Bound::Included(&first[..]), Bound::Included(&last[..]));
        // Cost: a walk over their keys.
        let size = store.size_between(ids.effects, first, last)?;
        Ok(PartitionState::of(size))
    });
    Ok(OutboxState {
        name: outbox.name,
        effect: outbox.effect,
        begin,
        partitions: partitions.collect::<Result<_, StateError>>()?,
        rows_max: AtomicU64::new(u64::MAX),
        metrics: OutboxMetrics::new(projection, outbox.name, count),
    })
}

fn damaged(what: &'static str) -> StateError {
    StateError::Format {
        database: "effects",
        what,
    }
}

fn begin_key(outbox: &str) -> Vec<u8> {
    [b"begin\0", &prefix(outbox)[..]].concat()
}

fn write_begin(begin: &[Offset]) -> Vec<u8> {
    let offsets = begin.iter().flat_map(|offset| offset.0.to_be_bytes());
    std::iter::once(FORMAT).chain(offsets).collect()
}

fn read_begin(bytes: &[u8]) -> Option<Vec<Offset>> {
    let (offsets, rest) = bytes.strip_prefix(&[FORMAT])?.as_chunks::<8>();
    let offsets = offsets
        .iter()
        .map(|offset| Offset(u64::from_be_bytes(*offset)));
    rest.is_empty().then(|| offsets.collect())
}
