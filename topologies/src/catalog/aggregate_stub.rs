//! Stands in for `millstream_operators::aggregate` until it is there; then this file goes.

use serde::{Serialize, de::DeserializeOwned};

/// What happened, as stored.
pub trait Event: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Version of the event's shape.
    const VERSION: u32 = 1;
}

/// The write side's state and rules.
pub trait Aggregate: Clone + Default + Serialize + DeserializeOwned + Send + 'static {
    /// First part of the stream ids.
    const CATEGORY: &'static str;
    /// Version of the state's shape.
    const VERSION: u32;
    /// What can be asked.
    type Command: Send + 'static;
    /// What can happen.
    type Event: Event;
    /// What can be refused.
    type Rejection: std::error::Error + Send + Sync + 'static;

    /// Decides a command.
    ///
    /// # Errors
    /// A typed refusal; nothing that was emitted counts then.
    fn decide(
        &self,
        command: Self::Command,
        out: &mut Decision<'_, Self>,
    ) -> Result<(), Self::Rejection>;

    /// Applies an event.
    fn evolve(&mut self, event: &Self::Event);
}

/// Where a decision's events go.
#[derive(Debug)]
pub struct Decision<'a, A: Aggregate> {
    out: &'a mut Vec<A::Event>,
}

impl<'a, A: Aggregate> Decision<'a, A> {
    /// A decision that writes to `out`.
    pub fn new(out: &'a mut Vec<A::Event>) -> Self {
        Self { out }
    }

    /// Adds an event.
    pub fn emit(&mut self, event: A::Event) {
        self.out.push(event);
    }
}
