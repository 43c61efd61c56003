//! Merges the watermarks of several lanes or splits: the minimum over those that are not idle.
//!
//! Invariant: the merged watermark never decreases, also when an idle lane with an old watermark comes back.
//! Cost: one pass over the lanes per watermark; lanes are few (senders of one stage).

use crate::time::Timestamp;

#[derive(Debug, Clone, Copy)]
struct Lane {
    watermark: Timestamp,
    idle: bool,
    ended: bool,
}

/// What changed for the stage when one of its lanes told something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merged {
    /// Nothing.
    Same,
    /// The merged watermark is this now.
    Watermark(Timestamp),
    /// All lanes are idle (or ended) now, and were not before.
    Idle,
    /// All lanes have ended.
    Ended,
}

/// Watermarks of some lanes, numbered from zero, and their minimum.
#[derive(Debug, Clone)]
pub struct WatermarkMerger {
    lanes: Vec<Lane>,
    merged: Timestamp,
    idle: bool,
}

impl WatermarkMerger {
    /// `lanes` lanes that have told nothing yet.
    pub fn new(lanes: usize) -> Self {
        let lane = Lane {
            watermark: Timestamp::MIN,
            idle: false,
            ended: false,
        };
        Self {
            lanes: vec![lane; lanes],
            merged: Timestamp::MIN,
            idle: false,
        }
    }

    /// The merged watermark.
    pub fn watermark(&self) -> Timestamp {
        self.merged
    }

    /// Times before this are late for an item of `lane`: its own watermark, or the merged one where that is
    /// later because the lane was idle.
    pub fn late_before(&self, lane: usize) -> Timestamp {
        self.lanes[lane].watermark.max(self.merged)
    }

    /// The watermark of one lane.
    pub fn lane_watermark(&self, lane: usize) -> Timestamp {
        self.lanes[lane].watermark
    }

    /// Whether a lane has ended.
    pub fn is_ended(&self, lane: usize) -> bool {
        self.lanes[lane].ended
    }

    /// An item came in `lane`: it is not idle.
    #[inline]
    pub fn active(&mut self, lane: usize) {
        if self.lanes[lane].idle {
            self.lanes[lane].idle = false;
            self.idle = false;
        }
    }

    /// `lane` tells a watermark; an earlier one than before counts for nothing.
    pub fn advance(&mut self, lane: usize, watermark: Timestamp) -> Merged {
        self.active(lane);
        let lane = &mut self.lanes[lane];
        lane.watermark = lane.watermark.max(watermark);
        self.merge()
    }

    /// `lane` is idle.
    pub fn set_idle(&mut self, lane: usize) -> Merged {
        self.lanes[lane].idle = true;
        let merged = self.merge();
        if merged == Merged::Same && !self.idle && self.is_quiet() {
            self.idle = true;
            return Merged::Idle;
        }
        merged
    }

    /// Whether all lanes are idle or ended and the stage should say so; tells it once.
    pub fn became_idle(&mut self) -> bool {
        let became = !self.idle && self.is_quiet() && !self.is_all_ended();
        self.idle |= became;
        became
    }

    /// `lane` has ended.
    pub fn end(&mut self, lane: usize) -> Merged {
        self.lanes[lane].ended = true;
        if self.is_all_ended() {
            Merged::Ended
        } else {
            self.merge()
        }
    }

    fn is_quiet(&self) -> bool {
        self.lanes.iter().all(|lane| lane.idle || lane.ended)
    }

    fn is_all_ended(&self) -> bool {
        self.lanes.iter().all(|lane| lane.ended)
    }

    /// An ended lane keeps its watermark: the maximum if it was complete, and if it was stopped nothing may
    /// close that its missing items belong to.
    fn merge(&mut self) -> Merged {
        let active = self.lanes.iter().filter(|lane| !lane.idle || lane.ended);
        let Some(minimum) = active.map(|lane| lane.watermark).min() else {
            return Merged::Same;
        };
        if minimum <= self.merged {
            return Merged::Same;
        }
        self.merged = minimum;
        Merged::Watermark(minimum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn the_slowest_lane_that_is_not_idle_decides() {
        let mut merger = WatermarkMerger::new(3);
        assert_eq!(merger.advance(0, at(10)), Merged::Same);
        assert_eq!(merger.advance(1, at(5)), Merged::Same);
        assert_eq!(merger.advance(2, at(7)), Merged::Watermark(at(5)));
        assert_eq!(merger.set_idle(1), Merged::Watermark(at(7)));
        merger.active(1);
        assert_eq!(
            merger.advance(1, at(6)),
            Merged::Same,
            "it does not go back"
        );
        assert_eq!(merger.late_before(1), at(7));
        assert_eq!(merger.late_before(0), at(10));
    }

    #[test]
    fn all_idle_is_told_once_and_does_not_move_the_watermark() {
        let mut merger = WatermarkMerger::new(2);
        merger.advance(0, at(1));
        assert_eq!(merger.set_idle(0), Merged::Same);
        assert_eq!(merger.set_idle(1), Merged::Idle);
        assert_eq!(merger.set_idle(1), Merged::Same);
        assert_eq!(merger.advance(0, at(3)), Merged::Watermark(at(3)));
        assert_eq!(merger.set_idle(0), Merged::Idle);
    }

    #[test]
    fn a_stopped_lane_holds_the_watermark_and_a_complete_one_does_not() {
        let mut merger = WatermarkMerger::new(2);
        merger.advance(0, Timestamp::MAX);
        assert_eq!(merger.end(0), Merged::Same);
        assert_eq!(merger.advance(1, at(4)), Merged::Watermark(at(4)));
        assert_eq!(merger.end(1), Merged::Ended);
        assert_eq!(merger.watermark(), at(4));
    }

    proptest! {
        #[test]
        fn it_never_decreases_and_is_the_minimum_of_what_counts(
            steps in prop::collection::vec((0usize..3, 0u8..4, -100i64..100), 0..200)
        ) {
            let mut merger = WatermarkMerger::new(3);
            let (mut own, mut idle) = ([Timestamp::MIN; 3], [false; 3]);
            let mut expected = Timestamp::MIN;
            for (lane, what, seconds) in steps {
                match what {
                    0 | 1 => {
                        own[lane] = own[lane].max(at(seconds));
                        idle[lane] = false;
                        merger.advance(lane, at(seconds));
                    }
                    2 => {
                        idle[lane] = true;
                        merger.set_idle(lane);
                    }
                    _ => {
                        idle[lane] = false;
                        merger.active(lane);
                    }
                }
                let active = (0..3).filter(|&lane| !idle[lane]).map(|lane| own[lane]);
                // An item alone moves nothing: the next watermark or idleness does.
                if what < 3 {
                    expected = active.min().map_or(expected, |minimum| expected.max(minimum));
                }
                prop_assert_eq!(merger.watermark(), expected);
            }
        }
    }
}
