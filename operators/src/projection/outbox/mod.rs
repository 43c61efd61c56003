//! Outboxes: side effects of a projection, stored with its rows and delivered afterwards, live only.
//!
//! Place: [`Projection::project`](super::Projection::project) -> **an outbox**, one of its tables -> the state's transaction that
//! stores rows and position -> a delivery, which hands each effect to the program's function and then deletes it.
//! Invariants: (1) an effect is stored in one transaction with the rows and the position of its event, and not at all if the
//! event is undone; (2) of each position of the log exactly one version of a projection sends effects, or nobody: see
//! `cuts.rs`; a replay, a comparison and the test kit have no way out at all; (3) its id is made of the log, the projection, the
//! outbox, position and recorded time of its event and its number within that, so it is the same however often it is made; (4) what is stored is
//! delivered at least once, if the log still has its event.
//! Threads: an [`OutboxMut`] belongs to the projection's actor; an [`Outlets`] is shared by the actors of all versions and by
//! the deliveries.
//! Failure: a write that fails stops the projection with its rows; a delivery that fails is tried again.
//! Cost: an event that sends nothing pays for remembering its stream's id; each effect is encoded, stored and deleted once.
//! Not here: who runs deliveries, see `millstream`.

mod asides;
mod calling;
mod config;
mod cuts;
mod damaged;
mod delivery;
mod figures;
mod format;
mod given_up;
mod histories;
mod outlets;
mod queue;
mod reading;
mod registering;
mod stored;
#[cfg(test)]
mod tests;
mod undeclared;
mod waiting;
mod ways;
mod writing;

pub use calling::{Deliver, Delivering};
pub use config::DeliveryConfig;
pub use delivery::{DeliveryCore, DeliveryParts};
pub use format::{Effect, EffectId, EffectPlace};
pub use given_up::{GivenUp, GivenUpEffects, GivenUpId, ListedGivenUp};
pub use outlets::Outlets;
pub use registering::{OpenOutlets, effects_of};
pub use stored::{EffectEvent, EffectsThat, StoredCause, StoredEffect, StoredEffects};
pub use undeclared::{Undeclared, tell_undeclared};
pub use ways::Outlet;
pub use writing::{OutboxMut, Sent};

use std::any::TypeId;
use std::marker::PhantomData;

use super::Row;

/// An outbox by name: a member of a projection's `Tables`, beside its tables. A constant of the program: whoever delivers
/// names it as well.
///
/// ```
/// use millstream_operators::projection::Outbox;
/// const MAILS: Outbox<String> = Outbox::named("mails");
/// assert_eq!(MAILS.name(), "mails");
/// ```
pub struct Outbox<E: 'static> {
    name: &'static str,
    from_start: bool,
    types: PhantomData<fn() -> E>,
}

impl<E> Clone for Outbox<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Outbox<E> {}

impl<E: Row> Outbox<E> {
    /// An outbox of this name, unique in a topology. Where the log is older than the outbox, its effects begin with what is
    /// appended after a program with it was first started on the data folder.
    #[must_use]
    pub const fn named(name: &'static str) -> Self {
        Self {
            name,
            from_start: false,
            types: PhantomData,
        }
    }

    /// The same outbox, with effects of all events of the log that its projection has still to apply when a program with it is
    /// first started on the data folder: of a new projection, of all there are. They are all sent again, under the same ids, if
    /// `state/` is deleted.
    #[must_use]
    pub const fn from_start(self) -> Self {
        Self {
            from_start: true,
            ..self
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<E> std::fmt::Debug for Outbox<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Outbox").field(&self.name).finish()
    }
}

/// An outbox without its type.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeclaredOutbox {
    pub name: &'static str,
    pub from_start: bool,
    /// Of its effects.
    pub effect: TypeId,
}
