//! `dead-letters stats`.
//!
//! Memory: one entry per group, at most 10,000 of them; what comes on top is counted in one entry of its stage.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow;

use anyhow::Result;
use millstream_engine::state::{DeadLetter, DeadLetterStatus};
use millstream_engine::time::{Clock, SystemClock, Timestamp};
use serde_json::{Value, json};

use super::{CAUSE_CHARS, Data, DataFolder, Filter, age, names, number, one_line, table};

/// Groups that are told apart.
const GROUPS_MAX: usize = 10_000;
/// The cause of letters for which there was no group left.
const OTHERS: &str = "(other causes)";

/// Which letters.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct StatsArguments {
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    filter: Filter,
}

/// What letters of one stage and cause have in common.
#[derive(Clone, Copy, Debug)]
struct Group {
    letters: u64,
    dead: u64,
    events: u64,
    bytes: u64,
    oldest: Timestamp,
}

pub(in crate::cli) fn stats(
    arguments: &StatsArguments,
    is_json: bool,
    out: &mut impl Write,
) -> Result<()> {
    let state = DataFolder::find(&arguments.data.data)?.state()?;
    let names = names(&state)?;
    let now = SystemClock::new().now();
    let mut groups: BTreeMap<(String, String), Group> = BTreeMap::new();
    arguments.filter.for_each(&state, &names, now, |letter| {
        let cause = letter.cause.first().map_or("", String::as_str);
        let mut group = (letter.stage.to_string(), without_numbers(cause));
        if groups.len() >= GROUPS_MAX && !groups.contains_key(&group) {
            OTHERS.clone_into(&mut group.1);
        }
        groups
            .entry(group)
            .or_insert_with(|| Group::new(letter.first_failed))
            .add(letter);
        Ok(ControlFlow::Continue(()))
    })?;
    let mut groups: Vec<_> = groups.into_iter().collect();
    // Stable: equal ones stay in the order of stage and cause.
    groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.letters));
    if is_json {
        for ((stage, cause), group) in &groups {
            writeln!(out, "{}", group.to_json(stage, cause, now))?;
        }
        return Ok(());
    }
    if groups.is_empty() {
        writeln!(out, "no dead letters")?;
        return Ok(());
    }
    let mut printed = table(&[
        "stage", "letters", "dead", "events", "bytes", "oldest", "cause",
    ]);
    for ((stage, cause), group) in &groups {
        printed.add_row(vec![
            one_line(stage, usize::MAX).into(),
            number(group.letters),
            number(group.dead),
            number(group.events),
            number(group.bytes),
            age(now.since(group.oldest)).into(),
            one_line(cause, CAUSE_CHARS).into(),
        ]);
    }
    writeln!(out, "{}", printed.trim_fmt())?;
    Ok(())
}

impl Group {
    const fn new(oldest: Timestamp) -> Self {
        Self {
            letters: 0,
            dead: 0,
            events: 0,
            bytes: 0,
            oldest,
        }
    }

    fn add(&mut self, letter: &DeadLetter) {
        self.letters += 1;
        self.dead += u64::from(letter.status == DeadLetterStatus::Dead);
        self.events += letter.followers + 1;
        self.bytes += letter.bytes() as u64;
        self.oldest = self.oldest.min(letter.first_failed);
    }

    fn to_json(self, stage: &str, cause: &str, now: Timestamp) -> Value {
        json!({
            "stage": stage,
            "cause": cause,
            "letters": self.letters,
            "dead": self.dead,
            "retrying": self.letters - self.dead,
            "events": self.events,
            "bytes": self.bytes,
            "oldest_failed_at": self.oldest.to_string(),
            "oldest_age_seconds": now.since(self.oldest).as_secs(),
        })
    }
}

/// The text with `#` in place of each number.
fn without_numbers(text: &str) -> String {
    let mut found = String::with_capacity(text.len());
    let mut in_number = false;
    for c in text.chars() {
        let is_digit = c.is_ascii_digit();
        if !is_digit {
            found.push(c);
        } else if !in_number {
            found.push('#');
        }
        in_number = is_digit;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_do_not_tell_causes_apart() {
        assert_eq!(
            without_numbers("cannot bear -17 of 3"),
            "cannot bear -# of #"
        );
        assert_eq!(without_numbers("1"), "#");
        assert_eq!(without_numbers(""), "");
    }
}
