//! `projection list`: what is stored of each version, how far behind it is, and how it fares where it runs.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use millstream_engine::checkpoint::InState;
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::{EmbeddedReader, LogReader};
use millstream_engine::state::{
    ProgressStanding, ProjectionId, RegisteredProjection, RowsSize, StateStore,
};
use millstream_engine::time::{Clock, SystemClock};
use millstream_operators::projection::effects_of;
use serde_json::{Value, json};

use super::asking::is_running;
use super::folder::DataFolder;
use super::text::{number, one_line, table};
use super::versions::figures;
use crate::dataflow::table::dataflow_of;

/// Longest that an engine is waited for, which is looked at without it as well.
const ANSWER_SECONDS: u64 = 3;

/// How far a projection's stored rows are in one partition.
struct Place {
    partition: PartitionId,
    next: Offset,
    head: Offset,
    standing: ProgressStanding,
}

/// What is known of one projection.
struct Listed {
    projection: RegisteredProjection,
    /// Whether it answers queries, where there are versions.
    is_active: bool,
    /// Rows of each table and their bytes, in the order of the tables.
    sizes: Vec<RowsSize>,
    /// How long ago the oldest event was recorded that is not in the stored rows.
    age: Option<Duration>,
    /// As the running engine tells it.
    running: Option<Value>,
    /// Of a projection alone: a dataflow makes its tables anew at each start.
    places: Vec<Place>,
    /// Whose tables they are, if not a projection's.
    dataflow: Option<String>,
    dead_letters: u64,
}

/// Names of the registered projections by id.
pub(super) fn names(state: &StateStore) -> Result<HashMap<ProjectionId, String>> {
    let projections = state.projections()?.into_iter();
    Ok(projections
        .map(|found| (found.id, found.name.to_string()))
        .collect())
}

pub(super) fn list(data: &Path, is_json: bool, out: &mut impl Write) -> Result<()> {
    let folder = DataFolder::find(data)?;
    let (reader, state) = (folder.log()?, folder.state()?);
    let mut listed = Vec::new();
    let projections = state.projections()?.into_iter();
    // Such as a program of an earlier version that does not know the question.
    let running = if is_running(&folder)? {
        figures(&folder, None, ANSWER_SECONDS).unwrap_or_default()
    } else {
        Vec::new()
    };
    // What a dataflow's checkpoints or the effects of a projection are kept in is nobody's rows.
    let is_rows = |found: &RegisteredProjection| {
        InState::dataflow_of(found).is_none() && effects_of(found).is_none()
    };
    for projection in projections.filter(is_rows) {
        let mut one = look(&reader, &state, projection)?;
        let own = |found: &&Value| {
            found["projection"] == one.projection.name.as_str()
                && found["version"] == one.projection.version
        };
        one.running = running.iter().find(own).cloned();
        listed.push(one);
    }
    if is_json {
        for one in &listed {
            writeln!(out, "{}", to_json(one))?;
        }
        return Ok(());
    }
    if listed.is_empty() {
        writeln!(out, "no projection was ever registered here")?;
        return Ok(());
    }
    let mut printed = table(&[
        "projection",
        "version",
        "answers",
        "tables (rows)",
        "bytes",
        "progress/log",
        "behind",
        "for",
        "dead letters",
        "failures",
        "restarts",
    ]);
    for one in &listed {
        printed.add_row(vec![
            one_line(&one.projection.name, usize::MAX).into(),
            number(one.projection.version),
            if one.is_active { "yes" } else { "" }.into(),
            tables(one).into(),
            number(one.bytes()),
            progress(one).into(),
            behind(one).map_or_else(|| "".into(), number),
            one.age
                .map_or_else(|| "".into(), |age| format!("{age:.1?}").into()),
            number(one.dead_letters),
            one.figure("failures").map_or_else(|| "-".into(), number),
            one.figure("restarts").map_or_else(|| "-".into(), number),
        ]);
    }
    writeln!(out, "{}", printed.trim_fmt())?;
    Ok(())
}

fn look(
    reader: &EmbeddedReader,
    state: &StateStore,
    projection: RegisteredProjection,
) -> Result<Listed> {
    let sizes = projection.tables.iter().map(|&table| state.size(table));
    let sizes = sizes.collect::<Result<_, _>>()?;
    let known = state.versions(&projection.name)?;
    let is_active = known.is_some_and(|known| known.active == projection.version);
    let dead_letters = state.dead_letter_count(Some(projection.id))?;
    let mut places = Vec::new();
    if let Some(dataflow) = dataflow_of(&projection, state, reader.partitions())? {
        return Ok(Listed {
            is_active,
            sizes,
            places,
            age: None,
            running: None,
            dataflow: Some(dataflow.to_owned()),
            dead_letters,
            projection,
        });
    }
    for partition in (0..reader.partitions()).map(PartitionId) {
        // Progress before the head: so a projection never seems to be ahead of a log that goes on.
        let progress = state
            .progress(projection.id, partition)?
            .unwrap_or_default();
        places.push(Place {
            partition,
            next: progress.next,
            standing: progress.check(reader, partition)?,
            head: reader.head(partition)?.next,
        });
    }
    let mut age = Some(Duration::ZERO);
    for place in places.iter().filter(|place| place.next < place.head) {
        age = age.max(Some(age_of(reader, place)?));
    }
    Ok(Listed {
        is_active,
        sizes,
        places,
        age,
        running: None,
        dataflow: None,
        dead_letters,
        projection,
    })
}

/// How long ago the first event was recorded that is not in the stored rows of a partition.
fn age_of(reader: &EmbeddedReader, place: &Place) -> Result<Duration> {
    let frames = reader.read(place.partition, place.next, 1)?;
    let mut records = frames.iter().flat_map(|frame| frame.records());
    let first = records.find(|record| record.offset >= place.next);
    let now = SystemClock::new().now();
    Ok(first.map_or(Duration::ZERO, |first| now.since(first.recorded_at)))
}

impl Listed {
    fn bytes(&self) -> u64 {
        self.sizes.iter().map(|size| size.bytes).sum()
    }

    fn figure(&self, name: &str) -> Option<u64> {
        self.running
            .as_ref()
            .and_then(|running| running[name].as_u64())
    }
}

/// Events that are not applied; tables of a dataflow do not count them.
fn behind(one: &Listed) -> Option<u64> {
    let each = one.places.iter();
    let behind = each.map(|place| place.head.0.saturating_sub(place.next.0));
    one.dataflow.is_none().then(|| behind.sum())
}

fn tables(one: &Listed) -> String {
    let tables: Vec<_> = one
        .projection
        .table_names
        .iter()
        .zip(&one.sizes)
        .map(|(name, size)| format!("{} ({})", one_line(name, usize::MAX), size.rows))
        .collect();
    tables.join(", ")
}

/// `0:12/12 1:7/9`: partition, events applied, events in the log.
fn progress(one: &Listed) -> String {
    if one.dataflow.is_some() {
        return "made anew at each start".to_owned();
    }
    let places: Vec<_> = one
        .places
        .iter()
        .map(|place| {
            let note = match place.standing {
                ProgressStanding::Valid => "",
                ProgressStanding::AheadOfLog => " (ahead of this log)",
                ProgressStanding::OtherHistory => " (of another log)",
            };
            format!("{}:{}/{}{note}", place.partition, place.next, place.head)
        })
        .collect();
    places.join(" ")
}

fn to_json(one: &Listed) -> Value {
    let tables: Vec<_> = one
        .projection
        .table_names
        .iter()
        .zip(&one.sizes)
        .map(|(name, size)| {
            let (rows, bytes) = (size.rows, size.bytes);
            json!({ "name": name.as_str(), "rows": rows, "bytes": bytes })
        })
        .collect();
    let partitions: Vec<_> = one
        .places
        .iter()
        .map(|place| {
            let standing = match place.standing {
                ProgressStanding::Valid => "valid",
                ProgressStanding::AheadOfLog => "ahead_of_log",
                ProgressStanding::OtherHistory => "other_history",
            };
            let (partition, next, head) = (place.partition.0, place.next.0, place.head.0);
            json!({ "partition": partition, "next": next, "log": head, "standing": standing })
        })
        .collect();
    json!({
        "projection": one.projection.name.as_str(),
        "dataflow": one.dataflow,
        "id": one.projection.id.0,
        "version": one.projection.version,
        "active": one.is_active,
        "bytes": one.bytes(),
        "tables": tables,
        "partitions": partitions,
        "behind": behind(one),
        "behind_seconds": one.age.map(|age| age.as_secs_f64()),
        "dead_letters": one.dead_letters,
        "failures": one.figure("failures"),
        "restarts": one.figure("restarts"),
    })
}
