//! Parked keys: taken in at the start, tried again, and freed with all that waits behind.

use super::applying::{count_died, unreadable};
use super::*;

impl<P: Projection> ProjectionCore<P> {
    /// Takes in the stored dead letters of the partitions that this actor reads. They come in the order of
    /// their positions, so a frame is read once for all of its letters.
    pub(super) fn restore_parked(&mut self, store: &StateStore) -> Result<(), OpenProjectionError> {
        let now = self.moment();
        let mut latest = now.monotonic + self.config.failures.backoff_max;
        let mut after = None;
        let mut frame: Option<(PartitionId, Arc<Frame>)> = None;
        loop {
            let page = store.dead_letters(Some(self.registered.id), after, LETTERS)?;
            let Some(last) = page.last() else { break };
            after = Some(last.id());
            for letter in page {
                let partition = letter.position.partition;
                let is_ours = self
                    .sources
                    .iter()
                    .any(|source| source.cursor.partition() == partition);
                if !is_ours {
                    continue;
                }
                let offset = letter.position.offset;
                let is_same = frame.as_ref().is_some_and(|(of, frame)| {
                    *of == partition
                        && (frame.header().first..frame.header().end()).contains(&offset)
                });
                if !is_same {
                    let found = self.streams.frame_at(partition, offset)?;
                    frame = found.map(|frame| (partition, frame));
                }
                let slot = |frame: &Frame| (offset.0 - frame.header().first.0) as u32;
                let record = frame
                    .as_ref()
                    .and_then(|(_, frame)| frame.records_from(slot(frame)).next());
                if let Some(record) = record
                    && self.parked.restore(letter, &record, now, latest)
                {
                    // As many as were redriven at once: not all in one turn.
                    latest += self.config.redrive_gap();
                }
            }
        }
        // Of a core before this one. Those that are parked still were never told to be free.
        for source in &self.sources {
            let partition = source.cursor.partition();
            self.board
                .free_all_but(partition, |id| self.parked.is_parked(id));
        }
        Ok(())
    }

    /// Tries parked keys that are due, and what waits behind them, until the turn that began at `start` is over.
    pub(super) fn retry_parked(&mut self, start: Duration) -> Result<(), Halt> {
        let now = self.moment();
        while let Some((id, partition, poison, version)) = self.parked.due(now.monotonic) {
            self.dead_letters.count_retries(1);
            let upto = self.next_offset(partition);
            self.retry_key(&id, (partition, poison, version), upto, now)?;
            if self.clock.monotonic().saturating_sub(start) >= TURN {
                break;
            }
        }
        Ok(())
    }

    /// Offset behind the last event of a partition that was taken from the log.
    fn next_offset(&self, partition: PartitionId) -> Offset {
        self.sources
            .iter()
            .find(|source| source.cursor.partition() == partition)
            .map_or(Offset(0), |source| source.cursor.next_offset())
    }

    /// Tries a key, and what waits behind it before `position`.
    pub(super) fn retry_key(
        &mut self,
        id: &str,
        (partition, poison, version): (PartitionId, Offset, u64),
        position: Offset,
        now: Moment,
    ) -> Result<(), Halt> {
        let stream = stream_of::<P>(partition, id);
        let (applier, parked, streams) = (&mut self.applier, &mut self.parked, &*self.streams);
        let metrics = &mut self.dead_letters;
        // As it was counted when it was added; what fails next may be of another.
        let class = parked.class(id).to_owned();
        let had_died = parked.had_died(id);
        let mut sources = self.sources.iter_mut();
        let source = sources.find(|source| source.cursor.partition() == partition);
        let mut none = Decided::default();
        let decided = source.map_or(&mut none, |source| &mut source.decided);
        let (mut freed, mut passed, mut skipped, mut redriven) = (0, 0, 0, 0);
        let policy = self.config.unreadable;
        let outcome = for_each_event(
            streams,
            stream,
            version,
            usize::MAX,
            Direction::Forwards,
            |frame, record| {
                if record.offset >= position {
                    return Err(Pause::CaughtUp);
                }
                // It never waited. Passed over here as it would have been there.
                if !applier.wants(record) {
                    return Ok(());
                }
                if freed == FREED_EVENTS {
                    parked.move_on(frame, record, now);
                    parked.know_ahead(id, decided.get(id, record.offset), streams)?;
                    return Err(Pause::TurnOver);
                }
                freed += 1;
                let fate = decided.fate(id, record.offset);
                let is_given_up = fate == Fate::Discarded;
                passed += u64::from(is_given_up);
                let event = (partition, &**frame, record);
                let applied = applied_as(fate, streams, applier, event, position)?;
                if let Err(failure) = applied {
                    let is_edited = matches!(fate, Fate::Edited(_));
                    if is_edited {
                        parked.tell_unfit(partition, record, &failure, now);
                    }
                    let policy = policy.of(is_edited);
                    match unreadable::<P>(policy, partition, record, failure)? {
                        None => skipped += 1,
                        Some(failure) => {
                            if record.offset == poison {
                                parked.failed_again(id, failure, now);
                            } else {
                                parked.succeed(partition, frame, record, failure, now);
                            }
                            count_died(metrics, parked, id);
                            parked.know(id, decided.get(id, record.offset), streams)?;
                            return Err(Pause::Failed);
                        }
                    }
                } else if had_died && record.offset == poison && !is_given_up {
                    redriven = 1;
                }
                decided.forget(id, record.offset);
                parked.advanced(id, record);
                millstream_engine::fail_point!(LETTER_SETTLED);
                Ok(())
            },
        );
        self.dead_letters.count_discarded(&class, passed);
        self.dead_letters.count_skipped(skipped);
        self.dead_letters.count_redriven(&class, redriven);
        self.after_retry(id, outcome.map(|_| ()))
    }

    /// Frees a key that has no more events to be tried.
    fn after_retry(&mut self, id: &str, outcome: Result<(), Pause>) -> Result<(), Halt> {
        match outcome {
            Err(Pause::TurnOver | Pause::Failed) => {}
            Ok(()) | Err(Pause::CaughtUp) => {
                self.parked.free(id);
            }
            Err(Pause::Halt(halt)) => return Err(halt),
        }
        Ok(())
    }
}

/// The stream of a key.
fn stream_of<P: Projection>(partition: PartitionId, id: &str) -> StreamRef<'_> {
    let name = format!("{}-{id}", P::CATEGORY);
    StreamRef {
        partition,
        category: P::CATEGORY,
        id,
        hash: millstream_engine::event::stream_hash(&name),
    }
}

/// Why a freed key is not freed further in this turn.
enum Pause {
    CaughtUp,
    /// The key stays parked and due.
    TurnOver,
    Failed,
    Halt(Halt),
}

impl From<LogError> for Pause {
    fn from(error: LogError) -> Self {
        Self::Halt(error.into())
    }
}

impl From<Halt> for Pause {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}

/// Applies an event with the shapes of its frame, as what it has become. What is wrong with it is given inside.
fn applied_as<P: Projection>(
    fate: Fate,
    streams: &dyn StreamReader,
    applier: &mut Applier<P>,
    (partition, frame, record): (PartitionId, &Frame, &Record<'_>),
    read_upto: Offset,
) -> Result<Result<(), Failure>, LogError> {
    let edit = fate.payload(streams, partition)?;
    millstream_engine::fail_point!(LETTER_BEFORE_SETTLING);
    if fate == Fate::Discarded {
        return Ok(Ok(()));
    }
    let begun = applier.begin(frame);
    let Some(edit) = edit else {
        let applied =
            begun.and_then(|()| applier.apply_as(None, partition, record, Some(read_upto)));
        return Ok(applied.map(drop));
    };
    let applied = applier.apply_as(Some(&edit), partition, record, Some(read_upto));
    Ok(applied.map(drop))
}
