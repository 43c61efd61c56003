//! Projections that are put together from smaller ones.
//!
//! A [`Handler`] is what a projection does, without what only a whole one has: a name, a version, owners of rows. A tuple of
//! handlers is a handler; so is one that is [given a part](Handler::of) of each event, or [some events](Handler::only). What the
//! whole does for an event is kept or undone as one.
//!
//! ```
//! use millstream_operators::aggregate::Event;
//! use millstream_operators::projection::{
//!     Handler, HandlerError, ProjectedEvent, Projection, Rows, Table, TableMut, TableSet, project,
//! };
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Sale { country: String, cents: i64 }
//! #[derive(Serialize, Deserialize)]
//! enum OrderEvent { Sold(Sale), Shipped }
//! impl Event for OrderEvent {}
//! impl OrderEvent {
//!     fn sale(&self) -> Option<&Sale> {
//!         match self { Self::Sold(sale) => Some(sale), Self::Shipped => None }
//!     }
//! }
//!
//! /// Adds up sales, whatever events they come from.
//! struct Revenue(Table<String, i64>);
//! impl Handler<Sale> for Revenue {
//!     type Tables = Table<String, i64>;
//!     type Error = std::convert::Infallible;
//!     fn tables(&self) -> Self::Tables { self.0 }
//!     fn handle(
//!         &self,
//!         sale: &ProjectedEvent<'_, Sale>,
//!         revenue: &mut TableMut<String, i64>,
//!     ) -> Result<(), Self::Error> {
//!         revenue.update(&sale.payload.country, |sum| *sum += sale.payload.cents);
//!         Ok(())
//!     }
//! }
//!
//! /// Counts events of any type, by stream.
//! struct Count(Table<String, u64>);
//! impl<E: 'static> Handler<E> for Count {
//!     type Tables = Table<String, u64>;
//!     type Error = std::convert::Infallible;
//!     fn tables(&self) -> Self::Tables { self.0 }
//!     fn handle(
//!         &self,
//!         event: &ProjectedEvent<'_, E>,
//!         counts: &mut TableMut<String, u64>,
//!     ) -> Result<(), Self::Error> {
//!         counts.update(&event.id.to_owned(), |count| *count += 1);
//!         Ok(())
//!     }
//! }
//!
//! const REVENUE: Table<String, i64> = Table::named("revenue");
//! const EVENTS: Table<String, u64> = Table::named("events");
//!
//! struct Orders;
//! impl Orders {
//!     fn parts() -> impl Handler<OrderEvent, Tables = <Self as Projection>::Tables, Error = HandlerError> {
//!         (Revenue(REVENUE).of(OrderEvent::sale), Count(EVENTS))
//!     }
//! }
//! impl Projection for Orders {
//!     const NAME: &'static str = "orders";
//!     const VERSION: u32 = 1;
//!     const ROWS: Rows = Rows::Global;
//!     const CATEGORY: &'static str = "order";
//!     type Event = OrderEvent;
//!     type Tables = (Table<String, i64>, Table<String, u64>);
//!     type Error = HandlerError;
//!     fn tables(&self) -> Self::Tables { Self::parts().tables() }
//!     fn project(
//!         &self,
//!         event: &ProjectedEvent<'_, OrderEvent>,
//!         tables: &mut <Self::Tables as TableSet>::Writers,
//!     ) -> Result<(), HandlerError> {
//!         Self::parts().handle(event, tables)
//!     }
//! }
//!
//! let sold = |cents| OrderEvent::Sold(Sale { country: "NO".into(), cents });
//! project(Orders)
//!     .events("7", [sold(300), OrderEvent::Shipped])
//!     .events("8", [sold(500)])
//!     .then_rows(&REVENUE, [("NO", 800)])
//!     .then_rows(&EVENTS, [("7", 2), ("8", 1)]);
//! ```

mod error;
mod narrowed;
mod tuples;

use std::error::Error;

pub use error::HandlerError;
pub use narrowed::{Of, Only};

use super::{ProjectedEvent, Reads, TableSet};

/// What writers a handler is given: those of its tables.
type WritersOf<H, E> = <<H as Handler<E>>::Tables as TableSet>::Writers;

/// A part of a projection: what events of type `E` change in tables of its own. Which events are
/// [wanted](super::Projection::wanted), in which order, and who owns the rows is a matter of the whole.
pub trait Handler<E>: Send + Sync + 'static {
    /// Its tables, as [`Projection::Tables`](super::Projection::Tables).
    type Tables: TableSet;
    /// Why it can fail; [`std::convert::Infallible`] if it cannot.
    type Error: Error + Send + Sync + 'static;

    /// The descriptions of its tables. Those of all parts of a projection have different names.
    fn tables(&self) -> Self::Tables;

    /// Tables of other projections that it looks into; none unless said otherwise. The whole hands on what its parts read, in
    /// [`Projection::reads`](super::Projection::reads): one that does not stops at the first event that looks.
    fn reads(&self) -> Reads {
        Reads::none()
    }

    /// Applies one event, as [`Projection::project`](super::Projection::project).
    ///
    /// # Errors
    /// What kept it from being applied. Nothing that any part of the projection changed counts then.
    fn handle(
        &self,
        event: &ProjectedEvent<'_, E>,
        tables: &mut <Self::Tables as TableSet>::Writers,
    ) -> Result<(), Self::Error>;

    /// Applies many events at once, under the law of [`Projection::project_batch`](super::Projection::project_batch).
    ///
    /// # Errors
    /// What kept a batch from being applied.
    fn handle_batch(
        &self,
        events: &[ProjectedEvent<'_, E>],
        tables: &mut <Self::Tables as TableSet>::Writers,
    ) -> Result<(), Self::Error> {
        events
            .iter()
            .try_for_each(|event| self.handle(event, tables))
    }

    /// The same for what `part` finds in each event of another type; it passes over those in which it finds nothing.
    fn of<W, F>(self, part: F) -> Of<Self, E, F>
    where
        Self: Sized,
        F: for<'w> Fn(&'w W) -> Option<&'w E> + Send + Sync + 'static,
    {
        Of {
            handler: self,
            part,
            events: std::marker::PhantomData,
        }
    }

    /// The same for those events for which `holds` says so.
    fn only<F>(self, holds: F) -> Only<Self, F>
    where
        Self: Sized,
        F: Fn(&ProjectedEvent<'_, E>) -> bool + Send + Sync + 'static,
    {
        Only {
            handler: self,
            holds,
        }
    }
}
