//! Whether a projection leaves the same rows however its events are cut into batches.

use std::collections::BTreeMap;

use super::rows::{Rows, check};
use super::{Projected, project};
use crate::projection::{Projection, TableSet};

/// Ways of cutting that are tried beside batches of all sizes.
const RANDOM_CUTS: u64 = 8;

/// Expects that these events, in this order, leave the same rows one by one and in batches, however they are cut: the law of
/// [`Projection::project_batch`]. An event is given with the id of its stream, without the category. Events that fail are left
/// out, with those of their stream behind them. Rows are compared as they are stored, so a row with a map or set in no order
/// may differ from itself.
///
/// ```
/// use millstream_operators::aggregate::Event;
/// use millstream_operators::projection::{
///     ProjectedEvent, Projection, Rows, Table, TableMut, same_in_batches,
/// };
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Serialize, Deserialize)]
/// struct Paid(i64);
/// impl Event for Paid {}
///
/// const SUM: Table<String, i64> = Table::named("sum");
/// /// One row, that is changed once per batch.
/// struct Sum;
/// impl Projection for Sum {
///     const NAME: &'static str = "sum";
///     const VERSION: u32 = 1;
///     const ROWS: Rows = Rows::Global;
///     const CATEGORY: &'static str = "payment";
///     type Event = Paid;
///     type Tables = (Table<String, i64>,);
///     type Error = std::convert::Infallible;
///     const BATCH: usize = 64;
///     fn tables(&self) -> Self::Tables { (SUM,) }
///     fn project(
///         &self,
///         event: &ProjectedEvent<'_, Paid>,
///         tables: &mut (TableMut<String, i64>,),
///     ) -> Result<(), Self::Error> {
///         self.project_batch(std::slice::from_ref(event), tables)
///     }
///     fn project_batch(
///         &self,
///         events: &[ProjectedEvent<'_, Paid>],
///         (sum,): &mut (TableMut<String, i64>,),
///     ) -> Result<(), Self::Error> {
///         let paid: i64 = events.iter().map(|event| event.payload.0).sum();
///         sum.update(&"all".to_owned(), |sum| *sum += paid);
///         Ok(())
///     }
/// }
///
/// same_in_batches(|| Sum, (0..100).map(|n| ("42", Paid(n))));
/// ```
///
/// # Panics
/// When some rows differ: says for which way of cutting.
#[track_caller]
pub fn same_in_batches<'i, P: Projection>(
    make: impl Fn() -> P,
    events: impl IntoIterator<Item = (&'i str, P::Event)>,
) {
    let events: Vec<_> = events.into_iter().collect();
    let one_by_one = rows_of(project(make()), &events, |_| 1);
    let sizes = (2..=P::BATCH.min(events.len().max(2))).map(|size| (size as u64, false));
    let chances = (1..=RANDOM_CUTS).map(|seed| (seed, true));
    for (number, is_random) in sizes.chain(chances) {
        let size = |cut: u64| match is_random {
            true => 1 + (mixed(number, cut) as usize) % P::BATCH.max(2),
            false => usize::try_from(number).unwrap_or(usize::MAX),
        };
        let found = rows_of(project(make()), &events, size);
        let way = if is_random {
            "random batches"
        } else {
            "batches of one size"
        };
        check(
            &one_by_one,
            &found,
            (&format!("in {way}, {number}"), "one by one"),
        );
    }
}

/// Numbers that look random.
fn mixed(seed: u64, at: u64) -> u64 {
    let bytes = at.to_be_bytes();
    xxhash_rust::xxh3::xxh3_64_with_seed(&bytes, seed) >> 1
}

fn rows_of<P: Projection>(
    mut projected: Projected<P>,
    events: &[(&str, P::Event)],
    size: impl Fn(u64) -> usize,
) -> Rows {
    let (mut rest, mut cut) = (events, 0);
    while !rest.is_empty() {
        let (batch, behind) = rest.split_at(size(cut).clamp(1, rest.len()));
        projected.apply_batch(batch);
        (rest, cut) = (behind, cut + 1);
    }
    projected.stored_rows()
}

impl<P: Projection> Projected<P> {
    /// As a stage does it: together, or one by one where that fails. An event has its place whatever becomes of it and of those
    /// before it, as in a log: one that fails moves no other.
    fn apply_batch(&mut self, batch: &[(&str, P::Event)]) {
        let first = self.count;
        if batch.len() == 1 || !self.apply_together(batch) {
            P::Tables::undo(&mut self.writers);
            for (at, (id, payload)) in (first..).zip(batch) {
                self.count = at;
                if !self.parked.contains(*id) && self.apply(id, payload).is_err() {
                    self.parked.insert((*id).to_owned());
                }
            }
        }
        self.count = first + batch.len() as u64;
        P::Tables::publish(&mut self.writers);
    }

    /// Gives whether that went well.
    fn apply_together(&mut self, batch: &[(&str, P::Event)]) -> bool {
        let first = self.count;
        let mut versions = BTreeMap::new();
        let mut events = Vec::with_capacity(batch.len());
        for (at, (id, payload)) in (first..).zip(batch) {
            if self.parked.contains(*id) {
                continue;
            }
            let known = self.versions.get(*id).copied().unwrap_or(0);
            let version = versions.entry(*id).or_insert(known);
            self.count = at;
            let event = self.scene.event(at, (id, *version), payload);
            match self.is_wanted(id, *version, payload) {
                Ok(true) => events.push(event),
                Ok(false) => {}
                // It cannot be written, and fails by itself.
                Err(_) => return false,
            }
            *version += 1;
        }
        let is_applied = events.is_empty()
            || (self
                .projection
                .project_batch(&events, &mut self.writers)
                .is_ok()
                && P::Tables::keep(&mut self.writers).is_ok());
        if is_applied {
            for (id, version) in versions {
                self.versions.insert(id.to_owned(), version);
            }
        }
        is_applied
    }
}
