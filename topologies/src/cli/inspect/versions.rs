//! Versions of projections. Here: `projection switch`, `switch-back` and `drop`, through the running engine or where none runs.

mod at_rest;
mod compare;
mod progress;

use std::io::Write;

use anyhow::{Context, Result};
use serde_json::Value;

pub(super) use self::compare::{CompareArguments, compare};
pub(super) use self::progress::{ProgressArguments, figures, progress};

use self::at_rest::AtRest;
use super::Data;
use super::asking::{ask, is_running};
use super::folder::DataFolder;
use super::text::one_line;
use crate::engine::version_requests::{Action, KIND, Request, dropped};

/// A projection, and a version of it.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Chosen {
    #[command(flatten)]
    data: Data,
    /// The projection
    projection: String,
    /// The version; the highest that does not answer unless said otherwise, to be switched to only if it is higher than the one that does
    #[arg(long, value_name = "VERSION")]
    to: Option<u32>,
    /// Longest to wait for the engine; it may go on without us
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
}

/// Which projection.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct BackArguments {
    #[command(flatten)]
    data: Data,
    /// The projection
    projection: String,
}

/// Which version of it.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct DropArguments {
    #[command(flatten)]
    data: Data,
    /// The projection
    projection: String,
    /// The version, as `list` prints it
    version: u32,
}

fn request(projection: &str, version: Option<u32>, action: Action) -> Request {
    Request {
        projection: Some(projection.to_owned()),
        version,
        action,
    }
}

pub(super) fn switch(arguments: &Chosen, is_json: bool, out: &mut impl Write) -> Result<()> {
    let folder = DataFolder::find(&arguments.data.data)?;
    let name = &arguments.projection;
    let said = if is_running(&folder)? {
        let request = request(name, arguments.to, Action::Switch);
        ask(&folder, KIND, &request, arguments.timeout)?
    } else {
        let open = AtRest::open(&folder, name)?;
        let outcome = open.switch(&folder, |open| match arguments.to {
            Some(version) => Ok(version),
            None => open.highest(),
        });
        open.close()?;
        outcome?
    };
    say_switched(&said, is_json, out)
}

pub(super) fn switch_back(
    arguments: &BackArguments,
    is_json: bool,
    out: &mut impl Write,
) -> Result<()> {
    let folder = DataFolder::find(&arguments.data.data)?;
    let name = &arguments.projection;
    let said = if is_running(&folder)? {
        ask(&folder, KIND, &request(name, None, Action::SwitchBack), 600)?
    } else {
        let open = AtRest::open(&folder, name)?;
        let outcome = open.switch(&folder, |open| {
            let previous = open.known.previous;
            previous.context("no other version has answered before, or it was dropped")
        });
        open.close()?;
        outcome?
    };
    say_switched(&said, is_json, out)
}

fn say_switched(said: &Value, is_json: bool, out: &mut impl Write) -> Result<()> {
    if is_json {
        writeln!(out, "{said}")?;
        return Ok(());
    }
    let name = one_line(said["projection"].as_str().unwrap_or_default(), usize::MAX);
    if said["before"] == said["active"] {
        writeln!(out, "version {} of {name} answers already", said["active"])?;
    } else {
        writeln!(
            out,
            "version {} of {name} answers instead of version {}",
            said["active"], said["before"]
        )?;
    }
    Ok(())
}

pub(super) fn drop_version(
    arguments: &DropArguments,
    is_json: bool,
    out: &mut impl Write,
) -> Result<()> {
    let folder = DataFolder::find(&arguments.data.data)?;
    let (name, version) = (&arguments.projection, arguments.version);
    if is_running(&folder)? {
        let request = request(name, Some(version), Action::Drop);
        let _: Value = ask(&folder, KIND, &request, 600)?;
    } else {
        let open = AtRest::open(&folder, name)?;
        let outcome = open.writer.drop_version(name, version);
        open.close()?;
        outcome?;
    }
    if is_json {
        writeln!(out, "{}", dropped(name, version))?;
    } else {
        let name = one_line(name, usize::MAX);
        writeln!(
            out,
            "version {version} of {name} is dropped; its rows are deleted while an engine runs"
        )?;
    }
    Ok(())
}
