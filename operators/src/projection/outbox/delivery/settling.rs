//! What becomes of an effect whose call has ended: it is tried again, deleted, or put aside.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use millstream_engine::fail_point;
use millstream_engine::state::{RowsSize, StateBatch, StateError, StateWrite};

use super::DeliveryCore;
use crate::projection::outbox::asides::make_way;
use crate::projection::outbox::format::{self, Cause, EffectPlace, Span};

/// Bytes of an error's text that are kept.
const CAUSE_BYTES_MAX: usize = 4_096;

/// What was written last, and is on its way to the store.
pub(super) struct OnItsWay {
    done: Receiver<Result<(), StateError>>,
    places: Vec<EffectPlace>,
    size: RowsSize,
    /// Where some were put aside, which may be sent again by hand as soon as that is stored.
    given_up: Option<Span>,
}

impl DeliveryCore {
    pub(super) fn fail(
        &mut self,
        place: EffectPlace,
        mut cause: String,
        now: Duration,
    ) -> Result<(), StateError> {
        self.metrics.count_failures(1);
        cause.truncate(cause.floor_char_boundary(CAUSE_BYTES_MAX));
        let stored = self.queue.held(place).map(|held| held.stored.as_slice());
        let id = self.id(place, stored.unwrap_or_default());
        let config = &self.delivering.config;
        let failures = self.queue.failed(place, |failures| {
            (!config.gives_up(failures)).then(|| now + config.backoff(id, failures))
        });
        let is_given_up = config.gives_up(failures);
        if let Some(unsaid) = self.telling.next(now) {
            tracing::warn!(
                projection = self.outlets.projection,
                outbox = self.delivering.outbox,
                position = %place.position,
                effect = %id,
                failures,
                is_given_up,
                cause,
                unsaid,
                "an effect could not be delivered"
            );
        }
        if is_given_up {
            self.settle(place, Some((failures, cause)))?;
        }
        Ok(())
    }

    /// An effect was delivered, or is put aside.
    pub(super) fn settle(
        &mut self,
        place: EffectPlace,
        given_up: Option<(u32, String)>,
    ) -> Result<(), StateError> {
        let Some(held) = self.queue.settle(place) else {
            return Ok(());
        };
        let (ids, key) = (self.outlets.ids, place.key(self.delivering.outbox));
        if let Some((attempts, text)) = given_up {
            self.metrics.count_given_up(1);
            self.given_up = Some(Span::of(place).with(self.given_up));
            let at = self.clock.now();
            let cause = Cause { attempts, at, text };
            // Of an event that stood there in a log that is gone.
            let way = make_way(&self.outlets.store, ids, &key, &held.stored)?;
            self.writes.extend(way);
            self.writes.push(StateWrite::PutRow {
                table: ids.given_up,
                key: key.clone(),
                value: format::give_up(&cause, &held.stored),
            });
        } else {
            self.metrics.count_delivered(1);
        }
        self.settled_size.add_row(key.len(), held.stored.len());
        self.writes.push(StateWrite::DeleteRow {
            table: ids.effects,
            key,
        });
        self.settled.push(place);
        Ok(())
    }

    /// Hands deletions to the store, if nothing is on its way. One that has no room wakes this stage when it has.
    pub(super) fn store(&mut self) -> Result<(), StateError> {
        if let Some(on_its_way) = &self.on_its_way {
            let Ok(outcome) = on_its_way.done.try_recv() else {
                return Ok(());
            };
            outcome?;
            fail_point!(EFFECT_DELETED);
            self.queue.forget(&on_its_way.places);
            self.state().remove(on_its_way.size);
            if let Some(span) = on_its_way.given_up {
                self.queue.stored(span);
            }
            // A projection that waits for it looks by itself.
            self.on_its_way = None;
        }
        if self.writes.is_empty() {
            return Ok(());
        }
        let (told, done) = bounded(1);
        let mailbox = Arc::clone(&self.mailbox);
        let writes = std::mem::take(&mut self.writes);
        let batch = StateBatch::new(writes).on_done(move |outcome| {
            // Read once, by whoever waits for it.
            let _ = told.try_send(outcome);
            mailbox.wake();
        });
        match self.outlets.writer.try_submit_or_wake(batch, &self.room) {
            Ok(()) => {
                self.on_its_way = Some(OnItsWay {
                    done,
                    places: std::mem::take(&mut self.settled),
                    size: std::mem::take(&mut self.settled_size),
                    given_up: self.given_up.take(),
                });
                Ok(())
            }
            Err(refused) if matches!(refused.reason, StateError::Full { .. }) => {
                self.writes = refused.batch.writes;
                Ok(())
            }
            Err(refused) => Err(refused.reason),
        }
    }
}
