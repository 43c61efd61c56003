//! `projection list`.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use millstream_engine::checkpoint::InState;
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::{EmbeddedReader, LogReader};
use millstream_engine::state::{ProgressStanding, ProjectionId, RegisteredProjection, StateStore};
use serde_json::{Value, json};

use super::folder::DataFolder;
use super::text::{number, one_line, table};
use crate::dataflow::table::dataflow_of;

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
    /// Rows of each table, in the order of the tables.
    rows: Vec<u64>,
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
    // What a dataflow's checkpoints are kept in is nobody's rows.
    for projection in projections.filter(|found| InState::dataflow_of(found).is_none()) {
        listed.push(look(&reader, &state, projection)?);
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
        "tables (rows)",
        "progress/log",
        "behind",
        "dead letters",
    ]);
    for one in &listed {
        printed.add_row(vec![
            one_line(&one.projection.name, usize::MAX).into(),
            number(one.projection.version),
            tables(one).into(),
            progress(one).into(),
            behind(one).map_or_else(|| "".into(), number),
            number(one.dead_letters),
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
    let rows = projection.tables.iter().map(|&table| state.count(table));
    let rows = rows.collect::<Result<_, _>>()?;
    let dead_letters = state.dead_letter_count(Some(projection.id))?;
    let mut places = Vec::new();
    if let Some(dataflow) = dataflow_of(&projection, state, reader.partitions())? {
        return Ok(Listed {
            rows,
            places,
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
    Ok(Listed {
        rows,
        places,
        dataflow: None,
        dead_letters,
        projection,
    })
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
        .zip(&one.rows)
        .map(|(name, rows)| format!("{} ({rows})", one_line(name, usize::MAX)))
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
        .zip(&one.rows)
        .map(|(name, rows)| json!({ "name": name.as_str(), "rows": rows }))
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
        "tables": tables,
        "partitions": partitions,
        "behind": behind(one),
        "dead_letters": one.dead_letters,
    })
}
