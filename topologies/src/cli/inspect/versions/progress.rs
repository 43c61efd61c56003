//! `projection progress`: how far each version is, as the running engine sees it.

use std::io::Write;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::cli::inspect::Data;
use crate::cli::inspect::asking::{ask, is_running};
use crate::cli::inspect::folder::DataFolder;
use crate::cli::inspect::text::{number, one_line, table};
use crate::engine::version_requests::{Action, KIND, Request};

/// Whose progress.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ProgressArguments {
    #[command(flatten)]
    data: Data,
    /// The projection; all unless said otherwise
    projection: Option<String>,
}

/// Figures of the versions that run, as the engine on the folder tells them.
pub(in crate::cli::inspect) fn figures(
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

pub(in crate::cli::inspect) fn progress(
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
