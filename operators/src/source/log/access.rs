//! How dataflows reach the log: what is committed, what was, and which categories hold events of a type.

use std::any::TypeId;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use millstream_engine::codec::Event;
use millstream_engine::log::{Feed, StreamReader};

/// The log as dataflows reach it: a value of the [`Resources`](millstream_engine::flow::Resources).
#[derive(Clone)]
pub struct LogAccess {
    pub(super) feed: Arc<Feed>,
    pub(super) streams: Arc<dyn StreamReader>,
    /// Categories by event type, where an aggregate writes that type.
    categories: Arc<HashMap<TypeId, Vec<String>>>,
}

impl LogAccess {
    /// A log whose categories hold events of unknown types.
    #[must_use]
    pub fn new(feed: Arc<Feed>, streams: Arc<dyn StreamReader>) -> Self {
        Self {
            feed,
            streams,
            categories: Arc::default(),
        }
    }

    /// The same with the categories that hold events of each type.
    #[must_use]
    pub fn with_categories(self, categories: HashMap<TypeId, Vec<String>>) -> Self {
        Self {
            categories: Arc::new(categories),
            ..self
        }
    }

    /// Committed frames.
    #[must_use]
    pub fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// The log, for reading.
    #[must_use]
    pub fn streams(&self) -> &Arc<dyn StreamReader> {
        &self.streams
    }

    /// Categories whose aggregates write events of type `E`; empty if none is known.
    #[must_use]
    pub fn categories_of<E: Event>(&self) -> &[String] {
        let found = self.categories.get(&TypeId::of::<E>());
        found.map_or(&[], Vec::as_slice)
    }
}

impl fmt::Debug for LogAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogAccess")
            .field("partitions", &self.feed.partitions())
            .finish_non_exhaustive()
    }
}
