//! `projection progress`, `compare`, `switch`, `switch-back` and `drop`: through the running engine, or where none runs.

use std::io::Write;

use anyhow::{Context, Result, bail, ensure};
use millstream_engine::event::PartitionId;
use millstream_engine::log::LogReader;
use millstream_engine::state::{
    ProjectionVersions, RegisteredProjection, StateOptions, StateStore, StateWriterHandle,
    StateWriterThread,
};
use serde_json::Value;

use super::Data;
use super::asking::{ask, is_running};
use super::folder::DataFolder;
use super::text::{number, one_line, table};
use crate::engine::version_requests::{Action, KIND, Request, dropped, switched};

/// Whose progress.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ProgressArguments {
    #[command(flatten)]
    data: Data,
    /// The projection; all unless said otherwise
    projection: Option<String>,
}

/// What is compared.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct CompareArguments {
    #[command(flatten)]
    chosen: Chosen,
    /// Compare only the fields that both rows have
    #[arg(long)]
    common_fields: bool,
}

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

/// Figures of the versions that run, as the engine on the folder tells them.
pub(super) fn figures(
    folder: &DataFolder,
    projection: Option<&str>,
    seconds: u64,
) -> Result<Vec<Value>> {
    let request = Request {
        projection: projection.map(str::to_owned),
        version: None,
        action: Action::Progress,
    };
    ask(folder, KIND, &request, seconds)
}

pub(super) fn progress(
    arguments: &ProgressArguments,
    is_json: bool,
    out: &mut impl Write,
) -> Result<()> {
    let folder = DataFolder::find(&arguments.data.data)?;
    ensure!(
        is_running(&folder)?,
        "no engine runs on {}, so nothing is in progress: `millstream projection list` prints how far each version is",
        folder.data().display()
    );
    let all = figures(&folder, arguments.projection.as_deref(), 60)?;
    if is_json {
        for one in &all {
            writeln!(out, "{one}")?;
        }
        return Ok(());
    }
    let mut printed = table(&[
        "projection",
        "version",
        "answers",
        "applied",
        "of",
        "left",
        "events/s",
        "time left",
        "failures",
        "restarts",
        "parked",
        "given up",
    ]);
    for one in &all {
        let count = |name: &str| number(one[name].as_u64().unwrap_or_default());
        let text = |name: &str| one_line(one[name].as_str().unwrap_or_default(), 80);
        let answers = if one["active"] == true { "yes" } else { "" };
        printed.add_row(vec![
            text("projection").into(),
            count("version"),
            answers.into(),
            count("applied"),
            count("of"),
            count("left"),
            one["events_per_second"]
                .as_f64()
                .map_or_else(|| "-".into(), |rate| number(rate.round() as u64)),
            one["seconds_left"]
                .as_f64()
                .map_or_else(|| "-".into(), |left| format!("{left:.0} s").into()),
            count("failures"),
            count("restarts"),
            count("parked"),
            text("given_up").into(),
        ]);
    }
    writeln!(out, "{}", printed.trim_fmt())?;
    Ok(())
}

pub(super) fn compare(
    arguments: &CompareArguments,
    is_json: bool,
    out: &mut impl Write,
) -> Result<()> {
    let CompareArguments {
        chosen,
        common_fields,
    } = arguments;
    let folder = DataFolder::find(&chosen.data.data)?;
    ensure!(
        is_running(&folder)?,
        "no engine runs on {}: versions are compared by the engine that runs them both",
        folder.data().display()
    );
    let action = Action::Compare {
        common_fields: *common_fields,
    };
    let request = request(&chosen.projection, chosen.to, action);
    let found: Value = ask(&folder, KIND, &request, chosen.timeout)?;
    if is_json {
        writeln!(out, "{found}")?;
    } else {
        print(&found, out)?;
    }
    if found["same"] != true {
        bail!("the two versions have other rows");
    }
    Ok(())
}

fn print(found: &Value, out: &mut impl Write) -> Result<()> {
    let text = |value: &Value| one_line(value.as_str().unwrap_or_default(), usize::MAX);
    writeln!(
        out,
        "{}: version {} beside version {}, which answers",
        text(&found["projection"]),
        found["candidate"],
        found["active"]
    )?;
    let mut printed = table(&[
        "table",
        "rows",
        "candidate's",
        "equal",
        "missing",
        "extra",
        "different",
    ]);
    let tables = found["tables"].as_array().into_iter().flatten();
    for one in tables.clone() {
        let count = |name: &str| number(one[name].as_u64().unwrap_or_default());
        printed.add_row(vec![
            text(&one["table"]).into(),
            count("rows"),
            count("candidate_rows"),
            count("equal"),
            count("missing"),
            count("extra"),
            count("different"),
        ]);
    }
    writeln!(out, "{}", printed.trim_fmt())?;
    for one in tables {
        for sample in one["samples"].as_array().into_iter().flatten() {
            let row = |value: &Value| match value {
                Value::Null => "no row".to_owned(),
                row => one_line(&row.to_string(), 60),
            };
            writeln!(
                out,
                "{} {}: {} instead of {}",
                text(&one["table"]),
                one_line(sample["key"].as_str().unwrap_or_default(), 60),
                row(&sample["candidate"]),
                row(&sample["active"])
            )?;
        }
    }
    let mut only = |names: &Value, whose: &str| -> Result<()> {
        for name in names.as_array().into_iter().flatten() {
            writeln!(out, "table {} is only the {whose}'s", text(name))?;
        }
        Ok(())
    };
    only(&found["only_active"], "answering version")?;
    only(&found["only_candidate"], "candidate")?;
    Ok(())
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

/// The state of a folder that no engine has, for writing.
struct AtRest {
    store: StateStore,
    writer: StateWriterHandle,
    thread: StateWriterThread,
    name: String,
    known: ProjectionVersions,
    all: Vec<RegisteredProjection>,
}

impl AtRest {
    fn open(folder: &DataFolder, name: &str) -> Result<Self> {
        // Nothing is made where there is nothing, and what is damaged is left to the engine.
        let state = folder.state()?;
        let mut all = state.projections()?;
        all.retain(|one| one.name == name);
        ensure!(
            !all.is_empty(),
            "there is no projection {name:?} here: `millstream projection list` prints those that there are"
        );
        let known = state.versions(name)?;
        let known = known.with_context(|| {
            format!(
                "nobody has said which version of {name} answers: start and stop the engine once"
            )
        })?;
        drop(state);
        let options = StateOptions {
            preallocate_step_bytes: 0,
            ..StateOptions::default()
        };
        let opened = StateStore::open(folder.state_folder(), options);
        let (store, writer) = opened.context("stop the engine first")?;
        let (writer, thread) = millstream_engine::state::start(writer)?;
        Ok(Self {
            store,
            writer,
            thread,
            name: name.to_owned(),
            known,
            all,
        })
    }

    fn highest(&self) -> Result<u32> {
        let others = self.all.iter().map(|one| one.version);
        let highest = others.filter(|&version| version > self.known.active).max();
        highest.with_context(|| {
            format!(
                "version {} of {} answers, and there is no higher one: have a program declare it as a candidate, or say \
                 which one is meant with --to",
                self.known.active, self.name
            )
        })
    }

    /// Has another version answer at the next start, if it has come as far as the one that answers.
    fn switch(
        &self,
        folder: &DataFolder,
        choose: impl FnOnce(&Self) -> Result<u32>,
    ) -> Result<Value> {
        let version = choose(self)?;
        let find = |version: u32| self.all.iter().find(|one| one.version == version);
        let to = find(version).with_context(|| {
            let known: Vec<_> = self.all.iter().map(|one| one.version).collect();
            format!("{} has no version {version} here, but {known:?}", self.name)
        })?;
        if let Some(from) = find(self.known.active) {
            let behind = self.behind(folder, to, from)?;
            ensure!(
                behind == 0,
                "version {version} of {} is {behind} events behind version {}, which answers: start the engine, and \
                 switch once it has caught up",
                self.name,
                self.known.active
            );
        }
        self.writer.activate_version(&self.name, version)?;
        Ok(switched(&self.name, self.known.active, version))
    }

    /// Stored events of `from` that are not in the rows of `to`.
    fn behind(
        &self,
        folder: &DataFolder,
        to: &RegisteredProjection,
        from: &RegisteredProjection,
    ) -> Result<u64> {
        let mut behind = 0;
        for partition in (0..folder.log()?.partitions()).map(PartitionId) {
            let next = |one: &RegisteredProjection| -> Result<u64> {
                let progress = self.store.progress(one.id, partition)?;
                Ok(progress.unwrap_or_default().next.0)
            };
            behind += next(from)?.saturating_sub(next(to)?);
        }
        Ok(behind)
    }

    fn close(self) -> Result<()> {
        drop((self.store, self.writer));
        Ok(self.thread.close()?)
    }
}
