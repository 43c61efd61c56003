//! Effects that wait in outboxes which the program does not declare: nobody sends them, so the start says so.
//!
//! Cost: a look per outbox there is anything of, and a walk over the keys of those that are not declared.

use std::ops::Bound;

use millstream_engine::metrics::observe_undeclared;
use millstream_engine::state::{StateError, StateStore, TableId};

use super::format::{place_of, prefix};
use super::registering::effects_of;

/// What waits in an outbox that is not declared.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undeclared {
    /// Name of the projection that had the outbox.
    pub projection: String,
    /// Name of the outbox.
    pub outbox: String,
    /// Effects that wait in it, at least 1.
    pub effects: u64,
}

/// Tells of each outbox that has effects and is not declared, in the log and in figures, and gives them. `is_declared` says it of a
/// projection's name and an outbox's.
///
/// # Errors
/// [`StateError`].
#[doc(hidden)]
pub fn tell_undeclared(
    store: &StateStore,
    is_declared: impl Fn(&str, &str) -> bool,
) -> Result<Vec<Undeclared>, StateError> {
    let mut found = Vec::new();
    for registered in store.projections()? {
        let (Some(projection), [effects, ..]) = (effects_of(&registered), &registered.tables[..])
        else {
            continue;
        };
        for (outbox, effects) in waiting(store, *effects, |outbox| is_declared(projection, outbox))?
        {
            tracing::warn!(
                projection,
                outbox,
                effects,
                "effects wait in an outbox that this program does not declare: nobody sends them until one runs that does"
            );
            observe_undeclared(projection, &outbox, effects);
            found.push(Undeclared {
                projection: projection.to_owned(),
                outbox,
                effects,
            });
        }
    }
    Ok(found)
}

/// How many wait in each outbox of a projection that is not passed over.
fn waiting(
    store: &StateStore,
    table: TableId,
    is_passed_over: impl Fn(&str) -> bool,
) -> Result<Vec<(String, u64)>, StateError> {
    let mut found = Vec::new();
    let mut from = Bound::Unbounded;
    loop {
        let after = from.as_ref().map(Vec::as_slice);
        let Some(key) = store.keys(table, after, 1)?.pop() else {
            return Ok(found);
        };
        let Some((outbox, _)) = place_of(&key) else {
            from = Bound::Excluded(key);
            continue;
        };
        let first = prefix(outbox);
        let mut last = first.clone();
        last.extend([u8::MAX; 15]);
        if !is_passed_over(outbox) {
            let size =
                store.size_between(table, Bound::Included(&first), Bound::Included(&last))?;
            found.push((outbox.to_owned(), size.rows));
        }
        from = Bound::Excluded(last);
    }
}
