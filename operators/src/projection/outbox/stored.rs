//! Stored effects without their types: for those who look into a data folder, such as the command line.
//!
//! Place: the state of a folder, at rest or beside its engine -> **[`StoredEffects`]** -> effects with their values as bytes.
//! Nothing is changed.

use std::ops::Bound;

use millstream_engine::state::{StateError, StateStore, TableId};
use millstream_engine::time::Timestamp;
use uuid::Uuid;

use super::damaged;
use super::format::{self, EffectId, EffectPlace, Stored};
use super::registering::effects_of;

/// What is known of the tries of an effect that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCause {
    /// Tries there were.
    pub attempts: u32,
    /// When the last one was.
    pub at: Timestamp,
    /// What it came to.
    pub cause: String,
}

/// An effect as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEffect {
    /// Name of its outbox.
    pub outbox: String,
    /// The same in every try, and what the outside tells repeats by.
    pub id: EffectId,
    /// Its event, and its number within that.
    pub place: EffectPlace,
    /// Id of the event's stream without its category, and when the event was recorded and happened; `None`: that is damaged, or
    /// of a later version.
    pub event: Option<EffectEvent>,
    /// What was sent, as a row is encoded; of one that is damaged all there is.
    pub value: Vec<u8>,
    /// Why it was given up; `None`: it waits to be delivered.
    pub given_up: Option<StoredCause>,
}

/// What is known of the event of an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectEvent {
    /// Id of its stream without the category.
    pub key: String,
    /// When the log took it.
    pub recorded_at: Timestamp,
    /// When it happened.
    pub event_time: Timestamp,
}

/// Which effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EffectsThat {
    /// Wait to be delivered.
    Wait,
    /// Were given up.
    AreGivenUp,
}

/// The effects of a projection.
#[derive(Clone, Debug)]
pub struct StoredEffects {
    store: StateStore,
    store_id: Option<Uuid>,
    projection: String,
    effects: TableId,
    given_up: TableId,
}

impl StoredEffects {
    /// Those of all projections that have had outboxes, in the log of this identity.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn all(store: &StateStore, store_id: Option<Uuid>) -> Result<Vec<Self>, StateError> {
        let registered = store.projections()?.into_iter();
        let own = registered.filter_map(|registered| {
            let projection = effects_of(&registered)?.to_owned();
            let [effects, given_up, ..] = registered.tables[..] else {
                return None;
            };
            Some(Self {
                store: store.clone(),
                store_id,
                projection,
                effects,
                given_up,
            })
        });
        Ok(own.collect())
    }

    /// Name of the projection.
    #[must_use]
    pub fn projection(&self) -> &str {
        &self.projection
    }

    /// A page of them behind `after`, at most `limit`, in the order of outbox and place: with the place in the store that the
    /// next page begins behind, `None` when that was all.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn page(
        &self,
        that: EffectsThat,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<(Vec<StoredEffect>, Option<Vec<u8>>), StateError> {
        let table = match that {
            EffectsThat::Wait => self.effects,
            EffectsThat::AreGivenUp => self.given_up,
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let page = damaged::page(&self.store, table, (from, Bound::Unbounded), limit, false)?;
        let effects = page.rows.into_iter();
        let effects = effects.filter_map(|(key, row)| self.read(that, &key, row));
        Ok((effects.collect(), page.end))
    }

    fn read(&self, that: EffectsThat, key: &[u8], row: Vec<u8>) -> Option<StoredEffect> {
        let (outbox, place) = format::place_of(key)?;
        let (given_up, stored) = match that {
            EffectsThat::Wait => (None, row),
            EffectsThat::AreGivenUp => match format::read_given_up(&row) {
                Some((cause, stored)) => (Some(cause), stored.to_vec()),
                None => (None, row),
            },
        };
        let read = format::read(&stored);
        // As deliveries have it.
        let recorded_at = read
            .as_ref()
            .map_or(Timestamp::MIN, |read| read.recorded_at);
        let (store_id, projection) = (self.store_id, &self.projection);
        let event = read.as_ref().map(|read: &Stored<'_>| EffectEvent {
            key: read.key.to_owned(),
            recorded_at: read.recorded_at,
            event_time: read.event_time,
        });
        Some(StoredEffect {
            id: EffectId::derive(store_id, projection, outbox, place, recorded_at),
            outbox: outbox.to_owned(),
            place,
            event,
            given_up: given_up.map(|cause| StoredCause {
                attempts: cause.attempts,
                at: cause.at,
                cause: cause.text,
            }),
            value: read.map_or(&stored[..], |read| read.value).to_vec(),
        })
    }
}
