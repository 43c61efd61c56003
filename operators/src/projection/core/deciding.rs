//! Decisions about dead letters: read ahead when the projection opens, met at their place afterwards.
//!
//! An event that is edited is applied as such wherever it stands, and one that is given up is passed over: at once when its key waits for it, at its own place in
//! rows that are made anew. Either way the key has the same events in the same order, and no event is applied that is
//! given up later in the log: for that, decisions are read before the first event.

use super::*;
use crate::projection::decided::decision_in;
use crate::projection::decision::{LetterDecision, LetterOrder};

impl<P: Projection> ProjectionCore<P> {
    /// Reads what was decided about events that wait or are still to come, and has it carried out: at once, before anything
    /// new is applied, where what waits leaves little room; else as while it runs, each a while after the one before. Cost: a look at each decision about them; in a rebuild at each there is.
    pub(super) fn read_decisions(&mut self) -> Result<(), OpenProjectionError> {
        for at in 0..self.sources.len() {
            self.read_decisions_of(at)?;
        }
        let now = self.moment();
        self.opened_at = now.monotonic;
        let gap = if self.has_little_room() {
            Duration::ZERO
        } else {
            self.config.redrive_gap()
        };
        for (id, position) in self.parked.heads() {
            let source = self
                .sources
                .iter_mut()
                .find(|source| source.cursor.partition() == position.partition);
            let Some(source) = source else { continue };
            let Some(verdict) = source.decided.get(&id, position.offset).cloned() else {
                continue;
            };
            self.parked
                .know_ahead(&id, Some(&verdict), &*self.streams)?;
            if verdict.discarded {
                self.parked.hurry(&id, gap, now);
            } else if source
                .decided
                .carry_out(&id, position.offset, verdict.redrives)
            {
                self.parked.redrive(&id, &verdict.by, gap, now);
            }
        }
        Ok(())
    }

    /// Whether those that fail next might find no room, or what waits already is too much.
    fn has_little_room(&self) -> bool {
        let parked = &self.parked;
        self.is_filling() || parked.overfull().is_some() || parked.overgrown().is_some()
    }

    fn read_decisions_of(&mut self, at: usize) -> Result<(), OpenProjectionError> {
        let partitions = self.streams.partitions();
        let source = &mut self.sources[at];
        let (partition, position) = (source.cursor.partition(), source.cursor.next_offset());
        // No partition of this log.
        let Ok(id) = LetterDecision::stream(partition, partitions) else {
            return Ok(());
        };
        let stream = StreamRef::new(&id, partitions);
        // A decision lies behind its event.
        let oldest = self.parked.oldest_in(partition).unwrap_or(position);
        let floor = oldest.min(position);
        let from = first_behind(&*self.streams, stream, floor)?;
        source.read_upto = position;
        let (parked, ahead) = (&self.parked, Direction::Forwards);
        for_each_event::<_, LogError>(
            &*self.streams,
            stream,
            from,
            usize::MAX,
            ahead,
            |frame, record| {
                source.read_upto = source.read_upto.max(record.offset.plus(1));
                let Some(decision) = read::<P>(partition, frame, record) else {
                    return Ok(());
                };
                let order = decision.order();
                let (id, event) = (id_of::<P>(order), Offset(order.offset));
                if event < position && !parked.is_waiting(id, event) {
                    return Ok(());
                }
                if source.decided.take(id, record.offset, &decision) && record.offset < position {
                    let redrives = source.decided.redrives(id, event);
                    source.decided.carry_out(id, event, redrives);
                }
                Ok(())
            },
        )?;
        Ok(())
    }

    /// Comes to the decision in this record.
    pub(super) fn decide(
        &mut self,
        at: usize,
        frame: &Frame,
        record: &Record<'_>,
    ) -> Result<(), LogError> {
        let source = &mut self.sources[at];
        let partition = source.cursor.partition();
        let Some(decision) = read::<P>(partition, frame, record) else {
            return Ok(());
        };
        let order = decision.order();
        let (id, event) = (id_of::<P>(order), Offset(order.offset));
        if record.offset >= source.read_upto {
            // An event that does not wait was settled: a repeat.
            let waits = self.parked.is_waiting(id, event);
            if !waits || !source.decided.take(id, record.offset, &decision) {
                return Ok(());
            }
        }
        let is_next = self.parked.holds(id, event);
        let (gap, now) = (self.config.redrive_gap(), self.moment());
        match &decision {
            LetterDecision::Redriven(order) | LetterDecision::Edited { order, .. } => {
                let decided = &mut self.sources[at].decided;
                let redrives = order.redrives.saturating_add(1);
                if decided.carry_out(id, event, redrives) && is_next {
                    let what = match decision {
                        LetterDecision::Edited { .. } => {
                            "the event of a dead letter is edited, and tried as it is now"
                        }
                        _ => "a dead letter is tried again",
                    };
                    tell::<P>(order, what);
                    self.parked
                        .know_ahead(id, decided.get(id, event), &*self.streams)?;
                    self.parked.redrive(id, &order.by, gap, now);
                }
            }
            LetterDecision::Discarded(order) => {
                let decided = &self.sources[at].decided;
                if is_next && decided.fate(id, event) == Fate::Discarded {
                    tell::<P>(order, "the event of a dead letter is given up");
                    self.parked.hurry(id, gap, now);
                }
            }
        }
        Ok(())
    }
}

/// Number in the stream of its first event behind `floor`, or of the one after its last.
fn first_behind(
    streams: &dyn StreamReader,
    stream: StreamRef<'_>,
    floor: Offset,
) -> Result<u64, LogError> {
    if floor == Offset(0) {
        return Ok(0);
    }
    let (mut first, back) = (u64::MAX, Direction::Backwards);
    let found = for_each_event(streams, stream, u64::MAX, usize::MAX, back, |_, record| {
        if record.offset <= floor {
            return Err(Seen::All);
        }
        first = record.version;
        Ok(())
    });
    match found {
        Ok(_) | Err(Seen::All) => Ok(first),
        Err(Seen::Failed(error)) => Err(error),
    }
}

/// Why no earlier decision is looked at.
enum Seen {
    All,
    Failed(LogError),
}

impl From<LogError> for Seen {
    fn from(error: LogError) -> Self {
        Self::Failed(error)
    }
}

/// The decision of a record that is meant for this projection, about an event of its category that lies before it. One
/// that cannot be read is nobody's.
fn read<P: Projection>(
    partition: PartitionId,
    frame: &Frame,
    record: &Record<'_>,
) -> Option<LetterDecision> {
    match decision_in(frame, record) {
        Ok(decision) => {
            let order = decision.order();
            let is_ours = order.stage.is_none()
                && order.projection == P::NAME
                && order.version <= P::VERSION
                && order.partition == partition.0
                && order.offset < record.offset.0
                && !id_of::<P>(order).is_empty();
            is_ours.then_some(decision)
        }
        Err(cause) => {
            let position = millstream_engine::event::Position {
                partition,
                offset: record.offset,
            };
            tracing::warn!(projection = P::NAME, %position, %cause, "a decision about a dead letter cannot be read");
            None
        }
    }
}

/// Id of the stream without the category; empty for a stream of another one.
fn id_of<P: Projection>(order: &LetterOrder) -> &str {
    let rest = order.key.strip_prefix(P::CATEGORY);
    rest.and_then(|rest| rest.strip_prefix('-'))
        .unwrap_or_default()
}

fn tell<P: Projection>(order: &LetterOrder, what: &str) {
    tracing::info!(
        projection = P::NAME,
        key = order.key,
        position = %order.position(),
        by = order.by,
        reason = order.reason,
        "{what}"
    );
}
