//! Every state that an aggregate was in, one after the other.

use std::collections::VecDeque;

use millstream_engine::event::Recorded;

use super::{Past, evolve};
use crate::aggregate::Aggregate;
use crate::past::{At, Cut, PastError};

/// Events that are read ahead.
const PAGE_EVENTS: u64 = 256;

/// An event, and the state after it.
#[derive(Clone, Debug, PartialEq)]
pub struct Step<A: Aggregate> {
    /// The event, with its version.
    pub event: Recorded<A::Event>,
    /// The state after it.
    pub state: A,
}

/// Iterates over what happened to an aggregate, oldest first, up to what was durable when it was made.
///
/// Cost: 256 events are read at a time; each step copies the state. Ends after an error.
#[derive(Debug)]
pub struct History<A: Aggregate> {
    past: Past<A>,
    cut: Cut,
    state: A,
    page: VecDeque<Recorded<A::Event>>,
    /// First version that was not read yet; `None` when none is left.
    next: Option<u64>,
}

impl<A: Aggregate> Past<A> {
    /// All that happened to it, from a version (inclusive) on. Cost to begin: as the state at the version before.
    ///
    /// # Errors
    /// [`PastError`]; [`PastError::NoSuchVersion`] when it has fewer than `from` events.
    pub fn history(mut self, from: u64) -> Result<History<A>, PastError> {
        let cut = At::Latest.cut(&*self.streams, self.partition)?;
        let before = match from.checked_sub(1) {
            Some(last) => self.at(&At::Version(last))?,
            None => None,
        };
        Ok(History {
            past: self,
            cut,
            state: before.map_or_else(A::default, |before| before.state),
            page: VecDeque::new(),
            next: Some(from),
        })
    }
}

impl<A: Aggregate> History<A> {
    fn fill(&mut self) -> Result<(), PastError> {
        let Some(from) = self.next.take() else {
            return Ok(());
        };
        let last = from + (PAGE_EVENTS - 1);
        let page = &mut self.page;
        self.past
            .replay(from, &self.cut.up_to_version(last), |event| {
                page.push_back(event);
                Ok(())
            })?;
        // A page that is not full is the last one.
        self.next = self.page.back().map(|event| event.version + 1);
        self.next = self.next.filter(|next| *next > last);
        Ok(())
    }

    fn step(&mut self) -> Result<Option<Step<A>>, PastError> {
        if self.page.is_empty() {
            self.fill()?;
        }
        let Some(event) = self.page.pop_front() else {
            return Ok(None);
        };
        evolve(
            &mut self.state,
            &event.payload,
            &event.stream,
            event.version,
        )?;
        Ok(Some(Step {
            state: self.state.clone(),
            event,
        }))
    }
}

impl<A: Aggregate> Iterator for History<A> {
    type Item = Result<Step<A>, PastError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.next = None;
            self.page.clear();
        }
        step.transpose()
    }
}
