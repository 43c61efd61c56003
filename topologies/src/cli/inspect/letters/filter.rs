//! Which letters a command is about: all conditions together.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Result, bail};
use millstream_engine::state::{DeadLetter, ProjectionId, StateStore};
use millstream_engine::time::Timestamp;

/// Letters read at a time.
const PAGE: usize = 256;

/// Conditions that a letter must meet, all of them.
#[derive(Clone, Debug, Default, clap::Args)]
pub(in crate::cli) struct Filter {
    /// Only those of this projection, of all its versions
    #[arg(long, value_name = "NAME")]
    projection: Option<String>,
    /// Only those that failed in this stage
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,
    /// Only those of this parked key; with a * at its end, of all keys that begin so
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Only those with this text in one of their causes
    #[arg(long, value_name = "TEXT")]
    cause: Option<String>,
    /// Only those of this class of causes, such as error, panic or unreadable: what metrics have as `cause`
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Only those that failed first so long ago or longer, such as 90s, 15m, 12h or 7d
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<Duration>,
}

impl Filter {
    /// Whether there is no condition at all.
    pub(super) const fn is_empty(&self) -> bool {
        let Self {
            projection,
            stage,
            key,
            cause,
            class,
            older_than,
        } = self;
        projection.is_none()
            && stage.is_none()
            && key.is_none()
            && cause.is_none()
            && class.is_none()
            && older_than.is_none()
    }

    /// Hands each letter that meets the conditions to `with`, in the order of projection and position. A page of
    /// them is in memory at a time, and no read transaction is open while `with` runs.
    pub(super) fn for_each(
        &self,
        state: &StateStore,
        names: &HashMap<ProjectionId, String>,
        now: Timestamp,
        mut with: impl FnMut(&DeadLetter) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        if let Some(name) = &self.projection
            && !names.values().any(|known| known == name)
        {
            bail!("there is no projection {name} in this state");
        }
        let mut after = None;
        loop {
            let page = state.dead_letters(None, after, PAGE)?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.id());
            for letter in page.iter().filter(|letter| self.is_met(letter, names, now)) {
                if with(letter)?.is_break() {
                    return Ok(());
                }
            }
        }
    }

    fn is_met(
        &self,
        letter: &DeadLetter,
        names: &HashMap<ProjectionId, String>,
        now: Timestamp,
    ) -> bool {
        let is_projection = self
            .projection
            .as_ref()
            .is_none_or(|name| names.get(&letter.projection) == Some(name));
        let is_stage = self
            .stage
            .as_deref()
            .is_none_or(|name| letter.stage == name);
        let is_key = self.key.as_deref().is_none_or(|wanted| {
            wanted
                .strip_suffix('*')
                .map_or(letter.key == wanted, |prefix| {
                    letter.key.starts_with(prefix)
                })
        });
        let is_cause = self
            .cause
            .as_deref()
            .is_none_or(|text| letter.cause.iter().any(|cause| cause.contains(text)));
        let is_class = self
            .class
            .as_deref()
            .is_none_or(|class| letter.class == class);
        let is_old = self
            .older_than
            .is_none_or(|age| now.since(letter.first_failed) >= age);
        is_projection && is_stage && is_key && is_cause && is_class && is_old
    }
}

/// The text of an argument as a time span.
fn age(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("{text:?} is no time span: write a whole number and s, m, h or d, such as 15m");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let span = count.checked_mul(seconds).ok_or_else(wrong)?;
    Ok(Duration::from_secs(span))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_a_number_and_a_unit() {
        for (text, seconds) in [
            ("0s", 0),
            ("90s", 90),
            ("15m", 900),
            ("2h", 7_200),
            ("7d", 604_800),
        ] {
            assert_eq!(age(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "s",
            "5",
            "-1s",
            "1.5h",
            "1w",
            "5é",
            "99999999999999999999d",
            "999999999999999999d",
        ] {
            assert!(age(text).is_err(), "{text}");
        }
    }
}
