//! Aligning: which lanes have come to the barrier of a checkpoint.
//!
//! Invariant: a stage takes nothing from a lane behind its barrier before it has those of all lanes. A lane that has
//! ended has come to every barrier. The barrier of a later checkpoint takes the place of one that was given up.

use std::time::Duration;

use crate::checkpoint::Epoch;

/// What a barrier leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Wait for the others.
    Hold,
    /// The same, and lanes that were held for an earlier checkpoint are held no longer.
    HoldAnew,
    /// All have come.
    Complete(Epoch),
    /// It belongs to a checkpoint that was taken or given up.
    Stale,
}

/// The lanes of a stage.
#[derive(Debug, Clone)]
pub(super) struct Barriers {
    /// By lane, the last barrier that came.
    lanes: Vec<Epoch>,
    ended: Vec<bool>,
    /// What is waited for.
    aligning: Option<(Epoch, Duration)>,
    taken: Epoch,
    aligned: Duration,
}

impl Barriers {
    pub(super) fn new(lanes: usize) -> Self {
        Self {
            lanes: vec![Epoch::default(); lanes],
            ended: vec![false; lanes],
            aligning: None,
            taken: Epoch::default(),
            aligned: Duration::ZERO,
        }
    }

    /// A barrier came in `lane`.
    pub(super) fn arrive(&mut self, lane: usize, epoch: Epoch, now: Duration) -> Arrival {
        self.lanes[lane] = epoch;
        let current = self.aligning.map_or(self.taken, |(epoch, _)| epoch);
        let is_new = epoch > current;
        if epoch <= self.taken || epoch < current {
            return Arrival::Stale;
        }
        if is_new {
            self.aligning = Some((epoch, now));
        }
        match self.look(now) {
            Some(epoch) => Arrival::Complete(epoch),
            None if is_new => Arrival::HoldAnew,
            None => Arrival::Hold,
        }
    }

    /// `lane` has ended. Gives the checkpoint whose last barrier was waited for there.
    pub(super) fn end(&mut self, lane: usize, now: Duration) -> Option<Epoch> {
        self.ended[lane] = true;
        self.look(now)
    }

    /// How long the last one that was complete was waited for.
    pub(super) const fn aligned(&self) -> Duration {
        self.aligned
    }

    fn look(&mut self, now: Duration) -> Option<Epoch> {
        let (epoch, since) = self.aligning?;
        let mut lanes = self.lanes.iter().zip(&self.ended);
        if !lanes.all(|(&came, &ended)| ended || came >= epoch) {
            return None;
        }
        self.aligning = None;
        self.taken = epoch;
        self.aligned = now.saturating_sub(since);
        Some(epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn all_lanes_are_waited_for_and_ended_ones_are_not() {
        let mut barriers = Barriers::new(3);
        assert_eq!(barriers.end(2, NOW), None);
        assert_eq!(barriers.arrive(0, Epoch(1), NOW), Arrival::HoldAnew);
        let later = Duration::from_millis(3);
        assert_eq!(
            barriers.arrive(1, Epoch(1), later),
            Arrival::Complete(Epoch(1))
        );
        assert_eq!(barriers.aligned(), later);
        assert_eq!(barriers.arrive(1, Epoch(2), NOW), Arrival::HoldAnew);
        assert_eq!(barriers.end(0, NOW), Some(Epoch(2)));
    }

    #[test]
    fn a_later_checkpoint_takes_the_place_of_one_that_was_given_up() {
        let mut barriers = Barriers::new(3);
        assert_eq!(barriers.arrive(0, Epoch(1), NOW), Arrival::HoldAnew);
        assert_eq!(barriers.arrive(1, Epoch(2), NOW), Arrival::HoldAnew);
        assert_eq!(barriers.arrive(2, Epoch(1), NOW), Arrival::Stale);
        assert_eq!(barriers.arrive(2, Epoch(2), NOW), Arrival::Hold);
        assert_eq!(
            barriers.arrive(0, Epoch(2), NOW),
            Arrival::Complete(Epoch(2))
        );
    }
}
