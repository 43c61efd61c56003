//! What is given out, and to whom: closures that take all of it, or may refuse.
//!
//! Invariant: what is refused comes back as it was given, so that it is given again under the same id.

use std::fmt;
use std::sync::Arc;

use millstream_engine::time::Timestamp;

/// Identifies a result for whoever receives it, over all restarts of its dataflow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResultId {
    /// The dataflow and what the state of the stage is found by: the name of its keyed state if it has one, else its own.
    pub stage: Arc<str>,
    /// The partition of the stage.
    pub partition: usize,
    /// Results of a partition are numbered as they come, from 0.
    pub number: u64,
}

/// A result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery<T> {
    /// Identifies it.
    pub id: ResultId,
    /// Its event time.
    pub time: Timestamp,
    /// What it is.
    pub item: T,
}

/// Who results are given to.
pub trait Receive<T>: Send + 'static {
    /// Takes a result, or says why not.
    ///
    /// # Errors
    /// Why it is refused.
    fn receive(&mut self, delivery: Delivery<T>) -> Result<(), (Delivery<T>, String)>;
}

/// A closure that takes every result.
#[derive(Debug, Clone)]
pub struct Always<F>(pub(super) F);

impl<T, F: FnMut(Delivery<T>) + Send + 'static> Receive<T> for Always<F> {
    fn receive(&mut self, delivery: Delivery<T>) -> Result<(), (Delivery<T>, String)> {
        (self.0)(delivery);
        Ok(())
    }
}

/// A closure that may refuse.
#[derive(Debug, Clone)]
pub struct Trying<F>(pub(super) F);

impl<T, E, F> Receive<T> for Trying<F>
where
    E: fmt::Display,
    F: FnMut(&Delivery<T>) -> Result<(), E> + Send + 'static,
{
    fn receive(&mut self, delivery: Delivery<T>) -> Result<(), (Delivery<T>, String)> {
        let received = (self.0)(&delivery);
        received.map_err(|error| (delivery, error.to_string()))
    }
}
