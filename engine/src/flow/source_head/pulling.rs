//! One split: its pull, and what the operator is told of its time then.
//!
//! A split's items are judged by its own watermark, and what fires behind them by the merged one, so `late_before` is said
//! before each pull and again after it. A split that gives nothing for long enough, or has ended, holds the others back no
//! more: neither in their watermark nor in their alignment.
//! Cost: two looks at the watermark per pull; per item a comparison, and what the policy learns of it.
//! Not here: which split is next, and for how long.

use std::convert::Infallible;
use std::time::Duration;

use super::SourceHead;
use crate::flow::merge::Merged;
use crate::flow::operator::{Discard, Emit, Fault, Operator};
use crate::flow::source::{Pulled, Source};
use crate::flow::watermarks::WatermarkPolicy;
use crate::time::Timestamp;

/// Passes items on and marks late ones.
struct Tracked<'a, W, O> {
    policy: &'a mut W,
    operator: &'a mut O,
    /// What is late whatever the policy says.
    late_before: Timestamp,
    items: usize,
}

impl<T, W, O> Emit<T> for Tracked<'_, W, O>
where
    W: WatermarkPolicy<T>,
    O: Operator<T, Out = Infallible>,
{
    #[inline(always)]
    fn emit(&mut self, time: Timestamp, item: T) {
        let watermark = self.policy.watermark();
        if time < watermark {
            self.operator.late_before(watermark.max(self.late_before));
        }
        self.policy.observe(time, &item);
        self.items += 1;
        self.operator.item(time, item, &mut Discard);
    }
}

impl<S: Source, W: WatermarkPolicy<S::Item>> SourceHead<S, W> {
    /// Pulls one split and tells the operator what came of it.
    pub(super) fn pull_split<O>(
        &mut self,
        at: usize,
        items_max: usize,
        operator: &mut O,
    ) -> Result<(Pulled, usize), Fault>
    where
        O: Operator<S::Item, Out = Infallible>,
    {
        let reading = &mut self.splits[at];
        // Where it was idle the others went on without it.
        let late_before = reading.split.watermark().max(self.merger.late_before(at));
        operator.late_before(late_before);
        let mut tracked = Tracked {
            policy: &mut reading.split.policy,
            operator,
            late_before,
            items: 0,
        };
        let pulled = if reading.was_ended {
            Pulled::End
        } else {
            reading.split.source.pull(items_max, &mut tracked)?
        };
        let items = tracked.items;
        // What is given out at a watermark or by the clock is nobody's late item.
        operator.late_before(self.merger.watermark());
        reading.items += items as u64;
        self.items += items as u64;
        let watermark = reading.split.watermark();
        let moved = watermark > self.merger.lane_watermark(at);
        if items > 0 || moved {
            reading.idle = false;
            self.merger.active(at);
        }
        if items > 0 || moved || pulled == Pulled::More {
            reading.silent_since = None;
        }
        let number = reading.split.number;
        if pulled == Pulled::End {
            reading.ended = true;
            if let Some(alignment) = &self.options.alignment {
                alignment.release(number);
            }
            self.tell_watermark(at, Timestamp::MAX, operator);
            self.merger.end(at);
            if self.merger.became_idle() {
                // The others were silent already.
                operator.idle();
            }
        } else if items > 0 || moved {
            if let Some(alignment) = &self.options.alignment {
                alignment.advance(number, watermark);
            }
            self.tell_watermark(at, watermark, operator);
        }
        Ok((pulled, items))
    }

    fn tell_watermark<O>(&mut self, at: usize, watermark: Timestamp, operator: &mut O)
    where
        O: Operator<S::Item, Out = Infallible>,
    {
        let before = self.merger.watermark();
        if let Merged::Watermark(merged) = self.merger.advance(at, watermark) {
            // What this fires is not judged by the split that was read last.
            operator.late_before(before);
            operator.watermark(merged, &mut Discard);
        }
    }

    /// After a pull that found the end of what there is: takes the split as idle if that has gone on for long enough.
    ///
    /// Told from the pulls of the split alone, not from time that went by between them: a turn may be over, or the
    /// stage blocked, before each split was asked.
    pub(super) fn look_for_idle<O>(&mut self, at: usize, now: Duration, operator: &mut O)
    where
        O: Operator<S::Item, Out = Infallible>,
    {
        let reading = &mut self.splits[at];
        let since = *reading.silent_since.get_or_insert(now);
        let Some(after) = self.options.idle_after else {
            return;
        };
        if reading.idle || now.saturating_sub(since) < after {
            return;
        }
        reading.idle = true;
        if let Some(alignment) = &self.options.alignment {
            alignment.release(reading.split.number);
        }
        let before = self.merger.watermark();
        match self.merger.set_idle(at) {
            Merged::Watermark(watermark) => {
                operator.late_before(before);
                operator.watermark(watermark, &mut Discard);
            }
            Merged::Idle => operator.idle(),
            Merged::Same | Merged::Ended => {}
        }
        if self.merger.became_idle() {
            operator.idle();
        }
    }

    /// How long until the next split is idle, if it stays silent.
    pub(super) fn until_idle(&self, now: Duration) -> Option<Duration> {
        let after = self.options.idle_after?;
        let waiting = self.splits.iter();
        let waiting = waiting.filter(|reading| !reading.ended && !reading.idle);
        let left = |since: Duration| after.saturating_sub(now.saturating_sub(since));
        waiting
            .filter_map(|reading| reading.silent_since.map(left))
            .min()
    }

    /// Whether the split must wait for others in event time.
    pub(super) fn is_ahead(&self, at: usize) -> bool {
        let alignment = self.options.alignment.as_ref();
        alignment.is_some_and(|alignment| alignment.is_ahead(self.splits[at].split.number))
    }
}
