//! Reading dead letters.

use std::ops::Bound;

use super::{KeyBound, PAGE_BYTES_MAX, StateView, as_ref, prefix_bounds};
use crate::state::seal;
use crate::state::{DeadLetter, DeadLetterId, ProjectionId, StateError};

impl StateView<'_> {
    /// The dead letter with this id.
    ///
    /// # Errors
    /// [`StateError::Format`], [`StateError::Store`].
    pub fn dead_letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, StateError> {
        let stored = self.reader.get(self.databases.dead_letters, &id.to_key())?;
        stored.map(|value| decode(&id.to_key(), value)).transpose()
    }

    /// Dead letters of one projection (or of all), by projection, partition and offset, behind `after`; at most
    /// `limit` and about 16 MiB, at least one if there is one. Empty means that none is left.
    ///
    /// # Errors
    /// [`StateError::Format`]: one is not readable; none is passed over, since its key must stay parked.
    /// [`StateError::Store`].
    pub fn dead_letters(
        &self,
        projection: Option<ProjectionId>,
        after: Option<DeadLetterId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StateError> {
        let mut page = Vec::new();
        let mut bytes = 0;
        if limit == 0 {
            return Ok(page);
        }
        let (mut from, to) = bounds(projection);
        if let Some(after) = after
            && bound_key(&from).is_none_or(|low| after.to_key()[..] >= *low)
        {
            from = Bound::Excluded(after.to_key().to_vec());
        }
        let letters = self
            .reader
            .range(self.databases.dead_letters, as_ref(&from), as_ref(&to))?;
        for letter in letters {
            let (key, value) = letter?;
            bytes += value.len();
            page.push(decode(key, value)?);
            if page.len() >= limit || bytes >= PAGE_BYTES_MAX {
                break;
            }
        }
        Ok(page)
    }

    /// Number of dead letters of one projection, or of all. Cost: for one, a walk over their keys.
    ///
    /// # Errors
    /// [`StateError::Store`].
    pub fn dead_letter_count(&self, projection: Option<ProjectionId>) -> Result<u64, StateError> {
        let database = self.databases.dead_letters;
        if projection.is_none() {
            return Ok(self.reader.len(database)?);
        }
        let (from, to) = bounds(projection);
        let mut count = 0;
        for letter in self.reader.range(database, as_ref(&from), as_ref(&to))? {
            letter?;
            count += 1;
        }
        Ok(count)
    }
}

pub(super) fn decode(key: &[u8], stored: &[u8]) -> Result<DeadLetter, StateError> {
    let id = DeadLetterId::from_key(key);
    id.zip(seal::unsealed(key, stored))
        .and_then(|(id, value)| DeadLetter::decode(id, value))
        .ok_or(StateError::Format {
            database: "dead_letters",
            what: "a dead letter",
        })
}

fn bounds(projection: Option<ProjectionId>) -> (KeyBound, KeyBound) {
    match projection {
        Some(projection) => prefix_bounds(projection.0),
        None => (Bound::Unbounded, Bound::Unbounded),
    }
}

fn bound_key(bound: &KeyBound) -> Option<&[u8]> {
    match bound {
        Bound::Included(key) | Bound::Excluded(key) => Some(key),
        Bound::Unbounded => None,
    }
}
