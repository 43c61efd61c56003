//! `dead-letters redrive`, `edit` and `discard`: leave a request for the engine that has the folder, or will have it.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use millstream_engine::state::{DeadLetter, DeadLetterId, DeadLetterStatus};
use millstream_engine::time::{Clock, SystemClock};
use millstream_operators::projection::{EDIT_BYTES_MAX, LetterDecision, LetterOrder};
use serde_json::json;

use super::{Data, DataFolder, Filter, names};
use crate::cli::Usage;
use crate::engine::requests;

/// Which letters, and who says so.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Whom {
    #[command(flatten)]
    data: Data,
    /// Ids as `list` prints them, such as 3-0-1234-9f86d081; or conditions; or --all
    ids: Vec<DeadLetterId>,
    #[command(flatten)]
    filter: Filter,
    /// All letters that wait
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// Who decides; $USER unless said otherwise
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

/// What to try again.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct RedriveArguments {
    #[command(flatten)]
    whom: Whom,
    /// Why, for whoever reads the log
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// What to give up.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct DiscardArguments {
    #[command(flatten)]
    whom: Whom,
    /// Why, for whoever reads the log
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// What to put in the place of what failed.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct EditArguments {
    #[command(flatten)]
    data: Data,
    /// Id as `list` prints it, such as 3-0-1234-9f86d081
    id: DeadLetterId,
    /// The payload to try instead, as JSON: `show --json` prints the one that failed
    #[arg(
        long,
        value_name = "JSON",
        required_unless_present = "file",
        allow_hyphen_values = true
    )]
    payload: Option<String>,
    /// The same from a file, or from standard input if this is -
    #[arg(long, value_name = "PATH", conflicts_with = "payload")]
    file: Option<PathBuf>,
    /// Who decides; $USER unless said otherwise
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Why, for whoever reads the log
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(in crate::cli) fn edit(
    arguments: &EditArguments,
    is_json: bool,
    out: &mut impl Write,
) -> Result<()> {
    let EditArguments {
        data,
        id,
        payload,
        file,
        by,
        reason,
    } = arguments;
    ensure!(
        !reason.trim().is_empty(),
        Usage("--reason says nothing: it is what remains beside the event as it was")
    );
    let payload = match (payload, file) {
        (Some(payload), _) => payload.clone(),
        (None, Some(path)) if path.as_os_str() == "-" => {
            std::io::read_to_string(std::io::stdin()).context("reading standard input")?
        }
        (None, Some(path)) => {
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?
        }
        (None, None) => bail!(Usage(
            "what to try instead? say it with --payload or --file"
        )),
    };
    serde_json::from_str::<serde::de::IgnoredAny>(&payload).context("the payload is not JSON")?;
    ensure!(
        payload.len() <= EDIT_BYTES_MAX,
        "the payload has {} bytes of JSON: an edit may have {EDIT_BYTES_MAX}",
        payload.len()
    );
    let whom = Whom {
        data: data.clone(),
        ids: vec![*id],
        filter: Filter::default(),
        all: false,
        by: by.clone(),
    };
    let orders = whom.orders(reason, false)?.into_iter();
    let decisions = orders.map(|order| LetterDecision::Edited {
        order,
        payload: payload.clone(),
    });
    request(&whom, decisions.collect(), "edit", is_json, out)
}

pub(in crate::cli) fn redrive(
    arguments: &RedriveArguments,
    is_json: bool,
    out: &mut impl Write,
) -> Result<()> {
    let RedriveArguments { whom, reason } = arguments;
    let decisions = whom.orders(reason, false)?.into_iter();
    let decisions = decisions.map(LetterDecision::Redriven).collect();
    request(whom, decisions, "redrive", is_json, out)
}

pub(in crate::cli) fn discard(
    arguments: &DiscardArguments,
    is_json: bool,
    out: &mut impl Write,
) -> Result<()> {
    let DiscardArguments { whom, reason } = arguments;
    ensure!(
        !reason.trim().is_empty(),
        Usage("--reason says nothing: it is what remains of the event's place in the rows")
    );
    let decisions = whom.orders(reason, true)?.into_iter();
    let decisions = decisions.map(LetterDecision::Discarded).collect();
    request(whom, decisions, "discard", is_json, out)
}

impl Whom {
    /// An order per letter, in the order of projection and position; `with_late`: also for late items, which can only be let
    /// go of. Of letters that conditions meet those that nobody waits for a decision on are left out; named by its id, one
    /// is an error.
    fn orders(&self, reason: &str, with_late: bool) -> Result<Vec<LetterOrder>> {
        let by = self.by.clone().or_else(|| std::env::var("USER").ok());
        let by = by.unwrap_or_default();
        ensure!(
            !by.trim().is_empty(),
            Usage("who decides? say it with --by")
        );
        ensure!(
            self.ids.is_empty() || self.filter.is_empty(),
            Usage("name letters by their ids or by conditions, not by both")
        );
        ensure!(
            !self.ids.is_empty() || !self.filter.is_empty() || self.all,
            Usage("which letters? name them by their ids, by conditions, or say --all")
        );
        let state = DataFolder::find(&self.data.data)?.state()?;
        let (names, now) = (names(&state)?, SystemClock::new().now());
        let order = |letter: &DeadLetter| {
            if letter.status != DeadLetterStatus::Dead {
                return None;
            }
            let of_item = || {
                let dataflow = names.get(&letter.projection)?;
                let late = || LetterOrder::of_late(letter, dataflow, &by, reason);
                let of_item = LetterOrder::of_item(letter, dataflow, &by, reason);
                of_item.or_else(|| late().filter(|_| with_late))
            };
            of_item().or_else(|| LetterOrder::of(letter, &by, reason))
        };
        if !self.ids.is_empty() {
            let named = |&id| {
                let letter = state.dead_letter(id)?;
                let letter = letter.with_context(|| {
                    format!("there is no dead letter {id}: it may have been settled")
                })?;
                order(&letter).with_context(|| {
                    format!(
                        "dead letter {id} does not wait for a decision: it is tried again, or a late item, which can only be discarded"
                    )
                })
            };
            return self.ids.iter().map(named).collect();
        }
        let mut orders = Vec::new();
        self.filter.for_each(&state, &names, now, |letter| {
            orders.extend(order(letter));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(orders)
    }
}

fn request(
    whom: &Whom,
    decisions: Vec<LetterDecision>,
    what: &str,
    is_json: bool,
    out: &mut impl Write,
) -> Result<()> {
    let count = decisions.len();
    let folder = DataFolder::find(&whom.data.data)?;
    let left = if decisions.is_empty() {
        None
    } else {
        let data = folder.data();
        let left = requests::leave(data, decisions)
            .with_context(|| format!("leaving a request in {}", data.display()))?;
        Some(left)
    };
    if is_json {
        let file = left.map(|path| path.display().to_string());
        writeln!(
            out,
            "{}",
            json!({ "requested": what, "letters": count, "request": file })
        )?;
    } else if count == 0 {
        writeln!(out, "no dead letters")?;
    } else {
        writeln!(
            out,
            "{what} of {count} dead letter{} requested: a running engine takes it up within a second, a stopped one \
             when it starts",
            if count == 1 { "" } else { "s" }
        )?;
    }
    Ok(())
}
