//! What is known of one projection, and what cannot be read of it.

use std::time::Duration;

use anyhow::Result;
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::{EmbeddedReader, LogError, LogReader};
use millstream_engine::state::{ProgressStanding, RegisteredProjection, RowsSize, StateStore};
use millstream_engine::time::{Clock, SystemClock};
use serde_json::Value;

use crate::dataflow::table::dataflow_of;

/// How far a projection's stored rows are in one partition. What the log does not give is `None`.
pub(super) struct Place {
    pub(super) partition: PartitionId,
    pub(super) next: Offset,
    pub(super) head: Option<Offset>,
    pub(super) standing: Option<ProgressStanding>,
}

/// What is known of one projection.
pub(super) struct Listed {
    pub(super) projection: RegisteredProjection,
    /// Whether it answers queries, where there are versions.
    pub(super) is_active: bool,
    /// Rows of each table and their bytes, in the order of the tables.
    pub(super) sizes: Vec<RowsSize>,
    /// How long ago the oldest event was recorded that is not in the stored rows; `None` also where that cannot be read.
    pub(super) age: Option<Duration>,
    /// As the running engine tells it.
    pub(super) running: Option<Value>,
    /// Of a projection alone: a dataflow makes its tables anew at each start.
    pub(super) places: Vec<Place>,
    /// Whose tables they are, if not a projection's.
    pub(super) dataflow: Option<String>,
    pub(super) dead_letters: u64,
    /// Why not all of it can be read, each cause once.
    pub(super) unreadable: Vec<String>,
}

impl Listed {
    /// Looks at a projection. What the log cannot tell of it is left out, and why is kept.
    ///
    /// # Errors
    /// The state cannot be read.
    pub(super) fn look(
        reader: &EmbeddedReader,
        state: &StateStore,
        projection: RegisteredProjection,
    ) -> Result<Self> {
        let sizes = projection.tables.iter().map(|&table| state.size(table));
        let sizes = sizes.collect::<Result<_, _>>()?;
        let known = state.versions(&projection.name)?;
        let is_active = known.is_some_and(|known| known.active == projection.version);
        let dead_letters = state.dead_letter_count(Some(projection.id))?;
        let dataflow = dataflow_of(&projection, state, reader.partitions())?;
        let mut listed = Self {
            is_active,
            sizes,
            age: None,
            running: None,
            places: Vec::new(),
            dataflow: dataflow.map(str::to_owned),
            dead_letters,
            unreadable: Vec::new(),
            projection,
        };
        if listed.dataflow.is_some() {
            return Ok(listed);
        }
        for partition in (0..reader.partitions()).map(PartitionId) {
            // Progress before the head: so a projection never seems to be ahead of a log that goes on.
            let progress = state
                .progress(listed.projection.id, partition)?
                .unwrap_or_default();
            let standing = listed.read(progress.check(reader, partition));
            let head = listed.read(reader.head(partition));
            listed.places.push(Place {
                partition,
                next: progress.next,
                head: head.map(|head| head.next),
                standing,
            });
        }
        listed.age = listed.age_of_oldest(reader);
        Ok(listed)
    }

    /// What the log gave; what it did not is noted.
    fn read<T>(&mut self, given: Result<T, LogError>) -> Option<T> {
        let noted = |error: LogError| {
            let cause = error.to_string();
            if !self.unreadable.contains(&cause) {
                self.unreadable.push(cause);
            }
        };
        given.map_err(noted).ok()
    }

    fn age_of_oldest(&mut self, reader: &EmbeddedReader) -> Option<Duration> {
        let behind = self.places.iter().filter(|place| place.is_behind());
        let ages: Vec<_> = behind.map(|place| age_of(reader, place)).collect();
        let mut oldest = Some(Duration::ZERO);
        for age in ages {
            // An age that is not known may be the greatest.
            oldest = oldest.zip(self.read(age)).map(|(a, b)| a.max(b));
        }
        oldest.filter(|_| self.places.iter().all(|place| place.head.is_some()))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.sizes.iter().map(|size| size.bytes).sum()
    }

    pub(super) fn figure(&self, name: &str) -> Option<u64> {
        let running = self.running.as_ref();
        running.and_then(|running| running[name].as_u64())
    }

    /// Events that are not applied; tables of a dataflow do not count them, and `None` also where the log does not say.
    pub(super) fn behind(&self) -> Option<u64> {
        let behind = |place: &Place| Some(place.head?.0.saturating_sub(place.next.0));
        let behind = self.places.iter().map(behind).sum::<Option<u64>>();
        behind.filter(|_| self.dataflow.is_none())
    }
}

impl Place {
    fn is_behind(&self) -> bool {
        self.head.is_some_and(|head| self.next < head)
    }
}

/// How long ago the first event was recorded that is not in the stored rows of a partition.
fn age_of(reader: &EmbeddedReader, place: &Place) -> Result<Duration, LogError> {
    let frames = reader.read(place.partition, place.next, 1)?;
    let mut records = frames.iter().flat_map(|frame| frame.records());
    let first = records.find(|record| record.offset >= place.next);
    let now = SystemClock::new().now();
    Ok(first.map_or(Duration::ZERO, |first| now.since(first.recorded_at)))
}
