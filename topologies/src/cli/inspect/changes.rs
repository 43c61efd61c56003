//! `projection changes` and `history`: what a versioned table keeps, without the program that it belongs to.

use std::io::Write;

use anyhow::{Context, Result, bail, ensure};
use millstream_engine::checkpoint::InState;
use millstream_engine::codec::ValueReader;
use millstream_engine::state::{RegisteredProjection, StateStore};
use millstream_operators::projection::{
    ChangeCursor, RawChange, RawVersion, RawVersions, Stamp, effects_of,
};
use serde_json::{Value, json};

use super::Data;
use super::folder::DataFolder;
use super::keys::{self, Keys};
use super::text::one_line;

/// Which table.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Versioned {
    #[command(flatten)]
    data: Data,
    /// The projection
    projection: String,
    /// Its table
    table: String,
    /// The version of the projection [default: the one that answers]
    #[arg(long, value_name = "VERSION")]
    version: Option<u32>,
    /// What the keys of the table are, such as text,u32: text, u16, u32, u64, u128, i32, i64, bool, time or bytes
    /// [default: texts where they are such, else bytes]
    #[arg(long, value_name = "PARTS")]
    key: Option<Keys>,
}

/// Which changes.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ChangesArguments {
    #[command(flatten)]
    of: Versioned,
    /// Only changes behind this place, as an earlier call or Changes::cursor gave it [default: all that are kept]
    #[arg(long, value_name = "CURSOR")]
    after: Option<ChangeCursor>,
    /// Most changes to print
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

/// Which row.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct HistoryArguments {
    #[command(flatten)]
    of: Versioned,
    /// Its key, a word for each of its parts; without --key bytes such as 0x00ff, or else a text
    #[arg(value_name = "KEY", required = true, allow_negative_numbers = true)]
    words: Vec<String>,
}

/// A table that keeps versions of its rows.
struct Opened<'a> {
    of: &'a Versioned,
    registered: RegisteredProjection,
    versions: RawVersions,
    reader: ValueReader,
}

pub(super) fn changes(
    arguments: &ChangesArguments,
    is_json: bool,
    out: &mut impl Write,
) -> Result<()> {
    let mut table = Opened::find(&arguments.of)?;
    let mut changes = table.versions.changes(arguments.after.as_ref())?;
    let mut count = 0;
    while count < arguments.limit
        && let Some(change) = changes.try_next()?
    {
        count += 1;
        if is_json {
            let mut object = table.change_to_json(&change);
            object["cursor"] = changes.cursor().to_string().into();
            writeln!(out, "{object}")?;
        } else {
            writeln!(out, "{}", table.change_to_line(&change))?;
        }
    }
    if !is_json && count == 0 {
        writeln!(out, "no changes")?;
    }
    if !is_json {
        writeln!(out, "go on with --after {}", changes.cursor())?;
    }
    Ok(())
}

pub(super) fn history(
    arguments: &HistoryArguments,
    is_json: bool,
    out: &mut impl Write,
) -> Result<()> {
    let mut table = Opened::find(&arguments.of)?;
    let key = keys::named(arguments.of.key.as_ref(), &arguments.words)?;
    let versions = table.versions.history(&key)?;
    if versions.is_empty() {
        let name = &arguments.of.table;
        let how = match arguments.of.key {
            Some(_) => "",
            None if keys::is_bytes(&arguments.words) => {
                "; 0x… was taken for bytes: say --key text where that is a text, or what else keys are"
            }
            None => "; where keys are no texts, say what they are with --key",
        };
        bail!(
            "no version of row {} of table {name:?} is kept: there is no such row, or it is gone for longer than versions \
             are kept{how}",
            keys::printed(arguments.of.key.as_ref(), &key)
        );
    }
    for version in &versions {
        if is_json {
            writeln!(out, "{}", table.version_to_json(&key, version))?;
        } else {
            writeln!(out, "{}", table.version_to_line(version))?;
        }
    }
    Ok(())
}

impl<'a> Opened<'a> {
    fn find(of: &'a Versioned) -> Result<Self> {
        let state = DataFolder::find(&of.data.data)?.state()?;
        let registered = version_of(&state, of)?;
        let name = &of.table;
        // What is stored beside a table has a name of its own, with a mark in it.
        let tables: Vec<_> = registered
            .table_names
            .iter()
            .filter(|name| !name.contains('#'))
            .collect();
        ensure!(
            tables.iter().any(|known| *known == name),
            "version {} of {} has no table {name:?}, but {tables:?}",
            registered.version,
            registered.name
        );
        let versions = RawVersions::of(&state, &registered, name)?;
        let versions = versions.with_context(|| {
            format!(
                "table {name:?} keeps no versions of its rows: say .versioned(…) in its program, and raise the version of \
                 {}",
                registered.name
            )
        })?;
        Ok(Self {
            of,
            registered,
            versions,
            reader: ValueReader::new(),
        })
    }

    /// A row with its fields by name, or why it cannot be read.
    fn row(&mut self, row: Option<&[u8]>) -> Result<Value, String> {
        let Some(bytes) = row else {
            return Ok(Value::Null);
        };
        let value = self.reader.standalone(bytes);
        let value = value.map(|value| value.to_json());
        value.map_err(|error| format!("{} bytes, not readable: {error}", bytes.len()))
    }

    fn text(&mut self, row: Option<&[u8]>) -> String {
        match (row, self.row(row)) {
            (None, _) => "no row".to_owned(),
            (_, Ok(value)) => one_line(&value.to_string(), usize::MAX),
            (_, Err(why)) => one_line(&why, usize::MAX),
        }
    }

    fn put(&mut self, object: &mut Value, name: &str, row: Option<&[u8]>) {
        match self.row(row) {
            Ok(value) => object[name] = value,
            Err(why) => object[format!("{name}_error")] = why.into(),
        }
    }

    fn key(&self, bytes: &[u8]) -> Value {
        keys::printed(self.of.key.as_ref(), bytes)
    }

    fn to_json(&self, key: &[u8], number: u64, stamp: &Stamp) -> Value {
        json!({
            "projection": self.registered.name.as_str(),
            "projection_version": self.registered.version,
            "table": self.of.table,
            "key": self.key(key),
            "number": number,
            "partition": stamp.position.partition.0,
            "offset": stamp.position.offset.0,
            "recorded_at": stamp.recorded_at.to_string(),
            "event_time": stamp.event_time.to_string(),
        })
    }

    fn change_to_json(&mut self, change: &RawChange) -> Value {
        let mut object = self.to_json(&change.key, change.number, &change.stamp);
        self.put(&mut object, "before", change.before.as_deref());
        self.put(&mut object, "row", change.row.as_deref());
        object["late"] = change.is_late.into();
        object
    }

    fn change_to_line(&mut self, change: &RawChange) -> String {
        let key = match self.key(&change.key) {
            Value::String(text) => one_line(&text, usize::MAX),
            other => one_line(&other.to_string(), usize::MAX),
        };
        let (before, row) = (
            self.text(change.before.as_deref()),
            self.text(change.row.as_deref()),
        );
        let late = if change.is_late { " (freed late)" } else { "" };
        format!("{} {key}: {before} -> {row}{late}", at(&change.stamp))
    }

    fn version_to_json(&mut self, key: &[u8], version: &RawVersion) -> Value {
        let mut object = self.to_json(key, version.number, &version.stamp);
        self.put(&mut object, "row", version.row.as_deref());
        object["change_kept"] = version.is_change_kept.into();
        object
    }

    fn version_to_line(&mut self, version: &RawVersion) -> String {
        let row = self.text(version.row.as_deref());
        let older = match version.is_change_kept {
            true => "",
            false => " (as it was when the changes that are kept begin)",
        };
        format!("{} {row}{older}", at(&version.stamp))
    }
}

/// Position and time of an event.
fn at(stamp: &Stamp) -> String {
    let (partition, offset) = (stamp.position.partition, stamp.position.offset);
    format!("{partition}:{offset} {}", stamp.recorded_at)
}

/// The version that was named, or else the one that answers.
fn version_of(state: &StateStore, of: &Versioned) -> Result<RegisteredProjection> {
    let name = &of.projection;
    let mut all = state.projections()?;
    all.retain(|one| {
        one.name == *name && InState::dataflow_of(one).is_none() && effects_of(one).is_none()
    });
    ensure!(
        !all.is_empty(),
        "there is no projection {name:?} here: `millstream projection list` prints those that there are"
    );
    let known: Vec<_> = all.iter().map(|one| one.version).collect();
    let active = state.versions(name)?.map(|known| known.active);
    let wanted = of.version.or(active).or(known.iter().max().copied());
    let found = all.into_iter().find(|one| Some(one.version) == wanted);
    found.with_context(|| match of.version {
        Some(version) => format!("{name} has no version {version} here, but {known:?}"),
        None => format!(
            "the version of {name} that answers is gone: name one of {known:?} with --version"
        ),
    })
}
