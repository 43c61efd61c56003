//! Aggregates: state that decides commands into events, and evolves by them.
//!
//! Place: the write side's logic. An [`Aggregate`] is plain values: it knows no log, thread or clock, and
//! [`given`] tests it without an engine. [`Host`] runs the instances of one type in one partition,
//! [`AggregateHandle`] is how callers reach them.
//! Invariants: `decide` changes nothing; what it emits counts only when it returns `Ok`, all of it or
//! none; the state is what `evolve` makes of the stream's events, from `Default` on.

mod activation;
mod command;
mod config;
mod conflict;
mod handle;
mod host;
mod instances;
mod kit;
mod past;
mod slab;
mod snapshots;
mod taking;
mod trying;

pub use command::{Ack, Acknowledge, CommandError, CommandItem, CommandOptions, CommandResult};
pub use config::AggregateConfig;
pub use conflict::ConflictRetry;
pub use handle::{AggregateHandle, BulkCommand, CommandLane};
pub use host::{Host, SnapshotStore};
pub use kit::{Given, Outcome, given};
pub use millstream_engine::codec::Event;
pub use millstream_engine::partition::{CommandId, Conflict, Expected};
pub use past::{AggregateAt, AggregateDiff, Fork, History, Past, Step, WhatIf};
pub use trying::TrySendError;

use millstream_engine::time::Timestamp;

use serde::{Serialize, de::DeserializeOwned};

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

    /// About the memory that a command takes while it waits, in bytes, for the mailbox's bound. Say more than
    /// the default where commands hold large texts or lists.
    fn command_bytes(command: &Self::Command) -> usize {
        size_of_val(command)
    }

    /// Applies an event. It has happened: there is nothing to refuse here.
    fn evolve(&mut self, event: &Self::Event);
}

/// Where a decision puts its events.
#[derive(Debug)]
pub struct Decision<'a, A: Aggregate> {
    out: &'a mut Vec<A::Event>,
    now: Timestamp,
}

impl<'a, A: Aggregate> Decision<'a, A> {
    /// A decision that appends to `out`, made at `now`.
    pub fn at(out: &'a mut Vec<A::Event>, now: Timestamp) -> Self {
        Self { out, now }
    }

    /// When the events are recorded. The only time that a decision may ask for: the engine's, not the
    /// machine's.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Adds an event.
    pub fn emit(&mut self, event: A::Event) {
        self.out.push(event);
    }
}
