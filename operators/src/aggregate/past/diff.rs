//! Two moments of one aggregate, and what lies between them.

use millstream_engine::event::Recorded;

use super::{AggregateAt, Past};
use crate::aggregate::Aggregate;
use crate::past::{At, PastError};

/// Two states of an aggregate and the events that tell them apart.
#[derive(Clone, Debug, PartialEq)]
pub struct AggregateDiff<A: Aggregate> {
    /// The state at the first moment; `None` when nothing had happened yet.
    pub before: Option<AggregateAt<A>>,
    /// The state at the second moment.
    pub after: Option<AggregateAt<A>>,
    /// Events that count at the second moment and not at the first, in their order.
    pub added: Vec<Recorded<A::Event>>,
    /// Events that count at the first moment and not at the second: when that is the earlier one, or between a recorded
    /// time and an event time.
    pub removed: Vec<Recorded<A::Event>>,
}

impl<A: Aggregate> Past<A> {
    /// Compares two moments. Cost: both states, and a read of the events that tell them apart, which are held in memory;
    /// of the whole stream if one of them is an event time.
    ///
    /// # Errors
    /// As [`at`](Self::at).
    pub fn diff(&mut self, from: &At, to: &At) -> Result<AggregateDiff<A>, PastError> {
        let from = from.cut(&*self.streams, self.partition)?;
        let to = to.cut(&*self.streams, self.partition)?;
        let (before, after) = (self.at_cut(&from)?, self.at_cut(&to)?);
        let is_beginning = from.is_beginning() && to.is_beginning();
        let events = |at: &Option<AggregateAt<A>>| at.as_ref().map_or(0, |at| at.version + 1);
        let common = events(&before).min(events(&after));
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for (cut, other, only) in [(&to, &from, &mut added), (&from, &to, &mut removed)] {
            self.replay(if is_beginning { common } else { 0 }, cut, |event| {
                if !other.counts(event.position.offset, event.version, event.event_time) {
                    only.push(event);
                }
                Ok(())
            })?;
        }
        Ok(AggregateDiff {
            before,
            after,
            added,
            removed,
        })
    }
}
