//! Enrichment: while a projection applies an event, it looks up rows of another one as of that event's position.
//!
//! Place: versions of the rows of one projection (`versions`) -> **a projection that names them in [`Reads`]** -> its own
//! rows. *As of* an event means: as all events up to it, and it itself, have left them. In which order, depends on who looks:
//!
//! | looks | sees | rows of |
//! |---|---|---|
//! | [`Rows::Global`] and [`Order::Recorded`] | what events of all partitions made that were recorded before it | [`Rows::ByPartition`], or global and recorded |
//! | any other | what events of its own partition made, before it | [`Rows::ByPartition`] |
//!
//! Invariants: (1) an answer depends on the log alone, not on how far either projection has come: the same live, in a rebuild,
//! after a restart and in a replay; (2) the position is the event's, nobody can ask for another; (3) what cannot be answered
//! ends the projection with a [`LookupError`], whatever its code makes of it; (4) an event is not applied before all up to it
//! is *stored* by those that are read.
//! An event of the projection that is read which failed has left nothing as of the events behind it; once freed it counts for
//! those behind the place that the projection had come to. That place is stored with the change, so a rebuild sees the same.
//! Of a projection with [`Rows::Global`], which has one sequence of changes for all partitions, a freed event counts from the
//! next event of its own partition on, or the next change by an event in its turn, whichever comes first.
//! Failure: one that waits says so ([`ProgressBoard::waits_for`](super::ProgressBoard::waits_for)); it waits for as long as
//! that takes, also for one that was given up.
//! Cost: changes of a table are followed in order, 256 per read of the store; a row that was looked up is kept until it
//! changes, 4,096 of them per table; others cost about three reads. Latency: that of a store of the other
//! (`changes_every_ms` while somebody waits).
//! Not here: several tables of one projection, which its code reads as it writes them.

mod beside;
mod companion;
mod error;
mod following;
mod lane;
mod late;
mod sight;
mod stored;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

pub use error::{LookupError, ReadFault};

pub(super) use beside::{Beside, Given, given};
use companion::{Companion, Replayed};
pub(super) use following::Following;
pub(super) use sight::{Scope, Sight};

use super::{
    AnyReader, HotRows, Order, ProgressBoard, Projection, Row, Rows, Table, TableKey, TableReader,
    TableSet,
};

/// Tables of other projections that one looks into: see [`Projection::reads`].
///
/// ```
/// # use millstream_operators::aggregate::Event;
/// use millstream_operators::projection::{
///     ProjectedEvent, Projection, Reads, Retention, Rows, Table, TableMut, project,
/// };
/// # use serde::{Deserialize, Serialize};
/// # use std::convert::Infallible;
/// # #[derive(Serialize, Deserialize)] enum Priced { To(u64) }
/// # impl Event for Priced {}
/// # #[derive(Serialize, Deserialize)] enum Ordered { Item(String) }
/// # impl Event for Ordered {}
///
/// const PRICES: Table<String, u64> = Table::named("prices").versioned(Retention::FOREVER);
/// struct Prices;
/// # impl Projection for Prices {
/// #     const NAME: &'static str = "prices";
/// #     const VERSION: u32 = 1;
/// #     const ROWS: Rows = Rows::ByPartition;
/// #     const CATEGORY: &'static str = "item";
/// #     type Event = Priced;
/// #     type Tables = (Table<String, u64>,);
/// #     type Error = Infallible;
/// #     fn tables(&self) -> Self::Tables { (PRICES,) }
/// #     fn project(&self, event: &ProjectedEvent<'_, Priced>, (prices,): &mut (TableMut<String, u64>,))
/// #         -> Result<(), Infallible> {
/// #         let Priced::To(price) = event.payload;
/// #         prices.put(&event.id.to_owned(), *price);
/// #         Ok(())
/// #     }
/// # }
/// const SUMS: Table<String, u64> = Table::named("sums");
/// struct Sums;
///
/// impl Projection for Sums {
/// #     const NAME: &'static str = "sums";
/// #     const VERSION: u32 = 1;
/// #     const ROWS: Rows = Rows::ByPartition;
/// #     const CATEGORY: &'static str = "order";
/// #     type Event = Ordered;
/// #     type Tables = (Table<String, u64>,);
/// #     type Error = Infallible;
/// #     fn tables(&self) -> Self::Tables { (SUMS,) }
///     fn reads(&self) -> Reads {
///         Reads::none().table(Prices, &PRICES)
///     }
///
///     fn project(
///         &self,
///         event: &ProjectedEvent<'_, Ordered>,
///         (sums,): &mut (TableMut<String, u64>,),
///     ) -> Result<(), Infallible> {
///         let Ordered::Item(item) = event.payload;
///         // As it was when the order came, whenever this runs.
///         let price = event.look_up(&PRICES, item).unwrap_or_default();
///         sums.update(&event.id.to_owned(), |sum| *sum += price);
///         Ok(())
///     }
///     // …
/// }
///
/// project(Sums)
///     .given_row(&PRICES, "pen", 3)
///     .events("17", [Ordered::Item("pen".to_owned())])
///     .given_row(&PRICES, "pen", 5)
///     .events("17", [Ordered::Item("pen".to_owned())])
///     .then_row(&SUMS, "17", 8);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Reads {
    all: Vec<TableRead>,
}

impl Reads {
    /// None.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// And a table of `of`, in the version that this type is.
    #[must_use]
    pub fn table<Q: Projection, K: TableKey, R: Row>(mut self, of: Q, table: &Table<K, R>) -> Self {
        let tables = of.tables();
        let at = tables.names().iter().position(|own| *own == table.name());
        let hot = at.and_then(|at| tables.hot().into_iter().nth(at));
        let is_there = hot.is_some_and(|hot| hot.is::<HotRows<K, R>>());
        let is_versioned = at.is_some_and(|at| tables.versioned().get(at) == Some(&true));
        let (name, table_name) = (Q::NAME, table.name());
        let fault = match (is_there, is_versioned) {
            (false, _) => Some(ReadFault::NoTable {
                of: name,
                table: table_name,
            }),
            (true, false) => Some(ReadFault::NotVersioned {
                of: name,
                table: table_name,
            }),
            (true, true) => None,
        };
        self.all.push(TableRead {
            of: name,
            version: Q::VERSION,
            table: table_name,
            rows: Q::ROWS,
            order: Q::ORDER,
            fault,
            make: Arc::new(Made {
                of: Arc::new(of),
                table: *table,
            }),
        });
        self
    }

    /// And those of another, each once.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for read in other.all {
            let is_same = |own: &TableRead| {
                (own.of, own.version, own.table) == (read.of, read.version, read.table)
            };
            if !self.all.iter().any(is_same) {
                self.all.push(read);
            }
        }
        self
    }

    /// Each of them.
    pub fn all(&self) -> impl Iterator<Item = &TableRead> {
        self.all.iter()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether the projection of this name may read them, as far as that can be told without the others of a topology.
    #[must_use]
    pub fn faults<P: Projection>(&self) -> Vec<ReadFault> {
        self.all().filter_map(TableRead::fault_of::<P>).collect()
    }
}

/// One table of another projection that one reads.
#[derive(Clone)]
pub struct TableRead {
    of: &'static str,
    version: u32,
    table: &'static str,
    rows: Rows,
    order: Order,
    fault: Option<ReadFault>,
    make: Arc<dyn Make>,
}

impl fmt::Debug for TableRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableRead")
            .field("of", &self.of)
            .field("version", &self.version)
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

impl TableRead {
    /// Name of the projection that is read.
    #[must_use]
    pub const fn of(&self) -> &'static str {
        self.of
    }

    /// Its version.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// The table.
    #[must_use]
    pub const fn table(&self) -> &'static str {
        self.table
    }

    fn fault_of<P: Projection>(&self) -> Option<ReadFault> {
        if self.fault.is_some() {
            return self.fault.clone();
        }
        let of = self.of;
        if of == P::NAME {
            return Some(ReadFault::Cycle { of });
        }
        match (self.rows, self.order) {
            (Rows::ByPartition, _) => None,
            (Rows::ByKey, _) | (Rows::Global, Order::Arrival) => Some(ReadFault::ByArrival { of }),
            (Rows::Global, Order::Recorded) => {
                (Scope::of::<P>() == Scope::Partition).then_some(ReadFault::OtherOrder { of })
            }
        }
    }
}

/// Readers of the tables that a projection reads, in the order of its [`Reads`].
#[derive(Clone, Default)]
pub struct OpenReads(pub Vec<Arc<dyn AnyReader>>);

impl fmt::Debug for OpenReads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OpenReads").field(&self.0.len()).finish()
    }
}

/// What makes places to look into, of a table whose types it knows.
trait Make: Send + Sync {
    /// Versions of its rows, and the board of who stores them; `None` if the reader is one of another table.
    fn stored(
        &self,
        reader: &dyn AnyReader,
        scope: Scope,
        is_global: bool,
    ) -> Option<(Box<dyn Any + Send>, Arc<ProgressBoard>)>;
    /// Rows in memory.
    fn shown(&self, hot: Arc<dyn Any + Send + Sync>) -> Option<Box<dyn Any + Send>>;
    /// No rows yet.
    fn nothing(&self) -> Arc<dyn Any + Send + Sync>;
    /// The projection, replayed.
    fn companion(&self) -> Box<dyn Companion>;
}

struct Made<Q, K: 'static, R: 'static> {
    of: Arc<Q>,
    table: Table<K, R>,
}

impl<Q: Projection, K: TableKey, R: Row> Make for Made<Q, K, R> {
    fn stored(
        &self,
        reader: &dyn AnyReader,
        scope: Scope,
        is_global: bool,
    ) -> Option<(Box<dyn Any + Send>, Arc<ProgressBoard>)> {
        let reader: &TableReader<K, R> = reader.as_any().downcast_ref()?;
        let board = Arc::clone(reader.board());
        let stored = stored::Stored::new(reader.clone(), scope, is_global)?;
        Some((Box::new(sight::Seen::Stored(stored)), board))
    }

    fn shown(&self, hot: Arc<dyn Any + Send + Sync>) -> Option<Box<dyn Any + Send>> {
        let hot = hot.downcast::<HotRows<K, R>>().ok()?;
        Some(Box::new(sight::Seen::Shown(hot)))
    }

    fn nothing(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::new(HotRows::<K, R>::of(&self.table))
    }

    fn companion(&self) -> Box<dyn Companion> {
        Box::new(Replayed::new(Arc::clone(&self.of)))
    }
}
