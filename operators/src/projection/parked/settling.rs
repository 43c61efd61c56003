//! What becomes of a parked key when somebody decides: tried again, or passed over.

use millstream_engine::log::{LogError, StreamReader};
use millstream_engine::state::EarlierTries;

use super::super::decided::{Edit, Verdict};
use super::*;

impl Parked {
    /// Whether the letter of a key is that of this event.
    pub(in crate::projection) fn holds(&self, id: &str, event: Offset) -> bool {
        let parked = self.keys.get(id);
        parked.is_some_and(|parked| parked.letter.position.offset == event)
    }

    /// Whether an event that was taken from the log was neither applied nor passed over.
    pub(in crate::projection) fn is_waiting(&self, id: &str, event: Offset) -> bool {
        let parked = self.keys.get(id);
        parked.is_some_and(|parked| parked.letter.position.offset <= event)
    }

    /// Each key with the event that it waits for. Copies: for the start.
    pub(in crate::projection) fn heads(&self) -> Vec<(CompactString, Position)> {
        let head =
            |(id, parked): (&CompactString, &ParkedKey)| (id.clone(), parked.letter.position);
        let mut heads: Vec<_> = self.keys.iter().map(head).collect();
        heads.sort_unstable_by_key(|(_, position)| (position.partition, position.offset));
        heads
    }

    /// The oldest event of a partition that a key waits for. Looks through all keys: for the start.
    pub(in crate::projection) fn oldest_in(&self, partition: PartitionId) -> Option<Offset> {
        let positions = self.keys.values().map(|parked| parked.letter.position);
        positions
            .filter(|position| position.partition == partition)
            .map(|position| position.offset)
            .min()
    }

    /// As [`know`](Self::know), of an event that is to be tried. An edit for which there is no room is not held meanwhile: the letter
    /// knows of it once the event has failed as edited, and few do.
    ///
    /// # Errors
    /// As there.
    pub(in crate::projection) fn know_ahead(
        &mut self,
        id: &str,
        verdict: Option<&Verdict>,
        streams: &dyn StreamReader,
    ) -> Result<(), LogError> {
        let is_edited = verdict.is_some_and(|verdict| verdict.edit.is_some());
        if is_edited && !self.has_room_beside(id) {
            return Ok(());
        }
        self.know(id, verdict, streams)
    }

    /// What the log says about a key's event, if it says anything: how many redrives of it there are, and what it is instead,
    /// which its letter shows then. A letter that knows as many redrives knows the edits among them.
    ///
    /// # Errors
    /// [`LogError`]: the edit could not be read; nothing has changed.
    pub(in crate::projection) fn know(
        &mut self,
        id: &str,
        verdict: Option<&Verdict>,
        streams: &dyn StreamReader,
    ) -> Result<(), LogError> {
        let (Some(verdict), Some(parked)) = (verdict, self.keys.get(id)) else {
            return Ok(());
        };
        if parked.letter.redrives == verdict.redrives {
            return Ok(());
        }
        let partition = parked.letter.position.partition;
        let edit = verdict.edit.map(|edit| edit.payload(streams, partition));
        let edit = edit.transpose()?;
        let Some(mut parked) = self.take(id) else {
            return Ok(());
        };
        parked.is_decided = true;
        let letter = &mut parked.letter;
        letter.redrives = verdict.redrives;
        if let Some(payload) = edit {
            letter.kind = Edit::kind(&letter.kind);
            letter.payload = payload.into_bytes();
            letter.dictionary = Vec::new();
        }
        self.insert(id.into(), parked);
        self.changed.push(id.into());
        Ok(())
    }

    /// Has a dead letter tried again; its tries so far become part of its history. One that is tried anyhow stays as
    /// it is.
    pub(in crate::projection) fn redrive(
        &mut self,
        id: &str,
        by: &str,
        gap: Duration,
        now: Moment,
    ) {
        let Some(parked) = self.keys.get_mut(id) else {
            return;
        };
        let letter = &mut parked.letter;
        if letter.status != DeadLetterStatus::Dead {
            return;
        }
        let cause = letter.cause.first().cloned().unwrap_or_default();
        letter.remember(EarlierTries {
            attempts: letter.attempts,
            last_failed: letter.last_failed,
            cause,
            redriven_by: by.to_owned(),
        });
        self.hurry(id, gap, now);
    }

    /// Has a key looked at again, each `gap` after the one before.
    pub(in crate::projection) fn hurry(&mut self, id: &str, gap: Duration, now: Moment) {
        let Some(mut parked) = self.take(id) else {
            return;
        };
        let due = if gap.is_zero() {
            now.monotonic
        } else {
            let due = self.hurried_at.max(now.monotonic + LATER);
            self.hurried_at = due + gap;
            due
        };
        let due = parked.due.map_or(due, |before| before.min(due));
        let at = now.wall.saturating_add(due.saturating_sub(now.monotonic));
        parked.letter.status = DeadLetterStatus::Retrying { at };
        (parked.due, parked.is_decided) = (Some(due), true);
        self.insert(id.into(), parked);
        self.changed.push(id.into());
    }
}
