//! `effects list` and `show`: what projections send outside and nobody has taken, without the program that sends it.

use std::collections::BTreeSet;
use std::io::Write;
use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Subcommand;
use comfy_table::Cell;
use millstream_engine::codec::ValueReader;
use millstream_engine::time::{Clock, SystemClock, Timestamp};
use millstream_operators::projection::{EffectId, EffectsThat, StoredEffect, StoredEffects};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Data;
use super::folder::DataFolder;
use super::text::{age, number, one_line, table};

/// Effects that one read of the store gives.
const PAGE: usize = 256;
/// Characters of a cause in the list; `show` has all of it.
const CAUSE_CHARS: usize = 80;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum EffectsCommand {
    /// Print effects that were given up, one line each, in the order of projection, outbox and position
    ///
    /// `stream` is the id of the event's stream without its category, `position` the event's (partition:offset) and the effect's
    /// number within it, `age` counts from when the event was recorded. Effects are given up only where
    /// DeliveryConfig::attempts_max says so. Their program sends them again or throws them away, with Engine::outbox.
    #[command(
        after_help = "Examples:\n  millstream effects list data/shop\n  millstream effects list data/shop --outbox letters --json\n  millstream effects list data/shop --waiting --limit 10"
    )]
    List(ListArguments),
    /// Print everything about one of them, what was sent with its fields by name where that can be read
    #[command(
        after_help = "Example:\n  millstream effects show data/shop 9034461c-98a5-8f82-86a2-0575001d660e"
    )]
    Show(ShowArguments),
}

/// Which effects.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ListArguments {
    #[command(flatten)]
    data: Data,
    /// Only those of this projection
    #[arg(long, value_name = "NAME")]
    projection: Option<String>,
    /// Only those of this outbox
    #[arg(long, value_name = "NAME")]
    outbox: Option<String>,
    /// Those that wait to be delivered, instead of those that were given up
    #[arg(long)]
    waiting: bool,
    /// Most effects to print
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// Which effect.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ShowArguments {
    #[command(flatten)]
    data: Data,
    /// Its id, as `list` prints it and as the outside was given it
    id: Uuid,
}

/// An effect with what it needs to be printed.
struct Printed<'a> {
    projection: &'a str,
    effect: &'a StoredEffect,
    now: Timestamp,
}

pub(super) fn run(command: &EffectsCommand, is_json: bool, out: &mut impl Write) -> Result<()> {
    match command {
        EffectsCommand::List(arguments) => list(arguments, is_json, out),
        EffectsCommand::Show(arguments) => show(arguments, is_json, out),
    }
}

/// The outboxes of all projections of a folder.
fn outboxes(data: &Data) -> Result<Vec<StoredEffects>> {
    let folder = DataFolder::find(&data.data)?;
    let log = folder.log()?;
    let store_id = log.store_id().map(|id| id.0);
    Ok(StoredEffects::all(&folder.state()?, store_id)?)
}

/// Hands each effect to `each`, until it breaks.
fn for_each(
    of: &StoredEffects,
    that: EffectsThat,
    mut each: impl FnMut(&StoredEffect) -> Result<ControlFlow<()>>,
) -> Result<ControlFlow<()>> {
    let mut after = None;
    loop {
        let (page, end) = of.page(that, after.as_deref(), PAGE)?;
        for effect in &page {
            if each(effect)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        match end {
            Some(end) => after = Some(end),
            None => return Ok(ControlFlow::Continue(())),
        }
    }
}

fn check_has_outboxes(all: &[StoredEffects], asked: &str) -> Result<()> {
    if all.iter().any(|of| of.projection() == asked) {
        return Ok(());
    }
    let names: BTreeSet<_> = all.iter().map(StoredEffects::projection).collect();
    bail!(
        "no projection {asked} has outboxes in this folder; those that have: {}",
        Vec::from_iter(names).join(", ")
    );
}

fn list(arguments: &ListArguments, is_json: bool, out: &mut impl Write) -> Result<()> {
    let now = SystemClock::new().now();
    let that = match arguments.waiting {
        true => EffectsThat::Wait,
        false => EffectsThat::AreGivenUp,
    };
    let is_asked = |asked: &Option<String>, name: &str| asked.as_deref().is_none_or(|a| a == name);
    let mut printed = table(&[
        "id",
        "projection",
        "outbox",
        "stream",
        "position",
        "attempts",
        "age",
        "cause",
    ]);
    let (mut count, mut is_cut) = (0, false);
    let all = outboxes(&arguments.data)?;
    if let Some(asked) = &arguments.projection {
        check_has_outboxes(&all, asked)?;
    }
    for of in all {
        if !is_asked(&arguments.projection, of.projection()) {
            continue;
        }
        let each = |effect: &StoredEffect| {
            if count == arguments.limit {
                is_cut = true;
                return Ok(ControlFlow::Break(()));
            }
            if is_asked(&arguments.outbox, &effect.outbox) {
                count += 1;
                let line = Printed {
                    projection: of.projection(),
                    effect,
                    now,
                };
                if is_json {
                    writeln!(out, "{}", line.to_json())?;
                } else {
                    printed.add_row(line.cells());
                }
            }
            Ok(ControlFlow::Continue(()))
        };
        if for_each(&of, that, each)?.is_break() {
            break;
        }
    }
    if is_json {
        return Ok(());
    }
    match (count, that) {
        (0, EffectsThat::Wait) => writeln!(out, "no effect waits")?,
        (0, EffectsThat::AreGivenUp) => writeln!(out, "no effect was given up")?,
        _ => writeln!(out, "{}", printed.trim_fmt())?,
    }
    if is_cut {
        writeln!(
            out,
            "perhaps there are more: --limit prints more than {count}"
        )?;
    }
    Ok(())
}

fn show(arguments: &ShowArguments, is_json: bool, out: &mut impl Write) -> Result<()> {
    let (id, now) = (EffectId(arguments.id), SystemClock::new().now());
    let all = outboxes(&arguments.data)?;
    // There are fewer of those that were given up.
    for that in [EffectsThat::AreGivenUp, EffectsThat::Wait] {
        for of in &all {
            let mut found = None;
            let each = |effect: &StoredEffect| {
                if effect.id != id {
                    return Ok(ControlFlow::Continue(()));
                }
                found = Some(effect.clone());
                Ok(ControlFlow::Break(()))
            };
            // Whether it was found says it.
            let _ = for_each(of, that, each)?;
            if let Some(effect) = &found {
                let projection = of.projection();
                let printed = Printed {
                    projection,
                    effect,
                    now,
                };
                if is_json {
                    writeln!(out, "{}", printed.to_json())?;
                    return Ok(());
                }
                return printed.write(out);
            }
        }
    }
    bail!("there is no effect {id}: it was delivered, or thrown away, or is of another folder")
}

impl Printed<'_> {
    fn key(&self) -> &str {
        let event = self.effect.event.as_ref();
        event.map_or("", |event| &event.key)
    }

    fn position(&self) -> String {
        let place = self.effect.place;
        let position = place.position;
        format!("{}:{} {}", position.partition, position.offset, place.index)
    }

    fn age(&self) -> Option<Duration> {
        let event = self.effect.event.as_ref()?;
        Some(self.now.since(event.recorded_at))
    }

    /// What was sent with its fields by name; why not, where that cannot be.
    fn payload(&self) -> Result<Value, String> {
        if self.effect.event.is_none() {
            return Err("it is damaged, or of a later version".to_owned());
        }
        let value = ValueReader::new().standalone(&self.effect.value);
        value
            .map(|value| value.to_json())
            .map_err(|error| error.to_string())
    }

    fn cells(&self) -> Vec<Cell> {
        let (effect, line) = (self.effect, |text: &str| one_line(text, usize::MAX));
        let given_up = effect.given_up.as_ref();
        vec![
            effect.id.to_string().into(),
            line(self.projection).into(),
            line(&effect.outbox).into(),
            line(self.key()).into(),
            self.position().into(),
            given_up.map_or_else(|| "-".into(), |cause| number(cause.attempts)),
            self.age().map_or_else(|| "-".into(), |own| age(own).into()),
            given_up.map_or_else(
                || "".into(),
                |cause| one_line(&cause.cause, CAUSE_CHARS).into(),
            ),
        ]
    }

    fn to_json(&self) -> Value {
        let effect = self.effect;
        let (given_up, event) = (effect.given_up.as_ref(), effect.event.as_ref());
        let mut object = json!({
            "id": effect.id.to_string(),
            "projection": self.projection,
            "outbox": effect.outbox,
            "stream": event.map(|event| &event.key),
            "partition": effect.place.position.partition.0,
            "offset": effect.place.position.offset.0,
            "index": effect.place.index,
            "recorded_at": event.map(|event| event.recorded_at.to_string()),
            "event_time": event.map(|event| event.event_time.to_string()),
            "age_seconds": self.age().map(|age| age.as_secs()),
            "status": if given_up.is_some() { "given_up" } else { "waiting" },
            "attempts": given_up.map(|cause| cause.attempts),
            "given_up_at": given_up.map(|cause| cause.at.to_string()),
            "cause": given_up.map(|cause| &cause.cause),
            "payload_bytes": effect.value.len(),
        });
        let (name, value) = match self.payload() {
            Ok(payload) => ("payload", payload),
            Err(error) => ("payload_error", error.into()),
        };
        object[name] = value;
        object
    }

    fn write(&self, out: &mut impl Write) -> Result<()> {
        let (effect, line) = (self.effect, |text: &str| one_line(text, usize::MAX));
        writeln!(out, "id          {}", effect.id)?;
        writeln!(out, "projection  {}", line(self.projection))?;
        writeln!(out, "outbox      {}", line(&effect.outbox))?;
        writeln!(out, "stream      {}", line(self.key()))?;
        writeln!(out, "position    {}", self.position())?;
        if let (Some(event), Some(own)) = (&effect.event, self.age()) {
            let (recorded, happened) = (event.recorded_at, event.event_time);
            writeln!(
                out,
                "event       recorded {recorded}, {} ago; happened {happened}",
                age(own)
            )?;
        }
        match &effect.given_up {
            Some(cause) => {
                let (attempts, at) = (cause.attempts, cause.at);
                writeln!(
                    out,
                    "status      given up at {at} after {attempts} attempts"
                )?;
                writeln!(out, "cause       {}", line(&cause.cause))?;
            }
            None => writeln!(out, "status      waits to be delivered")?,
        }
        match self.payload() {
            Ok(payload) => writeln!(out, "payload     {}", line(&payload.to_string()))?,
            Err(why) => {
                let bytes = effect.value.len();
                writeln!(
                    out,
                    "payload     {bytes} bytes, not readable: {}",
                    line(&why)
                )?;
            }
        }
        Ok(())
    }
}
