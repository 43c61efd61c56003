//! `projection compare`: the rows of a candidate beside those of the version that answers.

use std::io::Write;

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::{Chosen, request};
use crate::cli::inspect::asking::{ask, is_running};
use crate::cli::inspect::folder::DataFolder;
use crate::cli::inspect::text::{number, one_line, table};
use crate::engine::version_requests::{Action, KIND};

/// What is compared.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct CompareArguments {
    #[command(flatten)]
    chosen: Chosen,
    /// Compare only the fields that both rows have
    #[arg(long)]
    common_fields: bool,
}

pub(in crate::cli::inspect) fn compare(
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
