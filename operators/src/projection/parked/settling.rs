//! What becomes of a parked key when somebody decides: tried again, or passed over.

use millstream_engine::state::EarlierTries;

use super::*;
use crate::projection::decision::LetterOrder;

impl Parked {
    /// As [`move_on`](Self::move_on), where the event before was given up: `record` has not failed yet.
    pub(in crate::projection) fn pass_on(
        &mut self,
        frame: &Frame,
        record: &Record<'_>,
        now: Moment,
    ) {
        self.move_on(frame, record, now);
        if let Some(mut parked) = self.take(record.stream) {
            let letter = &mut parked.letter;
            letter.attempts = 0;
            letter.cause =
                vec!["the event before it was given up, and it was not tried yet".into()];
            letter.earlier = Vec::new();
            (letter.first_failed, letter.last_failed) = (now.wall, now.wall);
            self.insert(record.stream.into(), parked);
        }
    }

    /// Whether the letter of a key is that of this event.
    pub(in crate::projection) fn holds(&self, id: &str, position: Position) -> bool {
        let parked = self.keys.get(id);
        parked.is_some_and(|parked| parked.letter.position == position)
    }

    /// The place to go on from of a key whose event was not tried yet, since the one before it was given up.
    pub(in crate::projection) fn untried(&self, id: &str) -> Option<(PartitionId, Offset, u64)> {
        let parked = self
            .keys
            .get(id)
            .filter(|parked| parked.letter.attempts == 0)?;
        let Position { partition, offset } = parked.letter.position;
        Some((partition, offset, parked.version))
    }

    /// Number in its stream of the event that failed.
    pub(in crate::projection) fn first(&self, id: &str) -> Option<u64> {
        self.keys.get(id).map(|parked| parked.first)
    }

    /// Has a dead letter tried again, each `gap` after the one before; its tries so far become part of its
    /// history. `false`, and nothing changes, when it was tried since somebody decided or is tried anyhow.
    pub(in crate::projection) fn redrive(
        &mut self,
        id: &str,
        order: &LetterOrder,
        gap: Duration,
        now: Moment,
    ) -> bool {
        let is_same = self.keys.get(id).is_some_and(|parked| {
            parked.letter.attempts == order.attempts
                && parked.letter.status == DeadLetterStatus::Dead
        });
        if !is_same {
            return false;
        }
        let Some(mut parked) = self.take(id) else {
            return false;
        };
        let due = self.redrive_at.max(now.monotonic + LATER);
        self.redrive_at = due + gap;
        let letter = &mut parked.letter;
        let cause = letter.cause.first().cloned().unwrap_or_default();
        letter.remember(EarlierTries {
            attempts: letter.attempts,
            last_failed: letter.last_failed,
            cause,
            redriven_by: order.by.clone(),
        });
        let at = now.wall.saturating_add(due.saturating_sub(now.monotonic));
        letter.status = DeadLetterStatus::Retrying { at };
        parked.due = Some(due);
        self.insert(id.into(), parked);
        self.changed.push(id.into());
        true
    }
}
