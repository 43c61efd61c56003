//! Merges the watermarks of several lanes or splits: the minimum over those that something is to be expected of.
//!
//! Those are neither idle nor complete. A complete lane, one at [`Timestamp::MAX`], says nothing of the others: if all of
//! them are idle it is the latest that any lane has told, and only when all are complete time has come to its end. Lanes
//! whose times mean nothing to the others can be left out.
//! Invariant: the merged watermark never decreases, also when an idle lane with an old watermark comes back.
//! Cost: one pass over the lanes per watermark; lanes are few (senders of one stage).

use crate::time::Timestamp;

#[derive(Debug, Clone, Copy)]
struct Lane {
    watermark: Timestamp,
    /// The same before it was complete.
    latest: Timestamp,
    idle: bool,
    ended: bool,
    /// It has no say in what time it is.
    is_left_out: bool,
}

impl Lane {
    /// Whether everything of it has come.
    fn is_complete(&self) -> bool {
        self.watermark == Timestamp::MAX || self.is_left_out
    }

    /// Whether it holds the others back. One that ended before it was complete was stopped, and does so for good:
    /// nothing may close that its missing items belong to.
    fn holds(&self) -> bool {
        !self.is_complete() && (self.ended || !self.idle)
    }
}

/// What changed for the stage when one of its lanes told something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merged {
    /// Nothing.
    Same,
    /// The merged watermark is this now.
    Watermark(Timestamp),
    /// All lanes are idle (or complete) now, and were not before.
    Idle,
    /// All lanes have ended.
    Ended,
}

/// Watermarks of some lanes, numbered from zero, and their minimum.
#[derive(Debug, Clone)]
pub struct WatermarkMerger {
    lanes: Vec<Lane>,
    merged: Timestamp,
    /// What it was before it came to its end.
    before_end: Timestamp,
    idle: bool,
}

impl WatermarkMerger {
    /// `lanes` lanes that have told nothing yet.
    pub fn new(lanes: usize) -> Self {
        let lane = Lane {
            watermark: Timestamp::MIN,
            latest: Timestamp::MIN,
            idle: false,
            ended: false,
            is_left_out: false,
        };
        Self {
            lanes: vec![lane; lanes],
            merged: Timestamp::MIN,
            before_end: Timestamp::MIN,
            idle: false,
        }
    }

    /// Takes no notice of what `lane` tells of time: only its end is waited for.
    pub fn leave_out(&mut self, lane: usize) {
        self.lanes[lane].is_left_out = true;
    }

    /// The merged watermark.
    pub fn watermark(&self) -> Timestamp {
        self.merged
    }

    /// What is saved of it, whose end does not count where it `is_held` back.
    pub fn saved(&self, is_held: bool) -> Timestamp {
        if is_held && self.merged == Timestamp::MAX {
            return self.before_end;
        }
        self.merged
    }

    /// Begins where it had come to before: it never decreases.
    pub fn resume(&mut self, watermark: Timestamp) {
        self.merged = self.merged.max(watermark);
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

    /// Whether it was told that all lanes are idle or complete, and none has spoken since.
    pub fn is_idle(&self) -> bool {
        self.idle
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
        if self.lanes[lane].is_left_out {
            return Merged::Same;
        }
        self.active(lane);
        let lane = &mut self.lanes[lane];
        lane.watermark = lane.watermark.max(watermark);
        if !lane.is_complete() {
            lane.latest = lane.watermark;
        }
        self.merge()
    }

    /// `lane` is idle.
    pub fn set_idle(&mut self, lane: usize) -> Merged {
        if self.lanes[lane].is_left_out {
            return Merged::Same;
        }
        self.lanes[lane].idle = true;
        match self.merge() {
            Merged::Same if self.became_idle() => Merged::Idle,
            merged => merged,
        }
    }

    /// Whether all lanes are idle or complete now, so that the stage should say that it is idle; tells it once. Not if
    /// all are complete: the watermark says more then.
    pub fn became_idle(&mut self) -> bool {
        let quiet = !self.lanes.iter().any(Lane::holds);
        let became = !self.idle && quiet && !self.is_complete();
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

    fn is_complete(&self) -> bool {
        self.lanes.iter().all(Lane::is_complete)
    }

    fn is_all_ended(&self) -> bool {
        self.lanes.iter().all(|lane| lane.ended)
    }

    /// The latest watermark of any lane, where all are idle or complete: what the merged one would be if that lane had
    /// become idle last. So it does not matter in which order they are told, and partitions that hear of the same lanes
    /// in different order come to the same time; one that was behind would be late for what follows.
    fn latest(&self) -> Timestamp {
        let lanes = self.lanes.iter().filter(|lane| !lane.is_left_out);
        let latest = lanes.map(|lane| lane.latest).max();
        latest.unwrap_or(Timestamp::MIN)
    }

    fn merge(&mut self) -> Merged {
        let holding = self.lanes.iter().filter(|lane| lane.holds());
        let minimum = match holding.map(|lane| lane.watermark).min() {
            Some(minimum) => minimum,
            None if self.is_complete() => Timestamp::MAX,
            None => self.latest(),
        };
        if minimum <= self.merged {
            return Merged::Same;
        }
        if minimum == Timestamp::MAX {
            self.before_end = self.merged;
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
    fn all_idle_is_told_once_and_in_any_order_comes_to_the_same_time() {
        let mut merger = WatermarkMerger::new(2);
        merger.advance(0, at(1));
        assert_eq!(merger.set_idle(1), Merged::Watermark(at(1)));
        assert_eq!(merger.set_idle(0), Merged::Idle);
        let mut merger = WatermarkMerger::new(2);
        merger.advance(0, at(1));
        assert_eq!(merger.set_idle(0), Merged::Same);
        assert_eq!(merger.set_idle(1), Merged::Watermark(at(1)));
        assert!(merger.became_idle());
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

    #[test]
    fn a_complete_lane_says_nothing_of_idle_ones() {
        let mut merger = WatermarkMerger::new(3);
        merger.advance(0, at(10));
        merger.advance(1, at(20));
        assert_eq!(merger.advance(2, Timestamp::MAX), Merged::Watermark(at(10)));
        assert_eq!(merger.end(2), Merged::Same);
        assert_eq!(merger.set_idle(0), Merged::Watermark(at(20)));
        assert_eq!(merger.set_idle(1), Merged::Idle);
        assert_eq!(merger.watermark(), at(20));
        assert_eq!(merger.advance(1, at(21)), Merged::Watermark(at(21)));
        assert_eq!(merger.advance(1, Timestamp::MAX), Merged::Same);
        assert!(merger.became_idle(), "the only one that is left is idle");
        assert_eq!(merger.end(1), Merged::Same);
        assert!(!merger.became_idle(), "it was told");
        let all = merger.advance(0, Timestamp::MAX);
        assert_eq!(all, Merged::Watermark(Timestamp::MAX));
        assert!(!merger.became_idle());
        assert_eq!(merger.end(0), Merged::Ended);
    }

    #[test]
    fn a_stopped_lane_holds_also_if_it_was_idle() {
        let mut merger = WatermarkMerger::new(2);
        merger.advance(0, at(1));
        merger.set_idle(0);
        assert_eq!(merger.advance(1, at(5)), Merged::Watermark(at(5)));
        assert_eq!(merger.end(0), Merged::Same);
        assert_eq!(merger.advance(1, at(6)), Merged::Same);
        assert_eq!(merger.set_idle(1), Merged::Same, "nothing may go on");
    }

    #[test]
    fn a_lane_that_is_left_out_has_no_say_and_its_end_is_waited_for() {
        let mut merger = WatermarkMerger::new(2);
        merger.leave_out(1);
        assert_eq!(merger.advance(0, at(3)), Merged::Watermark(at(3)));
        assert_eq!(merger.advance(1, at(1)), Merged::Same);
        assert_eq!(merger.set_idle(1), Merged::Same);
        assert_eq!(merger.set_idle(0), Merged::Idle);
        merger.active(1);
        assert!(!merger.became_idle());
        let all = merger.advance(0, Timestamp::MAX);
        assert_eq!(all, Merged::Watermark(Timestamp::MAX));
        assert_eq!(merger.end(0), Merged::Same);
        assert_eq!(merger.end(1), Merged::Ended);
    }

    proptest! {
        #[test]
        fn it_never_decreases_and_is_the_minimum_of_what_counts(
            steps in prop::collection::vec((0usize..3, 0u8..16, -100i64..100), 0..60)
        ) {
            let mut merger = WatermarkMerger::new(3);
            let (mut own, mut idle) = ([Timestamp::MIN; 3], [false; 3]);
            let (mut ended, mut latest) = ([false; 3], [Timestamp::MIN; 3]);
            let mut expected = Timestamp::MIN;
            for (lane, what, seconds) in steps {
                if ended[lane] {
                    continue;
                }
                let mut told = Merged::Same;
                match what {
                    0..6 => {
                        own[lane] = own[lane].max(at(seconds));
                        latest[lane] = own[lane];
                        idle[lane] = false;
                        told = merger.advance(lane, at(seconds));
                    }
                    6..10 => {
                        idle[lane] = true;
                        told = merger.set_idle(lane);
                    }
                    10..14 => {
                        idle[lane] = false;
                        merger.active(lane);
                    }
                    14 => {
                        (own[lane], idle[lane], ended[lane]) = (Timestamp::MAX, false, true);
                        told = merger.advance(lane, Timestamp::MAX);
                        merger.end(lane);
                    }
                    _ => {
                        ended[lane] = true;
                        told = merger.end(lane);
                    }
                }
                if told == Merged::Ended {
                    break; // Nobody asks for the time any more.
                }
                let holds = |lane: &usize| {
                    own[*lane] < Timestamp::MAX && (ended[*lane] || !idle[*lane])
                };
                let minimum = (0..3).filter(holds).map(|lane| own[lane]).min();
                let is_complete = own == [Timestamp::MAX; 3];
                let minimum = minimum.or(is_complete.then_some(Timestamp::MAX));
                let minimum = minimum.or(latest.into_iter().max());
                let before = expected;
                // An item alone moves nothing: the next watermark or idleness does.
                if !(10..14).contains(&what) {
                    expected = minimum.map_or(expected, |minimum| expected.max(minimum));
                }
                prop_assert_eq!(merger.watermark(), expected);
                if expected > before {
                    prop_assert_eq!(told, Merged::Watermark(expected));
                }
            }
        }
    }
}
