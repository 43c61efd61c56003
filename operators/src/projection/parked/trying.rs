//! What becomes of a key when its events are tried: it is parked, fails again, goes on to the event behind, or is freed.

use compact_str::format_compact;
use millstream_engine::log::frame::{Frame, SHAPES};

use super::*;
use crate::failing::{Failure, NOT_TRIED};

impl Parked {
    /// Parks the stream of an event that failed the first time. If it failed in earlier rows, the log may have redrives of it:
    /// see [`know`](Self::know).
    pub(in crate::projection) fn park(
        &mut self,
        partition: PartitionId,
        frame: &Frame,
        record: &Record<'_>,
        failure: Failure,
        now: Moment,
    ) {
        let key = format_compact!("{}-{}", self.sender.category, record.stream);
        let (class, cause) = failure.told_as();
        if let Some(unsaid) = self.telling.next(now.monotonic) {
            tracing::warn!(
                projection = self.sender.stage,
                key = %key,
                position = %Position { partition, offset: record.offset },
                cause = cause.first().map(String::as_str),
                unsaid,
                "an event could not be applied: its key is parked"
            );
        }
        let letter = DeadLetter {
            projection: self.sender.projection,
            stage: self.sender.stage.into(),
            version: self.sender.version,
            key,
            status: DeadLetterStatus::Dead,
            cause,
            class,
            attempts: 1,
            first_failed: now.wall,
            last_failed: now.wall,
            position: Position {
                partition,
                offset: record.offset,
            },
            kind: record.kind.clone(),
            dictionary: frame.attachment(SHAPES).unwrap_or_default().to_vec(),
            payload: record.payload.to_vec(),
            earlier: Vec::new(),
            redrives: 0,
            followers: 0,
            followers_bytes: 0,
            follower_offsets: Vec::new(),
        };
        let id = CompactString::from(record.stream);
        let mut parked = ParkedKey {
            letter,
            first: record.version,
            version: record.version,
            due: None,
            followed: false,
            passed: (0, 0),
            held_bytes: 0,
            event_bytes: record.payload.len(),
            is_decided: false,
            died_of: None,
        };
        schedule(&mut parked, self.policy, now);
        self.insert(id.clone(), parked);
        self.changed.push(id);
        self.has_new = true;
    }

    /// An event that cannot be read is passed over.
    pub(in crate::projection) fn tell_skipped(
        &mut self,
        partition: PartitionId,
        record: &Record<'_>,
        now: Moment,
    ) {
        if let Some(unsaid) = self.telling.next(now.monotonic) {
            tracing::warn!(
                projection = self.sender.stage,
                key = record.stream,
                position = %Position { partition, offset: record.offset },
                unsaid,
                "an event cannot be read and is passed over"
            );
        }
    }

    /// An edit that is no event of its type says so: whoever made it was told that it is tried.
    pub(in crate::projection) fn tell_unfit(
        &mut self,
        partition: PartitionId,
        record: &Record<'_>,
        failure: &Failure,
        now: Moment,
    ) {
        if failure.is_unreadable()
            && let Some(unsaid) = self.telling.next(now.monotonic)
        {
            tracing::warn!(
                projection = self.sender.stage,
                key = record.stream,
                position = %Position { partition, offset: record.offset },
                cause = failure.cause(),
                unsaid,
                "an event cannot be read as it was edited: its dead letter says why"
            );
        }
    }

    /// The same event failed again.
    pub(in crate::projection) fn failed_again(&mut self, id: &str, failure: Failure, now: Moment) {
        if let Some(mut parked) = self.take(id) {
            parked.letter.attempts += 1;
            (parked.letter.class, parked.letter.cause) = failure.told_as();
            parked.letter.last_failed = now.wall;
            schedule(&mut parked, self.policy, now);
            self.insert(id.into(), parked);
            self.changed.push(id.into());
        }
    }

    /// An event behind the failed one, which itself was applied or passed over, failed: it takes its place.
    pub(in crate::projection) fn succeed(
        &mut self,
        partition: PartitionId,
        frame: &Frame,
        record: &Record<'_>,
        failure: Failure,
        now: Moment,
    ) {
        let before = self.take(record.stream);
        let had_new = self.has_new;
        self.park(partition, frame, record, failure, now);
        self.has_new = had_new;
        let after = self.take(record.stream);
        if let (Some(before), Some(mut parked)) = (before, after) {
            self.removed.push(before.letter.id());
            let after = &mut parked.letter;
            after.followers = before.letter.followers;
            after.followers_bytes = before.letter.followers_bytes;
            after.follower_offsets = before.letter.follower_offsets;
            leave_behind(after, record, before.passed);
            self.insert(record.stream.into(), parked);
        }
    }

    /// All before `record` was applied or passed over, and it is next, in a later turn: the letter goes on to it, so
    /// that what is stored with the rows says where to go on.
    pub(in crate::projection) fn move_on(
        &mut self,
        frame: &Frame,
        record: &Record<'_>,
        now: Moment,
    ) {
        let Some(mut parked) = self.take(record.stream) else {
            return;
        };
        self.removed.push(parked.letter.id());
        let letter = &mut parked.letter;
        letter.position.offset = record.offset;
        letter.kind = record.kind.clone();
        letter.dictionary = frame.attachment(SHAPES).unwrap_or_default().to_vec();
        letter.payload = record.payload.to_vec();
        letter.attempts = 0;
        letter.class = CompactString::const_new(NOT_TRIED);
        letter.cause = vec!["it waited behind another event and was not tried yet".to_owned()];
        letter.earlier = Vec::new();
        letter.redrives = 0;
        leave_behind(letter, record, parked.passed);
        parked.passed = (0, 0);
        letter.status = DeadLetterStatus::Retrying { at: now.wall };
        parked.event_bytes = record.payload.len();
        (parked.first, parked.version) = (record.version, record.version);
        (parked.due, parked.is_decided) = (Some(now.monotonic + LATER), false);
        parked.died_of = None;
        self.insert(record.stream.into(), parked);
        self.changed.push(record.stream.into());
    }

    /// An event of the key was applied or passed over: the one behind it is next.
    pub(in crate::projection) fn advanced(&mut self, id: &str, record: &Record<'_>) {
        if let Some(parked) = self.keys.get_mut(id) {
            parked.version = record.version + 1;
            if record.version > parked.first {
                parked.passed.0 += 1;
                parked.passed.1 += record.payload.len() as u64;
            }
        }
    }

    /// Everything of the key was applied or passed over.
    pub(in crate::projection) fn free(&mut self, id: &str) {
        if let Some(parked) = self.take(id) {
            self.removed.push(parked.letter.id());
            self.moved.insert(id.into());
        }
    }

    /// Tells readers of keys that were freed or went on: what was waiting is in the rows that they see.
    pub(in crate::projection) fn show_moved(&mut self) {
        for id in std::mem::take(&mut self.moved) {
            match self.keys.get(&id) {
                Some(parked) => self.board.park(&id, ParkedStream::of(&parked.letter)),
                None => self.board.free(&id),
            }
        }
    }
}

/// Takes `record` and what was passed before it off what waits.
fn leave_behind(letter: &mut DeadLetter, record: &Record<'_>, (events, bytes): (u64, u64)) {
    letter.followers = letter.followers.saturating_sub(events + 1);
    let bytes = bytes + record.payload.len() as u64;
    letter.followers_bytes = letter.followers_bytes.saturating_sub(bytes);
    letter
        .follower_offsets
        .retain(|offset| *offset > record.offset);
}

fn schedule(parked: &mut ParkedKey, policy: FailurePolicy, now: Moment) {
    match policy.backoff(parked.letter.attempts) {
        Some(backoff) => {
            parked.due = Some(now.monotonic + backoff.max(LATER));
            let at = now.wall.saturating_add(backoff);
            parked.letter.status = DeadLetterStatus::Retrying { at };
        }
        None => {
            parked.due = None;
            parked.letter.status = DeadLetterStatus::Dead;
        }
    }
}
