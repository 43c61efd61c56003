//! `projection verify`.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Result, bail};
use millstream_engine::checkpoint::InState;
use millstream_engine::log::{LogReader, StreamReader};
use millstream_engine::state::RegisteredProjection;
use millstream_operators::projection::{RowSample, TableCheck, Verification, effects_of};
use serde_json::{Value, json};

use super::Data;
use super::folder::DataFolder;
use super::text::{number, one_line, table};
use crate::Topology;
use crate::catalog::{bank, shop};
use crate::cli::say;
use crate::dataflow::table::dataflow_of;
use crate::engine::version_requests::key_text;

/// What is to be compared.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct VerifyArguments {
    #[command(flatten)]
    data: Data,
    /// Only the projection of this name
    #[arg(long, value_name = "NAME")]
    projection: Option<String>,
}

pub(super) fn verify(
    arguments: &VerifyArguments,
    is_json: bool,
    out: &mut impl Write,
) -> Result<()> {
    let folder = DataFolder::find(&arguments.data.data)?;
    let (streams, store) = (folder.streams()?, folder.state()?);
    let partitions = streams.partitions();
    let streams: Arc<dyn StreamReader> = Arc::new(streams);
    let known = [shop::topology()?, bank::topology()?];
    let is_asked = |found: &RegisteredProjection| {
        let name = arguments.projection.as_deref();
        name.is_none_or(|name| name == found.name)
            && InState::dataflow_of(found).is_none()
            && effects_of(found).is_none()
    };
    let (mut compared, mut differ) = (0, 0);
    for found in store.projections()?.into_iter().filter(is_asked) {
        if dataflow_of(&found, &store, partitions)?.is_some() {
            continue;
        }
        let verification = match code_of(&known, &found) {
            Some(projection) => projection.verify_stored(Arc::clone(&streams), &store)?,
            None => None,
        };
        let Some(verification) = verification else {
            say(format_args!(
                "{} version {} is of no ready-made topology: its own program compares it with Engine::verify",
                found.name, found.version
            ));
            continue;
        };
        compared += 1;
        differ += u64::from(!verification.is_good());
        print(&verification, is_json, out)?;
    }
    if compared == 0 {
        bail!("there is no projection here that could be compared");
    }
    if differ > 0 {
        bail!("{differ} of {compared} projections have other rows than a replay");
    }
    Ok(())
}

/// The projection of this name and version, if a ready-made topology has it.
fn code_of<'t>(
    known: &'t [Topology],
    found: &RegisteredProjection,
) -> Option<&'t dyn crate::engine::projections::AnyProjection> {
    let mut all = known.iter().flat_map(|topology| &topology.projections);
    let same = all.find(|own| own.name() == found.name && own.version() == found.version);
    same.map(|own| &**own)
}

fn print(verification: &Verification, is_json: bool, out: &mut impl Write) -> Result<()> {
    if is_json {
        writeln!(out, "{}", to_json(verification))?;
        return Ok(());
    }
    let name = one_line(verification.projection, usize::MAX);
    writeln!(
        out,
        "{name} version {}: {} events replayed, {} not applied",
        verification.version, verification.events, verification.failed
    )?;
    let mut printed = table(&["table", "rows", "checksum", "missing", "extra", "different"]);
    for check in &verification.tables {
        printed.add_row(vec![
            check.table.into(),
            number(check.rows),
            format!("{:016x}", check.checksum).into(),
            number(check.missing),
            number(check.extra),
            number(check.different),
        ]);
    }
    writeln!(out, "{}", printed.trim_fmt())?;
    for check in verification.tables.iter().filter(|check| !check.is_good()) {
        for sample in &check.samples {
            let text = |row: &Option<Value>| match row {
                Some(row) => one_line(&row.to_string(), 60),
                None => "no row".to_owned(),
            };
            writeln!(
                out,
                "{} {}: {} instead of {}",
                check.table,
                one_line(&key_text(&sample.key), 60),
                text(&sample.found),
                text(&sample.replayed)
            )?;
        }
    }
    Ok(())
}

fn to_json(verification: &Verification) -> Value {
    let sample = |sample: &RowSample| {
        json!({
            "key": key_text(&sample.key),
            "found": sample.found,
            "replayed": sample.replayed,
        })
    };
    let check = |check: &TableCheck| {
        json!({
            "table": check.table,
            "rows": check.rows,
            "checksum": format!("{:016x}", check.checksum),
            "replayed_rows": check.replayed_rows,
            "replayed_checksum": format!("{:016x}", check.replayed_checksum),
            "missing": check.missing,
            "extra": check.extra,
            "different": check.different,
            "samples": check.samples.iter().map(sample).collect::<Vec<_>>(),
        })
    };
    json!({
        "projection": verification.projection,
        "version": verification.version,
        "ok": verification.is_good(),
        "events": verification.events,
        "not_applied": verification.failed,
        "tables": verification.tables.iter().map(check).collect::<Vec<_>>(),
    })
}
