//! Aggregates: state that decides commands into events, and evolves by them.
//!
//! Place: the write side's logic, as plain values: nothing here knows a log, a thread or a clock.
//! Invariants: `decide` changes nothing; what it emits counts only when it returns `Ok`, all of it or
//! none; the state is what `evolve` makes of the stream's events, from `Default` on.
//! [`given`] tests an aggregate without an engine.

mod kit;

pub use kit::{Given, Outcome, given};

use serde::{Serialize, de::DeserializeOwned};

/// Something that happened, as it is stored.
pub trait Event: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Version of the event's shape, from 1. A field added with a default needs no new one.
    const VERSION: u32 = 1;
}

/// A state with rules. `Default` is the state before the first event.
pub trait Aggregate: Clone + Default + Serialize + DeserializeOwned + Send + 'static {
    /// First part of its streams' ids: `account` in `account-42`.
    const CATEGORY: &'static str;
    /// Version of the state's shape, from 1: a snapshot of another version is ignored and rebuilt.
    const VERSION: u32;
    /// What can be asked of it.
    type Command: Send + 'static;
    /// What can happen to it.
    type Event: Event;
    /// What it can refuse, and why.
    type Rejection: std::error::Error + Send + Sync + 'static;

    /// Decides a command against this state: emits events, none when there is nothing to do.
    ///
    /// # Errors
    /// A typed refusal. Nothing that was emitted before it counts.
    fn decide(
        &self,
        command: Self::Command,
        out: &mut Decision<'_, Self>,
    ) -> Result<(), Self::Rejection>;

    /// Applies an event. It has happened: there is nothing to refuse here.
    fn evolve(&mut self, event: &Self::Event);
}

/// Where a decision puts its events.
#[derive(Debug)]
pub struct Decision<'a, A: Aggregate> {
    out: &'a mut Vec<A::Event>,
}

impl<'a, A: Aggregate> Decision<'a, A> {
    /// A decision that appends to `out`.
    pub fn new(out: &'a mut Vec<A::Event>) -> Self {
        Self { out }
    }

    /// Adds an event.
    pub fn emit(&mut self, event: A::Event) {
        self.out.push(event);
    }
}
