//! The test kit: given these events, a projection has these rows. No engine, no files, no threads.
//!
//! Events are applied one by one, as a stage does it: all changes of one or none, and a row must be written and read
//! back as it was. What a stage does beyond that is not here: parking, tries, batches, stores.
//!
//! ```
//! use millstream_operators::aggregate::Event;
//! use millstream_operators::projection::{
//!     ProjectedEvent, Projection, Rows, Table, TableMut, project,
//! };
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! enum DoorEvent { Opened, Closed }
//! impl Event for DoorEvent {}
//!
//! const OPEN: Table<String, u32> = Table::named("open");
//! /// How often each door that is open was opened.
//! struct OpenDoors;
//! impl Projection for OpenDoors {
//!     const NAME: &'static str = "open-doors";
//!     const VERSION: u32 = 1;
//!     const ROWS: Rows = Rows::ByPartition;
//!     const CATEGORY: &'static str = "door";
//!     type Event = DoorEvent;
//!     type Tables = (Table<String, u32>,);
//!     type Error = std::convert::Infallible;
//!     fn tables(&self) -> Self::Tables { (OPEN,) }
//!     fn project(
//!         &self,
//!         event: &ProjectedEvent<'_, DoorEvent>,
//!         (open,): &mut (TableMut<String, u32>,),
//!     ) -> Result<(), Self::Error> {
//!         let id = event.id.to_owned();
//!         match event.payload {
//!             DoorEvent::Opened => open.update(&id, |times| *times += 1),
//!             DoorEvent::Closed => open.remove(&id),
//!         }
//!         Ok(())
//!     }
//! }
//!
//! project(OpenDoors)
//!     .events("front", [DoorEvent::Opened, DoorEvent::Opened])
//!     .events("back", [DoorEvent::Opened])
//!     .then_row(&OPEN, "front", 2)
//!     .events("front", [DoorEvent::Closed])
//!     .then_no_row(&OPEN, "front")
//!     .then_rows(&OPEN, [("back", 1)]);
//! ```

mod batches;
mod by_key;
mod expecting;
mod rows;
mod scene;
#[cfg(test)]
mod tests;

pub use batches::same_in_batches;
pub use by_key::same_by_key;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use millstream_engine::codec::{Event, EventEncoder};
use millstream_engine::event::{EventId, Metadata};
use millstream_engine::log::frame::{Kind, Record};
use millstream_engine::time::Timestamp;

use super::enrich::{Given, given};
use super::in_memory::InMemory;
use super::outbox::{Outlet, Sent};
use super::versions::Stamp;
use super::{HotRows, Projection, Row, Table, TableKey, TableSet};
use crate::failing::Failure;
use scene::Scene;

/// A projection and what it has made of the events so far.
pub struct Projected<P: Projection> {
    projection: P,
    names: Vec<&'static str>,
    hot: Vec<Arc<dyn Any + Send + Sync>>,
    writers: <P::Tables as TableSet>::Writers,
    /// Events so far, by stream.
    versions: BTreeMap<String, u64>,
    /// Events so far.
    count: u64,
    scene: Scene,
    given: Vec<Given>,
    /// Effects of them, in order, that nobody has looked at yet.
    sent: Vec<Sent>,
    /// Streams of events that failed, where that is no error.
    parked: BTreeSet<String>,
}

impl<P: Projection> Debug for Projected<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Projected")
            .field("projection", &P::NAME)
            .field("events", &self.count)
            .finish_non_exhaustive()
    }
}

/// A projection that has seen no event.
///
/// # Panics
/// When two of its tables or outboxes have one name, as no topology may have.
#[track_caller]
pub fn project<P: Projection>(projection: P) -> Projected<P> {
    let tables = projection.tables();
    let outboxes = tables.outboxes();
    let names = outboxes.iter().map(|outbox| outbox.name);
    let mut names: Vec<_> = names.chain(tables.names()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|two| two[0] == two[1]) {
        panic!("{} has {:?} twice", P::NAME, twice[0]);
    }
    let InMemory {
        mut writers, hot, ..
    } = InMemory::of(&tables);
    P::Tables::connect(&mut writers, &Outlet::kept());
    let (sight, given) = given(&projection.reads());
    Projected {
        projection,
        scene: Scene {
            now: Timestamp::EPOCH,
            metadata: Metadata::default(),
            sight,
        },
        given,
        names: tables.names(),
        hot,
        writers,
        versions: BTreeMap::new(),
        count: 0,
        sent: Vec::new(),
        parked: BTreeSet::new(),
    }
}

impl<P: Projection> Projected<P> {
    /// Lets the next events have happened and been recorded at this time; 1970-01-01 otherwise.
    #[must_use]
    pub fn at(mut self, now: Timestamp) -> Self {
        self.scene.now = now;
        self
    }

    /// Lets the next events have this metadata; none otherwise.
    #[must_use]
    pub fn with(mut self, metadata: Metadata) -> Self {
        self.scene.metadata = metadata;
        self
    }

    /// Applies events of the stream with this id, without its category. They all lie in partition 0.
    ///
    /// # Panics
    /// When one is not applied.
    #[track_caller]
    pub fn events(mut self, id: &str, events: impl IntoIterator<Item = P::Event>) -> Self {
        for event in events {
            if let Err(cause) = self.apply(id, &event) {
                let version = self.versions.get(id).copied().unwrap_or(0);
                panic!("event {version} of {}-{id} failed: {cause}", P::CATEGORY);
            }
        }
        self
    }

    /// Lets the next events find this row in the table of another projection.
    ///
    /// # Panics
    /// When the projection does not say that it reads the table, with such keys and rows.
    #[must_use]
    #[track_caller]
    pub fn given_row<K: TableKey, R: Row>(
        self,
        table: &Table<K, R>,
        key: impl Into<K>,
        row: R,
    ) -> Self {
        self.given(table).set(key.into(), Some(row), 0);
        self
    }

    /// Lets the next events find no row under this key in the table of another projection, as before the first.
    ///
    /// # Panics
    /// As [`given_row`](Self::given_row).
    #[must_use]
    #[track_caller]
    pub fn given_no_row<K: TableKey, R: Row>(self, table: &Table<K, R>, key: impl Into<K>) -> Self {
        self.given(table).set(key.into(), None, 0);
        self
    }

    #[track_caller]
    fn given<K: TableKey, R: Row>(&self, table: &Table<K, R>) -> &HotRows<K, R> {
        let name = table.name();
        let found = self.given.iter().find(|(own, _)| *own == name);
        let found = found.and_then(|(_, hot)| hot.downcast_ref());
        found.unwrap_or_else(|| {
            panic!(
                "{} does not read a table {name:?} with such keys and rows",
                P::NAME
            )
        })
    }

    /// Expects that an event of the stream with this id fails, with an error that has `cause` in its text or those of its causes, and goes
    /// on as if it had never been. What it changed before it failed does not count.
    ///
    /// # Panics
    /// When it is applied or fails for another reason.
    #[track_caller]
    pub fn failing(mut self, id: &str, event: P::Event, cause: &str) -> Self {
        match self.apply(id, &event) {
            Ok(()) => panic!("expected the failure {cause:?}, the event was applied"),
            Err(found) => assert!(
                found.contains(cause),
                "expected the failure {cause:?}, the event failed for another reason: {found}"
            ),
        }
        self
    }

    fn apply(&mut self, id: &str, event: &P::Event) -> Result<(), String> {
        let version = self.versions.get(id).copied().unwrap_or(0);
        let applied = match self.is_wanted(id, version, event)? {
            true => self.project(id, version, event),
            false => Ok(()),
        };
        if applied.is_ok() {
            self.versions.insert(id.to_owned(), version + 1);
            self.count += 1;
        } else {
            P::Tables::undo(&mut self.writers);
        }
        P::Tables::publish(&mut self.writers);
        P::Tables::take_sent(&mut self.writers, &mut self.sent);
        applied
    }

    /// Whether a stage would apply it: what it does not want it passes over.
    fn is_wanted(&self, id: &str, version: u64, event: &P::Event) -> Result<bool, String> {
        let (position, mut payload) = (scene::position(self.count), Vec::new());
        let event_type = EventEncoder::new().encode(event, &mut payload);
        let kind = Kind {
            category: P::CATEGORY.into(),
            event_type: event_type.map_err(|error| error.to_string())?.into(),
            schema_version: P::Event::VERSION,
            encoding: P::Event::ENCODING,
        };
        let record = Record {
            id: EventId::derived("kit", id, version),
            kind: &kind,
            stream: id,
            version,
            offset: position.offset,
            recorded_at: self.scene.now,
            event_time: self.scene.now,
            metadata: self.scene.metadata.clone(),
            payload: &payload,
        };
        let wanted = self.projection.wanted();
        Ok(wanted.has(P::CATEGORY, &record) && wanted.takes(position.partition, &record))
    }

    fn project(&mut self, id: &str, version: u64, payload: &P::Event) -> Result<(), String> {
        let event = self.scene.event(self.count, (id, version), payload);
        P::Tables::begin(
            &mut self.writers,
            &Stamp {
                position: event.position,
                recorded_at: event.recorded_at,
                event_time: event.event_time,
            },
            None,
        );
        P::Tables::come_from(&mut self.writers, id);
        let projected = self.projection.project(&event, &mut self.writers);
        if let Some(fault) = self.scene.sight.take_fault() {
            return Err(fault.to_string());
        }
        projected.map_err(|error| Failure::of(error).causes().join(": "))?;
        P::Tables::keep(&mut self.writers).map_err(|error| error.to_string())
    }
}
