//! Steps that bring stored events of older versions to the present one.
//!
//! Place: [`Event::upcasters`](super::Event::upcasters) builds them, [`EventReader`](super::EventReader)
//! runs them. Invariants: an event takes exactly one step per version, so there is never a choice of
//! ways; a version without a step is an error, not a guess, because an event read with the wrong meaning
//! is worse than one not read. Cost: a lookup per step and whatever the step does.

use std::collections::BTreeMap;
use std::fmt;

use compact_str::CompactString;
use hashbrown::HashMap;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{DecodeError, UpcastError};
use super::value::{Value, content_as_json, typed_from_json};
use crate::log::frame::{Encoding, Kind};

type Step = Box<dyn Fn(Value, Encoding) -> Result<Value, UpcastError> + Send + Sync>;

/// The steps from one version to the next.
#[derive(Default)]
struct Steps {
    by_type: HashMap<CompactString, Step, foldhash::fast::RandomState>,
    any: Option<Step>,
}

/// Steps from older versions of an event, by event type and the version they start from.
///
/// A step turns an event of version `from` into one of `from + 1`. It may rename the event type; the
/// next step is then looked up under the new name. Each event type needs a step from each version, so
/// that none is forgotten: say [`unchanged`](Self::unchanged) where only some types differ. A second
/// step for the same type and version replaces the first. Steps must be pure: they run at every read.
#[derive(Default)]
pub struct Upcasters {
    versions: BTreeMap<u32, Steps>,
}

impl fmt::Debug for Upcasters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        for (from, steps) in &self.versions {
            list.entries(steps.by_type.keys().map(|event_type| (event_type, from)));
            list.entries(steps.any.iter().map(|_| ("any", from)));
        }
        list.finish()
    }
}

impl Upcasters {
    /// No steps: right for version 1.
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds a step for events of `event_type`, as they are called in version `from`.
    #[must_use]
    pub fn step(
        self,
        event_type: &str,
        from: u32,
        step: impl Fn(Value) -> Result<Value, UpcastError> + Send + Sync + 'static,
    ) -> Self {
        self.insert(event_type, from, Box::new(move |value, _| step(value)))
    }

    /// Adds a step for all event types of version `from` that have none of their own.
    #[must_use]
    pub fn any(
        mut self,
        from: u32,
        step: impl Fn(Value) -> Result<Value, UpcastError> + Send + Sync + 'static,
    ) -> Self {
        self.versions.entry(from).or_default().any = Some(Box::new(move |value, _| step(value)));
        self
    }

    /// Says that the event types of version `from` without a step of their own did not change.
    #[must_use]
    pub fn unchanged(self, from: u32) -> Self {
        self.any(from, Ok)
    }

    /// Adds a step that calls events of `event_type` by another name and leaves their fields.
    #[must_use]
    pub fn rename(self, event_type: &str, from: u32, new_name: &'static str) -> Self {
        self.step(event_type, from, move |mut value| {
            value.rename(new_name)?;
            Ok(value)
        })
    }

    /// Adds a step between types: `Old` and `New` have the fields of the event, without the enum around
    /// them. The event keeps its name.
    ///
    /// For `Deposited { amount: u64 }` that is a struct with the field `amount`; for `Deposited(Amount)`
    /// it is `Amount`, for `Moved(u64, u64)` a tuple, for a variant without fields `()`.
    #[must_use]
    pub fn typed<Old, New>(
        self,
        event_type: &str,
        from: u32,
        step: impl Fn(Old) -> Result<New, UpcastError> + Send + Sync + 'static,
    ) -> Self
    where
        Old: DeserializeOwned + 'static,
        New: Serialize + 'static,
    {
        self.insert(
            event_type,
            from,
            Box::new(move |value, encoding| {
                let (name, content) = value.into_content();
                let old: Old = match encoding {
                    Encoding::Json => typed_from_json(&content),
                    Encoding::Binary | Encoding::Opaque => content.to(),
                }
                .map_err(UpcastError::Old)?;
                let new = step(old)?;
                let content = match encoding {
                    Encoding::Json => content_as_json(&new),
                    Encoding::Binary | Encoding::Opaque => Value::of(&new),
                }
                .map_err(UpcastError::New)?;
                Ok(Value::from_content(name, content))
            }),
        )
    }

    fn insert(mut self, event_type: &str, from: u32, step: Step) -> Self {
        let steps = self.versions.entry(from).or_default();
        steps.by_type.insert(event_type.into(), step);
        self
    }

    /// Brings an event from the version of its kind to `known`.
    pub(super) fn run(
        &self,
        kind: &Kind,
        known: u32,
        mut value: Value,
    ) -> Result<Value, DecodeError> {
        let mut event_type = kind.event_type.clone();
        for from in kind.schema_version..known {
            let step = self.versions.get(&from).and_then(|steps| {
                let own = steps.by_type.get(event_type.as_str());
                own.or(steps.any.as_ref())
            });
            let Some(step) = step else {
                return Err(DecodeError::MissingUpcaster {
                    event_type: event_type.into(),
                    found: kind.schema_version,
                    missing: from,
                    known,
                });
            };
            let before = value.event_type().map(CompactString::from);
            value = step(value, kind.encoding).map_err(|source| DecodeError::Upcast {
                event_type: event_type.to_string(),
                from,
                source: Box::new(source),
            })?;
            // A record may have been appended under a name that is not its variant's: only a change counts.
            match value.event_type() {
                Some(after) if before.as_deref() != Some(after) => event_type = after.into(),
                _ => {}
            }
        }
        Ok(value)
    }
}
