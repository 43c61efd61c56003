//! Which letters are to be stored, and whether somebody waits for that.

use millstream_engine::state::StateWrite;

use super::Parked;

impl Parked {
    /// Whether there is something to store.
    pub(in crate::projection) fn is_changed(&self) -> bool {
        !self.changed.is_empty() || !self.removed.is_empty()
    }

    /// Whether keys were parked whose letters were never handed over.
    pub(in crate::projection) fn has_new(&self) -> bool {
        self.has_new
    }

    /// Whether something is to be stored that is waited for: keys are free again, or somebody has decided about one.
    pub(in crate::projection) fn is_awaited(&self) -> bool {
        !self.removed.is_empty() || self.is_changed() && self.is_awaited
    }

    /// The writes that store what changed.
    pub(in crate::projection) fn store(&mut self, writes: &mut Vec<StateWrite>) {
        (self.is_awaited, self.has_new) = (false, false);
        for id in self.removed.drain(..) {
            writes.push(StateWrite::DeleteDeadLetter(id));
        }
        for id in &self.followed {
            if let Some(parked) = self.keys.get_mut(id) {
                parked.followed = false;
            }
        }
        self.changed.append(&mut self.followed);
        self.changed.sort_unstable();
        self.changed.dedup();
        for id in self.changed.drain(..) {
            if let Some(parked) = self.keys.get(&id) {
                writes.push(StateWrite::DeadLetter(Box::new(parked.letter.clone())));
            }
        }
    }
}
