//! Requests of the command line about versions of projections of the running engine.
//!
//! Place: `projection progress|compare|switch|switch-back|drop` -> [`asking`](super::asking) -> **here** ->
//! [`Rebuild`](super::Rebuild). Answers are JSON, as the command prints it with `--json`.

use millstream_operators::projection::{ComparedTable, Comparison};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Engine, RebuildError, VersionProgress, asking};

/// What such questions are called.
pub(crate) const KIND: &str = "projection";

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    /// Name of the projection; all of them if it is not said, which only progress can be asked of.
    pub(crate) projection: Option<String>,
    /// The version that is meant, if it was said.
    pub(crate) version: Option<u32>,
    pub(crate) action: Action,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    /// Tell how far each version is.
    Progress,
    /// Compare a candidate with the version that answers.
    Compare {
        /// Only the fields that both rows have.
        common_fields: bool,
    },
    /// Have a candidate answer.
    Switch,
    /// Have the version answer again that did before.
    SwitchBack,
    /// Drop a version.
    Drop,
}

/// Has tasks take up what was asked.
pub(super) fn take_up(engine: &Engine) {
    asking::take_up(engine, KIND, answer);
}

async fn answer(engine: Engine, request: Request) -> Result<Value, String> {
    act(&engine, &request)
        .await
        .map_err(|error| error.to_string())
}

async fn act(engine: &Engine, request: &Request) -> Result<Value, RebuildError> {
    let Some(name) = request.projection.as_deref() else {
        return Ok(all_progress(&engine.projections()));
    };
    let mut rebuild = engine.rebuild(name)?;
    if let (Some(version), false) = (request.version, request.action == Action::Drop) {
        rebuild = rebuild.to(version)?;
    }
    let before = rebuild.active();
    Ok(match request.action {
        Action::Progress => all_progress(&rebuild.versions()),
        Action::Compare {
            common_fields: true,
        } => comparison(&rebuild.compare_common_fields().await?),
        Action::Compare {
            common_fields: false,
        } => comparison(&rebuild.compare().await?),
        Action::Switch => switched(name, before, rebuild.switch().await?),
        Action::SwitchBack => switched(name, before, rebuild.switch_back().await?),
        Action::Drop => {
            let version = request.version.unwrap_or_default();
            rebuild.drop_version(version).await?;
            dropped(name, version)
        }
    })
}

/// What is said of a switch.
pub(crate) fn switched(projection: &str, before: u32, active: u32) -> Value {
    json!({ "projection": projection, "before": before, "active": active })
}

/// What is said of a version that was dropped.
pub(crate) fn dropped(projection: &str, version: u32) -> Value {
    json!({ "projection": projection, "dropped": version })
}

fn all_progress(all: &[VersionProgress]) -> Value {
    all.iter().map(progress).collect()
}

fn progress(one: &VersionProgress) -> Value {
    let partitions = one.partitions.iter().map(|one| {
        let (partition, applied, of) = (one.partition.0, one.applied, one.of);
        json!({ "partition": partition, "applied": applied, "of": of })
    });
    json!({
        "projection": one.projection,
        "version": one.version,
        "active": one.is_active,
        "applied": one.applied,
        "of": one.of,
        "left": one.left(),
        "age_seconds": one.age.as_secs_f64(),
        "events_per_second": one.per_second,
        "seconds_left": one.time_left.map(|time| time.as_secs_f64()),
        "failures": one.failures,
        "restarts": one.restarts,
        "parked": one.parked,
        "given_up": one.given_up,
        "partitions": partitions.collect::<Vec<_>>(),
    })
}

fn comparison(found: &Comparison) -> Value {
    json!({
        "projection": found.projection,
        "active": found.active,
        "candidate": found.candidate,
        "same": found.is_same(),
        "parked": found.parked.0,
        "candidate_parked": found.parked.1,
        "tables": found.tables.iter().map(compared).collect::<Vec<_>>(),
        "only_active": found.only_active,
        "only_candidate": found.only_candidate,
    })
}

fn compared(table: &ComparedTable) -> Value {
    let samples = table.samples.iter().map(|row| {
        let key = key_text(&row.key);
        json!({ "key": key, "active": row.active, "candidate": row.candidate })
    });
    json!({
        "table": table.table,
        "rows": table.rows,
        "checksum": format!("{:016x}", table.checksum),
        "candidate_rows": table.candidate_rows,
        "candidate_checksum": format!("{:016x}", table.candidate_checksum),
        "equal": table.equal,
        "missing": table.missing,
        "extra": table.extra,
        "different": table.different,
        "samples": samples.collect::<Vec<_>>(),
    })
}

/// The key as text if it is one, else its bytes.
pub(crate) fn key_text(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => bytes_text(key),
    }
}

/// Bytes as text.
pub(crate) fn bytes_text(bytes: &[u8]) -> String {
    bytes.iter().fold(String::from("0x"), |text, byte| {
        text + &format!("{byte:02x}")
    })
}
