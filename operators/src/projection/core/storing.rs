//! Showing rows to readers, handing them to the state's writer, and telling how far the projection is.

use super::*;
use crate::projection::HandedOver;

impl<P: Projection> ProjectionCore<P> {
    /// Shows rows and positions to readers; `false` if it may not yet.
    pub(super) fn publish(&mut self, now: Duration) -> bool {
        let board = Arc::clone(&self.board);
        let shown = board.show_together();
        if self.is_ahead() {
            return false;
        }
        self.applier.publish();
        let mut moved = false;
        let wall = self.clock.now();
        let is_seen = board.is_active();
        for source in &mut self.sources {
            if !source.moved {
                continue;
            }
            source.moved = false;
            moved = true;
            let partition = source.cursor.partition();
            let next = source.cursor.next_offset();
            self.board.show(partition, next, source.recorded);
            // Also of one that is busy and never at the end: it is then that rows take long. What a version shows that does not
            // answer, nobody sees.
            let oldest = source.unshown.take().filter(|_| is_seen);
            if let Some(recorded) = oldest {
                source.metrics.observe_visible(wall.since(recorded));
            }
        }
        self.parked.show_moved();
        drop(shown);
        if moved {
            self.board.announce();
        }
        self.published_at = now;
        true
    }

    /// Hands changed rows and positions to the state's writer, if it is time and nothing is on its way.
    pub(super) fn store(&mut self, now: Duration, behind: bool, must: bool) -> Result<(), String> {
        if let Some(batch) = self.refused.take() {
            return self.submit(batch);
        }
        let unstored = self.applier.unstored();
        let since = now.saturating_sub(self.stored_at);
        let due = since >= self.store_every(behind)
            || self.applier.pending_bytes() >= VERSION_BYTES_STORED
            || unstored >= self.config.unstored_rows_max
            || self.are_letters_due(since);
        let changed = self
            .sources
            .iter()
            .any(|source| source.stored != source.cursor.next_offset());
        let nothing = unstored == 0 && !changed && !self.parked.is_changed();
        if nothing || !(due || must) || self.storing.load(Ordering::Acquire) {
            return Ok(());
        }
        millstream_engine::fail_point!(PROJECTION_BEFORE_STORE, |cause| cause.to_string());
        // What is stored is seen by whoever reads a row that is not in memory: together with all of its batch.
        if !self.publish(now) {
            return Ok(());
        }
        let mut writes = Vec::new();
        let handed_over = self
            .applier
            .store(&mut writes)
            .map_err(|error| format!("a row cannot be stored: {error}"))?;
        self.parked.store(&mut writes);
        for source in &self.sources {
            writes.push(StateWrite::Progress {
                projection: self.registered.id,
                partition: source.cursor.partition(),
                progress: Progress {
                    next: source.cursor.next_offset(),
                    frame: source.frame,
                },
            });
        }
        let (storing, mailbox) = (Arc::clone(&self.storing), Arc::clone(&self.mailbox));
        let lost = Arc::clone(&self.lost);
        let metrics = self.sources.first().map(|source| source.metrics.clone());
        let clock = Arc::clone(&self.clock);
        let board = Arc::clone(&self.board);
        let positions = self.sources.iter();
        let positions =
            positions.map(|source| (source.cursor.partition(), source.cursor.next_offset()));
        let positions: Vec<_> = positions.collect();
        let batch = StateBatch::new(writes).on_done(move |outcome| {
            if outcome.is_err() {
                // Nothing is stored any more by this process: the stage must not go on as if it were.
                lost.store(true, Ordering::Release);
            } else {
                handed_over.iter().for_each(HandedOver::settle);
                for (partition, next) in positions {
                    board.store(partition, next);
                }
                board.announce_stored();
                let elapsed = clock.monotonic().saturating_sub(now);
                if let Some(metrics) = metrics {
                    metrics.observe_flush(unstored as u64, elapsed);
                }
            }
            storing.store(false, Ordering::Release);
            mailbox.wake();
        });
        self.stored_at = now;
        for source in &mut self.sources {
            source.stored = source.cursor.next_offset();
        }
        self.submit(batch)
    }

    /// Whether letters that changed are to be stored. They go with the rows of their position, so storing them writes those rows too:
    /// they wait as long as rows of a projection that keeps up, also in one that is behind. Not if keys are free again, if somebody waits for
    /// what comes of his decision, or if one may soon have to decide about one of them before anything goes on.
    fn are_letters_due(&self, since: Duration) -> bool {
        let parked = &self.parked;
        let may_wait = !(parked.is_awaited() || self.is_filling() || parked.overfull().is_some());
        parked.is_changed() && (!may_wait || since >= self.store_every(false))
    }

    /// Whether half of what may be parked is, so that the next frame might halt the projection.
    pub(super) fn is_filling(&self) -> bool {
        let (parked, config) = (&self.parked, &self.config);
        parked.len() >= config.parked_keys_max / 2 || parked.bytes() >= config.parked_bytes_max / 2
    }

    /// Time between two stores.
    fn store_every(&self, behind: bool) -> Duration {
        let config = &self.config;
        // Who waits for an effect waits for the store.
        let sends = P::Tables::HAS_OUTBOXES && self.applier.effects() > 0;
        let every = match (behind, self.board.is_hurried() || sends) {
            (true, false) => config.store_every_behind_ms,
            // One that is behind goes on with its work: whoever waits, waits for that as well.
            (true, true) => config.store_every_behind_ms.min(config.store_every_ms),
            (false, false) => config.store_every_ms,
            (false, true) => config.store_every_ms.min(config.changes_every_ms),
        };
        Duration::from_millis(every)
    }

    /// Hands a batch over; keeps it for a later turn when the writer is busy, which tells when it has room.
    pub(super) fn submit(&mut self, batch: StateBatch) -> Result<(), String> {
        self.storing.store(true, Ordering::Release);
        let Err(refused) = self.writer.try_submit_or_wake(batch, &self.room) else {
            return Ok(());
        };
        // Nobody is told of a batch that was not taken.
        self.storing.store(false, Ordering::Release);
        if !matches!(refused.reason, StateError::Full { .. }) {
            return Err(format!("the state's writer refused rows: {refused}"));
        }
        self.refused = Some(*refused.batch);
        Ok(())
    }

    pub(super) fn show(&mut self, now: Duration) {
        if now.saturating_sub(self.shown_at) < SHOW_EVERY {
            return;
        }
        self.shown_at = now;
        let wall = self.clock.now();
        for source in &self.sources {
            let lag = source.cursor.lag();
            let age = if lag == 0 {
                Duration::ZERO
            } else {
                let partition = source.cursor.partition();
                let board = &self.board;
                board.age_since_begun(partition, source.recorded, (wall, now))
            };
            source.metrics.observe_lag(lag, age);
            source.metrics.observe_parked(self.parked.len());
        }
        self.dead_letters.observe(ParkedNow {
            keys: self.parked.len() as u64,
            events: self.parked.events(),
            causes: &self.parked.standing(wall),
        });
    }

    pub(super) fn is_all_stored(&self) -> bool {
        !self.storing.load(Ordering::Acquire)
            && self.refused.is_none()
            && self.applier.unstored() == 0
            && !self.parked.is_changed()
            && self
                .sources
                .iter()
                .all(|source| source.stored == source.cursor.next_offset())
    }

    /// Time until something is due although no event comes.
    pub(super) fn next_look(&self, now: Duration) -> Duration {
        let retry = self.parked.next_due().map(|due| due.saturating_sub(now));
        // A store on its way wakes the stage when it is done, and a writer that had no room when it has some.
        let waits = self.storing.load(Ordering::Acquire) || self.refused.is_some();
        let store = (!waits && !self.is_all_stored())
            .then(|| (self.stored_at + self.store_every(false)).saturating_sub(now));
        let held_up = (self.is_held_up() || self.is_choked).then_some(HELD_UP_EVERY);
        let order = self.next_look_for_order();
        let looks = [retry, store, held_up, order];
        let earliest = looks.into_iter().flatten().min();
        earliest.unwrap_or(SHOW_EVERY).max(Duration::from_millis(1))
    }
}
