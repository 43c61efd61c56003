//! Carrying out what a person decided about dead letters: their events come between the others of the partition.

use millstream_engine::codec::EventReader;
use millstream_engine::log::frame::SHAPES;

use super::*;
use crate::projection::decision::{LetterDecision, LetterOrder};

impl<P: Projection> ProjectionCore<P> {
    /// Carries out the decision in this record, if it is for this projection and its letter is still here: a repeat
    /// finds another letter, or none. Events of the key that lie before `upto` were seen.
    pub(super) fn decide(
        &mut self,
        partition: PartitionId,
        frame: &Frame,
        record: &Record<'_>,
        upto: Offset,
    ) -> Result<(), LogError> {
        if let Some(decision) = read::<P>(partition, frame, record) {
            self.carry_out(&decision, partition, upto)?;
            // Tried before the next decision, which may be about what fails next. In a rebuild they follow each other.
            let key = decision.order().key.get(P::CATEGORY.len() + 1..);
            let id = key.unwrap_or_default();
            let now = self.moment();
            while let Some(next) = self.parked.untried(id) {
                self.retry_key(id, next, upto, now)?;
            }
            // The events behind this one need the shapes of its frame again.
            let _ = self.applier.begin(frame);
        }
        Ok(())
    }

    fn carry_out(
        &mut self,
        decision: &LetterDecision,
        partition: PartitionId,
        upto: Offset,
    ) -> Result<(), LogError> {
        let order = decision.order();
        let key = order.key.strip_prefix(P::CATEGORY);
        let Some(id) = key.and_then(|rest| rest.strip_prefix('-')) else {
            return Ok(());
        };
        if order.position().partition != partition || !self.parked.holds(id, order.position()) {
            return Ok(());
        }
        match decision {
            LetterDecision::Redriven(order) => {
                let gap = self.config.redrive_gap();
                let now = self.moment();
                if self.parked.redrive(id, order, gap, now) {
                    tell::<P>(order, "a dead letter is tried again");
                }
                Ok(())
            }
            LetterDecision::Discarded(order) => {
                tell::<P>(order, "the event of a dead letter is given up");
                self.dead_letters.count_discarded(1);
                self.pass_over(id, partition, upto)
            }
        }
    }

    /// Goes on behind the failed event of a key: its letter becomes that of the next event, which is tried at once,
    /// or the key is free.
    fn pass_over(
        &mut self,
        id: &str,
        partition: PartitionId,
        upto: Offset,
    ) -> Result<(), LogError> {
        let Some(first) = self.parked.first(id) else {
            return Ok(());
        };
        let now = self.moment();
        let name = format!("{}-{id}", P::CATEGORY);
        let stream = StreamRef {
            partition,
            category: P::CATEGORY,
            id,
            hash: millstream_engine::event::stream_hash(&name),
        };
        let (mut is_next, parked) = (false, &mut self.parked);
        let behind = Direction::Forwards;
        for_each_event::<_, LogError>(
            &*self.streams,
            stream,
            first + 1,
            1,
            behind,
            |frame, next| {
                if next.offset < upto {
                    is_next = true;
                    parked.pass_on(frame, next, now);
                }
                Ok(())
            },
        )?;
        if !is_next {
            self.parked.free(id);
        }
        Ok(())
    }

    /// Carries out decisions that lie beyond the positions. Only for a projection that has as many keys parked as it
    /// may have: the next failure would halt it before it came to them. When it comes to them they are repeats.
    pub(super) fn look_ahead(&mut self) -> Result<(), OpenProjectionError> {
        if self.parked.is_empty() || self.parked.len() < self.config.parked_keys_max {
            return Ok(());
        }
        let partitions = self.streams.partitions();
        for at in 0..self.sources.len() {
            let cursor = &self.sources[at].cursor;
            let (partition, upto) = (cursor.partition(), cursor.next_offset());
            let Ok(id) = LetterDecision::stream(partition, partitions) else {
                continue;
            };
            let mut ahead = Vec::new();
            let found = for_each_event(
                &*self.streams,
                StreamRef::new(&id, partitions),
                u64::MAX,
                usize::MAX,
                Direction::Backwards,
                |frame, record| {
                    if record.offset < upto {
                        return Err(Seen::All);
                    }
                    ahead.extend(read::<P>(partition, frame, record));
                    Ok(())
                },
            );
            if let Err(Seen::Failed(error)) = found {
                return Err(error.into());
            }
            for decision in ahead.iter().rev() {
                self.carry_out(decision, partition, upto)?;
            }
        }
        Ok(())
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

/// The decision of a record that is meant for this projection. One that cannot be read is nobody's.
fn read<P: Projection>(
    partition: PartitionId,
    frame: &Frame,
    record: &Record<'_>,
) -> Option<LetterDecision> {
    let mut reader = EventReader::<LetterDecision>::new();
    let decoded = reader
        .begin_frame(frame.attachment(SHAPES).unwrap_or_default())
        .and_then(|()| reader.decode(record.kind, record.payload));
    match decoded {
        Ok(decision) => (decision.order().projection == P::NAME).then_some(decision),
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
