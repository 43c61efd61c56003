//! What would have been: other events, or other code, from a moment of the past on.
//!
//! Invariant: nothing is written, and nothing that is stored is changed: a fork is a replay with a list of edits.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::marker::PhantomData;

use millstream_engine::time::Timestamp;

use super::{AggregateAt, Past, evolve};
use crate::aggregate::{Aggregate, Decision};
use crate::past::{At, Cut, PastError};

/// The events of a moment with some replaced, added or left out, and perhaps the code of another type.
pub struct Fork<A: Aggregate, B: Aggregate<Event = A::Event> = A> {
    past: Past<A>,
    at: At,
    edits: BTreeMap<u64, Edit<A::Event>>,
    code: PhantomData<fn() -> B>,
}

/// What is done at one version.
struct Edit<E> {
    before: Vec<E>,
    /// `None` leaves the event as it is, `Some(None)` leaves it out.
    instead: Option<Option<E>>,
}

impl<E> Default for Edit<E> {
    fn default() -> Self {
        Self {
            before: Vec::new(),
            instead: None,
        }
    }
}

/// What a fork came to, beside what was.
#[derive(Clone, Debug, PartialEq)]
pub struct WhatIf<A, B = A> {
    /// What was at that moment; `None` when nothing had happened.
    pub was: Option<AggregateAt<A>>,
    /// The state that it would have had.
    pub state: B,
    /// How many events it would have had.
    pub events: u64,
}

impl<A: Aggregate, B: Aggregate<Event = A::Event>> std::fmt::Debug for Fork<A, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fork")
            .field("past", &self.past)
            .field("at", &self.at)
            .field("edits", &self.edits.len())
            .finish_non_exhaustive()
    }
}

impl<A: Aggregate> Past<A> {
    /// Begins to ask what would have been at a moment.
    #[must_use]
    pub fn fork(self, at: At) -> Fork<A> {
        Fork {
            past: self,
            at,
            edits: BTreeMap::new(),
            code: PhantomData,
        }
    }
}

impl<A: Aggregate, B: Aggregate<Event = A::Event>> Fork<A, B> {
    /// Has another event in the place of the one with this version. The last word about a version counts.
    #[must_use]
    pub fn replace(mut self, version: u64, event: A::Event) -> Self {
        self.edits.entry(version).or_default().instead = Some(Some(event));
        self
    }

    /// Leaves out the event with this version.
    #[must_use]
    pub fn without(mut self, version: u64) -> Self {
        self.edits.entry(version).or_default().instead = Some(None);
        self
    }

    /// Has another event happen before the one with this version, after those that were inserted there already. The
    /// version behind the last event stands for the end. Versions are those of the stored stream, whatever else is edited.
    #[must_use]
    pub fn insert(mut self, version: u64, event: A::Event) -> Self {
        self.edits.entry(version).or_default().before.push(event);
        self
    }

    /// Replays with the code of another type.
    #[must_use]
    pub fn with<C: Aggregate<Event = A::Event>>(self) -> Fork<A, C> {
        Fork {
            past: self.past,
            at: self.at,
            edits: self.edits,
            code: PhantomData,
        }
    }

    /// Replays. Cost: two states of the past; with other code, or by event time, the stream from its beginning.
    ///
    /// # Errors
    /// [`PastError`]; [`PastError::NoSuchVersion`] when an edited event is not one of that moment.
    pub fn outcome(mut self) -> Result<WhatIf<A, B>, PastError> {
        let cut = self.at.cut(&*self.past.streams, self.past.partition)?;
        let was = self.past.at_cut(&cut)?;
        let (mut state, mut next) = self.start(&cut, was.as_ref())?;
        let mut events = next;
        let stream = self.past.stream.clone();
        let (past, edits) = (&mut self.past, &mut self.edits);
        past.replay(next, &cut, |event| {
            next = event.version + 1;
            let edit = edits.remove(&event.version).unwrap_or_default();
            let instead = match edit.instead {
                None => Some(event.payload),
                Some(instead) => instead,
            };
            for event in edit.before.into_iter().chain(instead) {
                evolve::<B>(&mut state, &event, &stream, next - 1)?;
                events += 1;
            }
            Ok(())
        })?;
        if edits.get(&next).is_some_and(|edit| edit.instead.is_none()) {
            for event in edits.remove(&next).unwrap_or_default().before {
                evolve::<B>(&mut state, &event, &stream, next)?;
                events += 1;
            }
        }
        match self.edits.keys().next() {
            Some(version) => Err(self.past.no_such(*version, next)),
            None => Ok(WhatIf { was, state, events }),
        }
    }

    /// The state before the first edit and the version to go on from.
    fn start(&mut self, cut: &Cut, was: Option<&AggregateAt<A>>) -> Result<(B, u64), PastError> {
        let same_code = TypeId::of::<A>() == TypeId::of::<B>();
        let first = self.edits.keys().next().copied();
        let events = was.map_or(0, |was| was.version + 1);
        let from = first.map_or(events, |first| first.min(events));
        let Some(last) = from
            .checked_sub(1)
            .filter(|_| same_code && cut.is_beginning())
        else {
            return Ok((B::default(), 0));
        };
        let before = self.past.at_cut(&cut.up_to_version(last))?;
        let state = before.map(|before| Box::new(before.state) as Box<dyn Any>);
        let state = state.and_then(|state| state.downcast::<B>().ok());
        Ok(state.map_or_else(|| (B::default(), 0), |state| (*state, from)))
    }
}

impl<A, B: Aggregate> WhatIf<A, B> {
    /// What a command would give against that state at `now`. Nothing happens.
    ///
    /// # Errors
    /// The aggregate's refusal.
    pub fn decide(
        &self,
        command: B::Command,
        now: Timestamp,
    ) -> Result<Vec<B::Event>, B::Rejection> {
        let mut events = Vec::new();
        self.state
            .decide(command, &mut Decision::at(&mut events, now))?;
        Ok(events)
    }
}
