//! Whether a projection leaves the same rows however many owners they have.

use super::rows::{Rows, check};
use super::{Projected, project};
use crate::projection::Projection;

/// Most owners that are tried.
const OWNERS_MAX: usize = 5;

/// Expects that these events, in this order, leave the same rows whether one owner applies all of them or several those of their
/// keys: the law of [`Projection::route`]. An event is given with the id of its stream, without the category. Events that fail
/// are left out, with those of their stream behind them. Rows are compared as they are stored, so a row with a map or set in no
/// order may differ from itself. Keys are shared out by hash: give it some dozens.
///
/// ```
/// use millstream_operators::aggregate::Event;
/// use millstream_operators::projection::{
///     ProjectedEvent, Projection, Route, Rows, Table, TableMut, same_by_key,
/// };
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Serialize, Deserialize)]
/// struct Sold { product: u32, units: i64 }
/// impl Event for Sold {}
///
/// const UNITS: Table<u32, i64> = Table::named("units");
/// /// Units by product, of sales that lie in the streams of customers.
/// struct Units;
/// impl Projection for Units {
///     const NAME: &'static str = "units";
///     const VERSION: u32 = 1;
///     const ROWS: Rows = Rows::ByKey;
///     const CATEGORY: &'static str = "customer";
///     type Event = Sold;
///     type Tables = (Table<u32, i64>,);
///     type Error = std::convert::Infallible;
///     fn tables(&self) -> Self::Tables { (UNITS,) }
///     fn route(&self, event: &ProjectedEvent<'_, Sold>) -> Route {
///         Route::of(event.payload.product)
///     }
///     fn project(
///         &self,
///         event: &ProjectedEvent<'_, Sold>,
///         (units,): &mut (TableMut<u32, i64>,),
///     ) -> Result<(), Self::Error> {
///         units.update(&event.payload.product, |sum| *sum += event.payload.units);
///         Ok(())
///     }
/// }
///
/// same_by_key(|| Units, (0..100).map(|n| ("42", Sold { product: n % 30, units: 1 })));
/// ```
///
/// # Panics
/// When some rows differ: says for how many owners.
#[track_caller]
pub fn same_by_key<'i, P: Projection>(
    make: impl Fn() -> P,
    events: impl IntoIterator<Item = (&'i str, P::Event)>,
) {
    let events: Vec<_> = events.into_iter().collect();
    let by_one = rows_of(&make, 1, &events).unwrap_or_default();
    for owners in 2..=OWNERS_MAX {
        match rows_of(&make, owners, &events) {
            Some(found) => check(&by_one, &found, (&format!("by {owners} owners"), "by one")),
            None => panic!(
                "by {owners} owners: a row has two, for two events that change it have other routes"
            ),
        }
    }
}

/// What so many owners leave; `None` if two of them have the same row.
fn rows_of<P: Projection>(
    make: &impl Fn() -> P,
    owners: usize,
    events: &[(&str, P::Event)],
) -> Option<Rows> {
    let mut all: Vec<_> = (0..owners).map(|_| project(make())).collect();
    for (count, (id, payload)) in (0..).zip(events) {
        if all[0].parked.contains(*id) {
            continue;
        }
        all[0].count = count;
        let version = all[0].versions.get(*id).copied().unwrap_or(0);
        let owner = match all[0].is_wanted(id, version, payload) {
            Ok(true) => all[0].owner_of(id, version, payload, owners),
            // Nobody is asked; what cannot be written fails anywhere.
            Ok(false) | Err(_) => 0,
        };
        let own = &mut all[owner];
        own.count = count;
        own.versions.insert((*id).to_owned(), version);
        let is_applied = own.apply(id, payload).is_ok();
        // Its stream goes on, or stands, for all of them.
        if is_applied {
            all[0].versions.insert((*id).to_owned(), version + 1);
        } else {
            all[0].parked.insert((*id).to_owned());
        }
    }
    let mut rows = Rows::new();
    for (key, row) in all.iter_mut().flat_map(Projected::stored_rows) {
        if rows.insert(key, row).is_some() {
            return None;
        }
    }
    Some(rows)
}

impl<P: Projection> Projected<P> {
    fn owner_of(&self, id: &str, version: u64, payload: &P::Event, owners: usize) -> usize {
        let event = self.scene.event(self.count, (id, version), payload);
        self.projection.route(&event).owner(owners)
    }
}
