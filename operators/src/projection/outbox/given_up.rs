//! Effects that were given up: seen, sent again, or thrown away, by hand.

use std::marker::PhantomData;
use std::ops::Bound;
use std::sync::Arc;

use millstream_engine::codec::from_slice;
use millstream_engine::event::PartitionId;
use millstream_engine::state::{RowsSize, StateBatch, StateError, StateWrite};
use millstream_engine::time::Timestamp;

use super::super::{QueryError, Row};
use super::damaged;
use super::format::{self, Effect, EffectId, EffectPlace, Span, prefix};
use super::histories::is_gone;
use super::outlets::Outlets;

/// Which effect it is that was given up. Its place alone does not say so: once an older log was restored, or the newer one again,
/// another effect may have come there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GivenUpId {
    /// Where it lies in its outbox.
    pub place: EffectPlace,
    /// Which one it is. `None` where what is stored is damaged so that nobody can tell.
    pub id: Option<EffectId>,
}

/// An effect that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUp<E> {
    /// Where it lies in its outbox.
    pub place: EffectPlace,
    /// The effect; `attempt` says how many tries there were. None: the log does not have its event any more.
    pub effect: Effect<E>,
    /// What the last try came to.
    pub cause: String,
    /// When that was.
    pub at: Timestamp,
}

impl<E> GivenUp<E> {
    /// What it is settled by.
    #[must_use]
    pub const fn which(&self) -> GivenUpId {
        GivenUpId {
            place: self.place,
            id: Some(self.effect.id),
        }
    }
}

/// One that was given up with what settles it, also if it cannot be read.
pub type ListedGivenUp<E> = (GivenUpId, Result<GivenUp<E>, QueryError>);

/// The effects of one outbox that were given up. Clones mean the same.
pub struct GivenUpEffects<E> {
    outlets: Arc<Outlets>,
    outbox: &'static str,
    types: PhantomData<fn() -> E>,
}

impl<E> Clone for GivenUpEffects<E> {
    fn clone(&self) -> Self {
        Self {
            outlets: Arc::clone(&self.outlets),
            outbox: self.outbox,
            types: PhantomData,
        }
    }
}

impl<E> std::fmt::Debug for GivenUpEffects<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("GivenUpEffects").field(&self.outbox).finish()
    }
}

impl<E: Row> GivenUpEffects<E> {
    /// Those of the outbox of this name.
    #[doc(hidden)]
    #[must_use]
    pub fn of(outlets: &Arc<Outlets>, outbox: &'static str) -> Self {
        Self {
            outlets: Arc::clone(outlets),
            outbox,
            types: PhantomData,
        }
    }

    /// Effects of the outbox that are stored and not delivered yet; those that were given up do not count.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.outlets.depth(self.outbox).unwrap_or(0)
    }

    /// Effects that were given up, behind `after`, at most `limit`, in the order of their places. Empty means that there are
    /// no more. One that is damaged, or not what this program has sent, is an error at its place, and can be
    /// [discarded](Self::discard).
    ///
    /// # Errors
    /// [`QueryError::State`].
    pub fn list(
        &self,
        after: Option<EffectPlace>,
        limit: usize,
    ) -> Result<Vec<ListedGivenUp<E>>, QueryError> {
        let first = prefix(self.outbox);
        let mut end = first.clone();
        end.extend([u8::MAX; 15]);
        let after = after.map(|after| after.key(self.outbox));
        let from = after
            .as_ref()
            .map_or(Bound::Included(&first), Bound::Excluded);
        let range = (from.map(Vec::as_slice), Bound::Included(&end[..]));
        let (store, given_up) = (&self.outlets.store, self.outlets.ids.given_up);
        let page = damaged::page(store, given_up, range, limit, false)?;
        let listed = page.rows.iter().map(|(key, row)| {
            let place = EffectPlace::of_key(key).ok_or_else(not_read)?;
            Ok((self.which(place, row), self.read(place, row)))
        });
        listed.collect()
    }

    /// Which one a stored row is.
    fn which(&self, place: EffectPlace, row: &[u8]) -> GivenUpId {
        let stored = format::read_given_up(row).and_then(|(_, stored)| format::read(stored));
        let id_at = |recorded_at| self.outlets.effect_id(self.outbox, place, recorded_at);
        let id = stored.map(|stored| id_at(stored.recorded_at));
        GivenUpId { place, id }
    }

    fn read(&self, place: EffectPlace, row: &[u8]) -> Result<GivenUp<E>, QueryError> {
        let (cause, stored) = format::read_given_up(row).ok_or_else(not_read)?;
        let stored = format::read(stored).ok_or_else(not_read)?;
        let outlets = &self.outlets;
        Ok(GivenUp {
            place,
            effect: Effect {
                id: outlets.effect_id(self.outbox, place, stored.recorded_at),
                position: place.position,
                index: place.index,
                key: stored.key.to_owned(),
                recorded_at: stored.recorded_at,
                event_time: stored.event_time,
                attempt: cause.attempts,
                value: from_slice(stored.value)?,
            },
            cause: cause.text,
            at: cause.at,
        })
    }

    /// Has one delivered again, under its id; `false` if none was given up at its place. Effects of its stream that came after it may
    /// have been delivered before. Waits for the state's writer, and is durable as rows are.
    ///
    /// # Errors
    /// [`QueryError::State`]; [`QueryError::OtherEffect`]: another one lies at its place, which stays; [`QueryError::Row`] when it cannot be read: nobody could deliver it, so it stays where it is;
    /// [`QueryError::EventGone`]: the log has another event there, or may get one, so it could take the place of that one's effect.
    pub async fn redrive(&self, which: GivenUpId) -> Result<bool, QueryError> {
        let own = self.clone();
        blocking(move || own.settle(which, true)).await
    }

    /// Throws one away; `false` if none was given up at its place. Waits for the state's writer.
    ///
    /// # Errors
    /// [`QueryError::State`]; [`QueryError::OtherEffect`]: another one lies at its place, which stays.
    pub async fn discard(&self, which: GivenUpId) -> Result<bool, QueryError> {
        let own = self.clone();
        blocking(move || own.settle(which, false)).await
    }

    fn settle(&self, which: GivenUpId, is_redriven: bool) -> Result<bool, QueryError> {
        let place = which.place;
        let (ids, key) = (self.outlets.ids, place.key(self.outbox));
        let _one = self.outlets.settling();
        let Some(row) = damaged::get(&self.outlets.store, ids.given_up, &key)? else {
            return Ok(false);
        };
        let found = self.which(place, &row);
        if found != which {
            return Err(QueryError::OtherEffect {
                position: place.position,
                index: place.index,
                asked: which.id,
                found: found.id,
            });
        }
        let mut writes = vec![StateWrite::DeleteRow {
            table: ids.given_up,
            key: key.clone(),
        }];
        let mut size = RowsSize::default();
        if is_redriven {
            self.read(place, &row)?;
            let (cause, stored) = format::read_given_up(&row).ok_or_else(not_read)?;
            if is_gone(&cause) {
                let position = place.position;
                return Err(QueryError::EventGone { position });
            }
            size.add_row(key.len(), stored.len());
            writes.push(StateWrite::PutRow {
                table: ids.effects,
                key,
                value: stored.to_vec(),
            });
        }
        let writer = &self.outlets.writer;
        let submitted = writer.submit_blocking(StateBatch::new(writes));
        submitted.map_err(|refused| refused.reason)?;
        writer.flush()?;
        if is_redriven && let Some(own) = self.outlets.find(self.outbox) {
            let PartitionId(partition) = place.position.partition;
            if let Some(partition) = own.partitions.get(usize::from(partition)) {
                partition.add(size, Span::of(place), false);
            }
        }
        Ok(true)
    }
}

fn not_read() -> StateError {
    StateError::Format {
        database: "effects",
        what: "an effect that was given up",
    }
}

/// Runs what waits for the state's writer away from the runtime's workers, to its end also if nobody waits for it.
async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, QueryError> + Send + 'static,
) -> Result<T, QueryError> {
    match tokio::task::spawn_blocking(run).await {
        Ok(outcome) => outcome,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is being dropped.
            Err(_) => Err(StateError::Closed.into()),
        },
    }
}
