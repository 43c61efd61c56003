//! The test kit: given some events, when a command comes, then these events or this rejection.
//!
//! ```
//! use millstream_operators::aggregate::{Aggregate, Decision, Event, given};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Default, Serialize, Deserialize)]
//! struct Door { open: bool }
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! enum DoorEvent { Opened }
//! impl Event for DoorEvent {}
//! #[derive(Debug, PartialEq)]
//! struct AlreadyOpen;
//! # impl std::fmt::Display for AlreadyOpen {
//! #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("open") }
//! # }
//! # impl std::error::Error for AlreadyOpen {}
//! struct Open;
//! impl Aggregate for Door {
//!     const CATEGORY: &'static str = "door";
//!     const VERSION: u32 = 1;
//!     type Command = Open;
//!     type Event = DoorEvent;
//!     type Rejection = AlreadyOpen;
//!     fn decide(&self, _: Open, out: &mut Decision<'_, Self>) -> Result<(), AlreadyOpen> {
//!         if self.open { return Err(AlreadyOpen) }
//!         out.emit(DoorEvent::Opened);
//!         Ok(())
//!     }
//!     fn evolve(&mut self, _: &DoorEvent) { self.open = true }
//! }
//!
//! given::<Door>([]).when(Open).then([DoorEvent::Opened]);
//! given::<Door>([DoorEvent::Opened]).when(Open).then_rejected(AlreadyOpen);
//! ```

use std::fmt::Debug;

use millstream_engine::time::Timestamp;

use super::{Aggregate, Decision};

/// An aggregate with a past.
#[derive(Debug)]
pub struct Given<A> {
    state: A,
    now: Timestamp,
}

/// What a command came to.
#[derive(Debug)]
pub struct Outcome<A: Aggregate> {
    before: A,
    now: Timestamp,
    result: Result<Vec<A::Event>, A::Rejection>,
}

/// An aggregate to which `events` have happened.
pub fn given<A: Aggregate>(events: impl IntoIterator<Item = A::Event>) -> Given<A> {
    let mut state = A::default();
    events.into_iter().for_each(|event| state.evolve(&event));
    let now = Timestamp::EPOCH;
    Given { state, now }
}

impl<A: Aggregate> Given<A> {
    /// Lets the next decisions be made at this time; 1970-01-01 otherwise.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Self {
        Self { now, ..self }
    }

    /// Decides a command.
    pub fn when(self, command: A::Command) -> Outcome<A> {
        let mut events = Vec::new();
        let result = self
            .state
            .decide(command, &mut Decision::at(&mut events, self.now))
            .map(|()| events);
        Outcome {
            before: self.state,
            now: self.now,
            result,
        }
    }
}

impl<A: Aggregate> Outcome<A>
where
    A::Event: Debug + PartialEq,
    A::Rejection: Debug + PartialEq,
{
    /// Expects exactly these events, in this order, and goes on with the state after them.
    ///
    /// # Panics
    /// When the command was rejected or the events differ.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = A::Event>) -> Given<A> {
        let expected: Vec<_> = expected.into_iter().collect();
        let events = match self.result {
            Ok(events) => events,
            Err(rejection) => {
                panic!("expected {expected:?}, the command was rejected: {rejection:?}")
            }
        };
        assert_eq!(events, expected, "the command gave other events");
        let mut state = self.before;
        events.iter().for_each(|event| state.evolve(event));
        let now = self.now;
        Given { state, now }
    }

    /// Expects this rejection, and goes on with the state as it was.
    ///
    /// # Panics
    /// When the command was accepted or rejected for another reason.
    #[track_caller]
    pub fn then_rejected(self, expected: A::Rejection) -> Given<A> {
        match self.result {
            Ok(events) => {
                panic!("expected the rejection {expected:?}, the command gave {events:?}")
            }
            Err(rejection) => assert_eq!(
                rejection, expected,
                "the command was rejected for another reason"
            ),
        }
        Given {
            state: self.before,
            now: self.now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Event;
    use super::*;
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Debug, Default, Serialize, Deserialize)]
    struct Sum(i64);
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Added(i64);
    impl Event for Added {}
    #[derive(Debug, PartialEq, thiserror::Error)]
    #[error("{0} is past ten")]
    struct PastTen(i64);

    impl Aggregate for Sum {
        const CATEGORY: &'static str = "sum";
        const VERSION: u32 = 1;
        type Command = i64;
        type Event = Added;
        type Rejection = PastTen;

        /// Emits before it refuses, which must not count.
        fn decide(&self, by: i64, out: &mut Decision<'_, Self>) -> Result<(), PastTen> {
            out.emit(Added(by));
            if self.0 + by > 10 {
                Err(PastTen(self.0 + by))
            } else {
                Ok(())
            }
        }

        fn evolve(&mut self, event: &Added) {
            self.0 += event.0;
        }
    }

    #[test]
    fn the_state_goes_on_from_what_was_accepted() {
        given::<Sum>([Added(3)])
            .when(4)
            .then([Added(4)])
            .when(4)
            .then_rejected(PastTen(11))
            .when(3)
            .then([Added(3)]);
    }

    #[test]
    #[should_panic(expected = "was rejected: PastTen(13)")]
    fn a_rejection_is_not_taken_for_events() {
        given::<Sum>([Added(3)]).when(10).then([]);
    }

    #[test]
    #[should_panic(expected = "gave [Added(1)]")]
    fn events_are_not_taken_for_a_rejection() {
        given::<Sum>([]).when(1).then_rejected(PastTen(1));
    }

    #[test]
    #[should_panic(expected = "other events")]
    fn other_events_are_told_apart() {
        given::<Sum>([]).when(1).then([Added(2)]);
    }
}
