//! `dead-letters list` and `show`; [`filter`] says which letters, the other files are one command each.

mod decide;
mod export;
mod filter;
mod stats;

use std::collections::HashMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context, Result};
use millstream_engine::codec::payload_to_json;
use millstream_engine::log::frame::Encoding;
use millstream_engine::state::{
    DeadLetter, DeadLetterId, DeadLetterStatus, EarlierTries, ProjectionId,
};
use millstream_engine::time::{Clock, SystemClock, Timestamp};
use serde_json::{Value, json};

use super::Data;
use super::folder::DataFolder;
use super::projections::names;
use super::text::{age, json_line, number, one_line, table};

pub(in crate::cli) use decide::{
    DiscardArguments, EditArguments, RedriveArguments, discard, edit, redrive,
};
pub(in crate::cli) use export::{ExportArguments, export};
pub(in crate::cli) use filter::Filter;
pub(in crate::cli) use stats::{StatsArguments, stats};

/// Characters of a cause in the list; `show` has all of it.
const CAUSE_CHARS: usize = 80;

/// Which letters.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ListArguments {
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    filter: Filter,
    /// Most letters to print
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

/// A letter with what it needs to be printed.
struct Printed<'a> {
    letter: &'a DeadLetter,
    names: &'a HashMap<ProjectionId, String>,
    now: Timestamp,
}

pub(super) fn list(arguments: &ListArguments, is_json: bool, out: &mut impl Write) -> Result<()> {
    let state = DataFolder::find(&arguments.data.data)?.state()?;
    let names = names(&state)?;
    let now = SystemClock::new().now();
    let mut printed = table(&[
        "id",
        "projection",
        "key",
        "position",
        "attempts",
        "status",
        "followers",
        "age",
        "cause",
    ]);
    let mut count = 0;
    arguments.filter.for_each(&state, &names, now, |letter| {
        if count == arguments.limit {
            return Ok(ControlFlow::Break(()));
        }
        count += 1;
        let names = &names;
        let line = Printed { letter, names, now };
        if is_json {
            writeln!(out, "{}", line.to_json())?;
        } else {
            printed.add_row(line.cells());
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if is_json {
        return Ok(());
    }
    if count == 0 {
        writeln!(out, "no dead letters")?;
    } else {
        writeln!(out, "{}", printed.trim_fmt())?;
    }
    Ok(())
}

pub(super) fn show(
    data: &Path,
    id: DeadLetterId,
    is_json: bool,
    out: &mut impl Write,
) -> Result<()> {
    let state = DataFolder::find(data)?.state()?;
    let letter = state
        .dead_letter(id)?
        .with_context(|| format!("there is no dead letter {id}: it may have been settled"))?;
    let printed = Printed {
        letter: &letter,
        names: &names(&state)?,
        now: SystemClock::new().now(),
    };
    if is_json {
        writeln!(out, "{}", printed.to_json())?;
        return Ok(());
    }
    printed.write(out)
}

impl Printed<'_> {
    fn projection(&self) -> &str {
        // Letters of a dropped projection are there until its drop is done.
        let name = self.names.get(&self.letter.projection);
        name.map_or("(dropped)", String::as_str)
    }

    /// The projection, or the dataflow with its stage.
    fn place(&self) -> String {
        match self.projection() {
            // The name of a stage begins with that of its dataflow.
            name if name.starts_with("dataflow ") => format!("dataflow {}", self.letter.stage),
            name => name.to_owned(),
        }
    }

    fn status(&self) -> String {
        match self.letter.status {
            DeadLetterStatus::Retrying { at } => format!("retrying at {at}"),
            DeadLetterStatus::Dead => "dead".to_owned(),
        }
    }

    fn age(&self) -> String {
        age(self.now.since(self.letter.first_failed))
    }

    fn position(&self) -> String {
        let position = self.letter.position;
        format!("{}:{}", position.partition, position.offset)
    }

    /// The payload with fields by name; why not, where that cannot be.
    fn payload(&self) -> Result<Value, String> {
        let letter = self.letter;
        if letter.kind.encoding == Encoding::Opaque {
            return Err("only its writer can read it".to_owned());
        }
        payload_to_json(letter.kind.encoding, &letter.dictionary, &letter.payload)
            .map_err(|error| error.to_string())
    }

    fn cells(&self) -> Vec<comfy_table::Cell> {
        let letter = self.letter;
        let cause = letter.cause.first().map_or("", String::as_str);
        vec![
            letter.id().to_string().into(),
            one_line(&self.place(), usize::MAX).into(),
            one_line(&letter.key, usize::MAX).into(),
            self.position().into(),
            number(letter.attempts),
            match letter.status {
                DeadLetterStatus::Retrying { .. } => "retrying".into(),
                DeadLetterStatus::Dead => "dead".into(),
            },
            number(letter.followers),
            self.age().into(),
            one_line(cause, CAUSE_CHARS).into(),
        ]
    }

    fn to_json(&self) -> Value {
        let letter = self.letter;
        let (status, retry_at) = match letter.status {
            DeadLetterStatus::Retrying { at } => ("retrying", Some(at.to_string())),
            DeadLetterStatus::Dead => ("dead", None),
        };
        let followers: Vec<_> = letter.follower_offsets.iter().map(|at| at.0).collect();
        let earlier: Vec<_> = letter.earlier.iter().map(earlier).collect();
        let mut object = json!({
            "id": letter.id().to_string(),
            "projection": self.projection(),
            "projection_version": letter.version,
            "stage": letter.stage.as_str(),
            "key": letter.key.as_str(),
            "partition": letter.position.partition.0,
            "offset": letter.position.offset.0,
            "status": status,
            "retry_at": retry_at,
            "attempts": letter.attempts,
            "first_failed_at": letter.first_failed.to_string(),
            "last_failed_at": letter.last_failed.to_string(),
            "age_seconds": self.now.since(letter.first_failed).as_secs(),
            "class": letter.class.as_str(),
            "causes": letter.cause,
            "earlier": earlier,
            "followers": letter.followers,
            "follower_offsets": followers,
            "category": letter.kind.category.as_str(),
            "type": letter.kind.event_type.as_str(),
            "schema_version": letter.kind.schema_version,
            "payload_bytes": letter.payload.len(),
        });
        let (name, value) = match self.payload() {
            Ok(payload) => ("payload", payload),
            Err(error) => ("payload_error", error.into()),
        };
        object[name] = value;
        object
    }

    fn write(&self, out: &mut impl Write) -> Result<()> {
        let letter = self.letter;
        let kind = &letter.kind;
        let line = |text: &str| one_line(text, usize::MAX);
        writeln!(out, "id          {}", letter.id())?;
        let (name, version) = (line(self.projection()), letter.version);
        writeln!(out, "projection  {name} version {version}")?;
        writeln!(out, "stage       {}", line(&letter.stage))?;
        writeln!(out, "key         {}", line(&letter.key))?;
        writeln!(out, "status      {}", self.status())?;
        writeln!(out, "attempts    {}", letter.attempts)?;
        let (first, last) = (letter.first_failed, letter.last_failed);
        writeln!(
            out,
            "failed      {first} first, {last} last; {} ago",
            self.age()
        )?;
        writeln!(out, "position    {}", self.position())?;
        let schema = kind.schema_version;
        writeln!(
            out,
            "event       {} schema {schema}",
            line(&kind.event_type)
        )?;
        match self.payload() {
            Ok(payload) => writeln!(out, "payload     {}", json_line(&payload))?,
            Err(why) => {
                let bytes = letter.payload.len();
                writeln!(
                    out,
                    "payload     {bytes} bytes, not readable: {}",
                    line(&why)
                )?;
            }
        }
        let offsets: Vec<_> = letter
            .follower_offsets
            .iter()
            .map(|at| at.to_string())
            .collect();
        let at = if offsets.is_empty() {
            ""
        } else {
            " at offsets "
        };
        let (followers, offsets) = (letter.followers, offsets.join(" "));
        writeln!(out, "followers   {followers}{at}{offsets}")?;
        for (depth, cause) in letter.cause.iter().enumerate() {
            let label = if depth == 0 { "cause " } else { "  from" };
            writeln!(out, "{label}      {}", line(cause))?;
        }
        for tries in &letter.earlier {
            let (attempts, at) = (tries.attempts, tries.last_failed);
            let (cause, by) = (line(&tries.cause), line(&tries.redriven_by));
            writeln!(
                out,
                "earlier     {attempts} attempts until {at}, redriven by {by}: {cause}"
            )?;
        }
        Ok(())
    }
}

/// Tries before a redrive.
fn earlier(tries: &EarlierTries) -> Value {
    json!({
        "attempts": tries.attempts,
        "last_failed_at": tries.last_failed.to_string(),
        "cause": tries.cause,
        "redriven_by": tries.redriven_by,
    })
}
