//! `projection list`: what is stored of each version, how far behind it is, and how it fares where it runs.

mod listed;

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Result, bail};
use millstream_engine::checkpoint::InState;
use millstream_engine::state::{ProgressStanding, ProjectionId, RegisteredProjection, StateStore};
use millstream_operators::projection::effects_of;
use serde_json::{Value, json};

use self::listed::Listed;
use super::asking::is_running;
use super::folder::DataFolder;
use super::text::{number, one_line, table};
use super::versions::figures;

/// Longest that an engine is waited for, which is looked at without it as well.
const ANSWER_SECONDS: u64 = 3;

/// Names of the registered projections by id.
pub(super) fn names(state: &StateStore) -> Result<HashMap<ProjectionId, String>> {
    let projections = state.projections()?.into_iter();
    Ok(projections
        .map(|found| (found.id, found.name.to_string()))
        .collect())
}

/// Prints all projections; what cannot be read of some is the failure, after the others are printed.
pub(super) fn list(data: &Path, is_json: bool, out: &mut impl Write) -> Result<()> {
    let folder = DataFolder::find(data)?;
    let (reader, state) = (folder.log()?, folder.state()?);
    let (mut listed, mut unreadable) = (Vec::new(), Vec::new());
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
        let name = one_line(&projection.name, usize::MAX);
        let name = format!("{name} version {}", projection.version);
        let mut one = match Listed::look(&reader, &state, projection) {
            Ok(one) => one,
            Err(error) => {
                unreadable.push(format!("{name}: {error:#}"));
                continue;
            }
        };
        let causes = one.unreadable.iter();
        unreadable.extend(causes.map(|cause| format!("{name}: {cause}")));
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
    } else if !listed.is_empty() {
        print(&listed, out)?;
    } else if unreadable.is_empty() {
        writeln!(out, "no projection was ever registered here")?;
    }
    if !unreadable.is_empty() {
        bail!("not all can be read: {}", unreadable.join("; "));
    }
    Ok(())
}

fn print(listed: &[Listed], out: &mut impl Write) -> Result<()> {
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
    for one in listed {
        // Where something cannot be read; a dataflow has none.
        let unknown = if one.dataflow.is_none() { "?" } else { "" };
        printed.add_row(vec![
            one_line(&one.projection.name, usize::MAX).into(),
            number(one.projection.version),
            if one.is_active { "yes" } else { "" }.into(),
            tables(one).into(),
            number(one.bytes()),
            progress(one).into(),
            one.behind().map_or_else(|| unknown.into(), number),
            one.age
                .map_or_else(|| unknown.into(), |age| format!("{age:.1?}").into()),
            number(one.dead_letters),
            one.figure("failures").map_or_else(|| "-".into(), number),
            one.figure("restarts").map_or_else(|| "-".into(), number),
        ]);
    }
    writeln!(out, "{}", printed.trim_fmt())?;
    Ok(())
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
                Some(ProgressStanding::Valid) => "",
                Some(ProgressStanding::AheadOfLog) => " (ahead of this log)",
                Some(ProgressStanding::OtherHistory) => " (of another log)",
                None => " (unreadable)",
            };
            let head = place.head.map_or("?".to_owned(), |head| head.to_string());
            format!("{}:{}/{head}{note}", place.partition, place.next)
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
                Some(ProgressStanding::Valid) => "valid",
                Some(ProgressStanding::AheadOfLog) => "ahead_of_log",
                Some(ProgressStanding::OtherHistory) => "other_history",
                None => "unreadable",
            };
            let (partition, next) = (place.partition.0, place.next.0);
            let head = place.head.map(|head| head.0);
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
        "behind": one.behind(),
        "behind_seconds": one.age.map(|age| age.as_secs_f64()),
        "dead_letters": one.dead_letters,
        "failures": one.figure("failures"),
        "restarts": one.figure("restarts"),
        "unreadable": one.unreadable,
    })
}
