//! State per window that closes by the frontier, which q5, q7, q8 and the keyed count share.

use std::collections::BTreeMap;

use timely::dataflow::operators::Capability;
use timely::progress::frontier::MutableAntichain;

use super::Millis;

/// A state for each window that is open, with the right to give out rows at the window's end.
pub(super) struct Open<S> {
    windows: BTreeMap<Millis, (Capability<Millis>, S)>,
}

/// A window's end, the right to give out its rows, and its state.
pub(super) type Closed<S> = (Millis, Capability<Millis>, S);

impl<S: Default> Open<S> {
    pub(super) fn new() -> Self {
        Self {
            windows: BTreeMap::new(),
        }
    }

    /// The state of the window that ends at `end`, which `capability` may still write to.
    pub(super) fn state(
        &mut self,
        end: Millis,
        capability: impl FnOnce() -> Capability<Millis>,
    ) -> &mut S {
        &mut self
            .windows
            .entry(end)
            .or_insert_with(|| (capability(), S::default()))
            .1
    }

    /// The oldest window that is complete: nothing can come from before its end.
    pub(super) fn closed(&mut self, frontier: &MutableAntichain<Millis>) -> Option<Closed<S>> {
        let end = *self.windows.first_key_value()?.0;
        if frontier.less_than(&end) {
            return None;
        }
        self.pop()
    }

    /// The oldest window that is complete, where what belongs to it comes at its end.
    pub(super) fn over(&mut self, frontier: &MutableAntichain<Millis>) -> Option<Closed<S>> {
        let end = *self.windows.first_key_value()?.0;
        if frontier.less_equal(&end) {
            return None;
        }
        self.pop()
    }

    fn pop(&mut self) -> Option<Closed<S>> {
        let (end, (capability, state)) = self.windows.pop_first()?;
        Some((end, capability, state))
    }
}
