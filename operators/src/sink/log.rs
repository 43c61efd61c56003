//! Items of a dataflow as events in the engine's log.
//!
//! Place: a dataflow -> **log sink** -> the partitions' appends -> the log. Input: a stream id with an event; all
//! events of a stream must come to one partition of the sink. The category must belong to no aggregate.
//!
//! What holds where. [`LogEffect::Once`]: the sink counts the events of each stream from the start of the dataflow
//! on. Number n of a stream has an id made from (producer, stream, n) and is appended under the expectation that
//! the stream holds n events, so that an append whose outcome was unknown is safe to repeat. A stream that holds
//! events already when the sink first meets it was written by an earlier run, which is checked by the id of its last
//! event: as many of its first items are repetitions and dropped. So each item is in the log exactly once if (1) the
//! dataflow computes the same items per stream in the same order at each start, which needs sources that begin
//! where they began before, and (2) nobody else writes to those streams, which is noticed and fails the stage.
//! Where items of one stream come in another order after a restart, as many are dropped, by their number, which may be
//! others. So what goes to one stream must come from one partition of the log, or from the windows of one key: events
//! of two partitions have no order. The last event that a stream holds is compared with the item of its number when
//! that is computed again; a difference fails the stage.
//! [`LogEffect::AtLeastOnce`]: each item is appended whatever the stream holds; what was appended before a restart is
//! appended again if it is computed again.
//!
//! Invariants: the stage does not end, and takes little more input, before what it appended is durable. Bounds: two
//! rounds of appends, one on its way and one filling up; a counter per stream, at most `streams_max`, kept for the
//! dataflow's life since a repetition may come at any time (only with `Once`). Threads: one owner.
//! Failure: an append that is refused fails the stage. Cost: an append per stream and round, one wait for the disk
//! per round; the first item of a stream reads the index.

mod open;
mod round;

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, PoisonError};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use millstream_engine::checkpoint::{Epoch, Restoring, Saving};
use millstream_engine::codec::Event;
use millstream_engine::event::StreamId;
use millstream_engine::fail_point;
use millstream_engine::flow::{Emit, Fault, Operator, Wiring};
use millstream_engine::partition::Appender;
use millstream_engine::stage::Blocked;
use millstream_engine::time::Timestamp;

use self::open::Open;
use super::log_standing::Standing;
use super::log_state::LogState;
use crate::source::LogAccess;

/// How often an item is in the log after restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEffect {
    /// Once: repetitions are told by their number in their stream. Appended as they come, so every start must compute the
    /// same ones.
    Once,
    /// Once, whatever a restart computes: held until a checkpoint has them, and appended then.
    OnceWithCheckpoints,
    /// Once per time that it is computed.
    AtLeastOnce,
}

/// Limits of a log sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSinkOptions {
    /// Events that fill up a round while another is on its way. Default 8,192. More: fuller frames; less: less
    /// memory.
    pub round_events_max: usize,
    /// Streams whose events are counted, per partition of the sink. Default 1,000,000, about 100 MB.
    pub streams_max: usize,
}

impl Default for LogSinkOptions {
    fn default() -> Self {
        Self {
            round_events_max: 8_192,
            streams_max: 1_000_000,
        }
    }
}

/// Appends items to the log.
pub struct LogSink<E> {
    producer: Arc<str>,
    effect: LogEffect,
    options: LogSinkOptions,
    open: Option<Open<E>>,
}

impl<E: Event> LogSink<E> {
    /// A sink that writes as `producer`, whose name is part of the events' ids: another name is another producer.
    #[must_use]
    pub fn new(producer: &str, effect: LogEffect, options: LogSinkOptions) -> Self {
        Self {
            producer: producer.into(),
            effect,
            options,
            open: None,
        }
    }
}

impl<E> Clone for LogSink<E> {
    fn clone(&self) -> Self {
        Self {
            producer: Arc::clone(&self.producer),
            effect: self.effect,
            options: self.options.clone(),
            open: None,
        }
    }
}

impl<E: Event> Operator<(StreamId, E)> for LogSink<E> {
    type Out = Infallible;

    fn item<X: Emit<Infallible>>(
        &mut self,
        time: Timestamp,
        (stream, event): (StreamId, E),
        _out: &mut X,
    ) {
        let Some(open) = &mut self.open else { return };
        if open.fault.is_some() {
            return;
        }
        let number = match self.effect {
            LogEffect::AtLeastOnce => None,
            LogEffect::Once | LogEffect::OnceWithCheckpoints => {
                let item = (time, &event);
                match open.count(&self.producer, &self.options, &stream, item) {
                    Ok(Some(number)) => Some(number),
                    Ok(None) => return,
                    Err(fault) => {
                        open.fault = Some(fault);
                        return;
                    }
                }
            }
        };
        let event = Arc::new(event);
        match number {
            Some(number) if self.effect == LogEffect::OnceWithCheckpoints => {
                open.saved.hold(stream, number, time, event);
            }
            number => open.add(stream, number, (time, event)),
        }
    }

    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        let resources = &wiring.resources;
        let missing = || Fault("there is no log: the dataflow runs without an engine".to_owned());
        if self.effect == LogEffect::OnceWithCheckpoints && wiring.checkpoints.is_none() {
            let reason = "the log sink waits for checkpoints, and the dataflow takes none";
            return Err(Fault(reason.to_owned()));
        }
        self.open = Some(Open {
            fence: wiring.fence(),
            appender: (*resources.get::<Appender>().ok_or_else(missing)?).clone(),
            log: resources.get::<LogAccess>().ok_or_else(missing)?,
            streams: HashMap::default(),
            saved: LogState::new(),
            groups: Vec::new(),
            places: HashMap::default(),
            events: 0,
            round: None,
            outcome: Arc::default(),
            is_awaited: false,
            must_wait: false,
            fault: None,
        });
        Ok(())
    }

    fn flush(&mut self, idle: bool) -> Result<(), Fault> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        if let Some(fault) = open.fault.take() {
            return Err(fault);
        }
        // An append is sent when it is first looked at, or further ones behind it.
        let fence = Arc::clone(&open.fence);
        let _pass = fence.pass();
        open.look()?;
        if !open.is_on_its_way() && open.events > 0 {
            open.begin_round(&self.producer);
            open.look()?;
        }
        // An idle stage would not look again by itself.
        open.must_wait = idle || open.events >= self.options.round_events_max;
        Ok(())
    }

    fn is_blocked(&self) -> bool {
        let full = |open: &Open<E>| open.events >= self.options.round_events_max;
        self.open
            .as_ref()
            .is_some_and(|open| open.is_on_its_way() && (open.must_wait || full(open)))
    }

    fn blocked(&mut self, waits: &mut Vec<Blocked>) {
        let Some(open) = &mut self.open else { return };
        let Some(round) = open.round.take() else {
            return;
        };
        open.is_awaited = true;
        let (outcome, fence) = (Arc::clone(&open.outcome), Arc::clone(&open.fence));
        waits.push(Box::pin(async move {
            let ended = fence.within(round).await;
            *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
        }));
    }

    fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
        if let Some(open) = &self.open {
            into.push(("counted streams", open.streams.len()));
        }
    }

    /// Nothing is on its way then: a sink that has something is blocked.
    fn save(&mut self, saving: &mut Saving) -> Result<(), Fault> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let streams = &open.streams;
        let next = |stream: &StreamId| streams.get(stream).map(Standing::next);
        Ok(open.saved.save(saving, streams.keys(), next)?)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<(), Fault> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        // The checkpoint is complete, but it may have been the last that happened.
        let mut stored = HashMap::<StreamId, u64, FixedState>::default();
        for held in open.saved.restore(restoring)? {
            let stored = match stored.get(&held.stream) {
                Some(&stored) => stored,
                None => {
                    let found = open.owe(&self.producer, &held.stream, held.number)?;
                    stored.insert(held.stream.clone(), found);
                    found
                }
            };
            if held.number >= stored {
                fail_point!(LOG_SINK_OWED, Fault::of);
                let event = (held.time, Arc::new(held.event));
                open.add(held.stream, Some(held.number), event);
            }
        }
        Ok(())
    }

    fn checkpointed(&mut self, epoch: Epoch) -> Result<(), Fault> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        for held in open.saved.release(epoch) {
            open.add(held.stream, Some(held.number), (held.time, held.event));
        }
        Ok(())
    }

    fn awaits_checkpoint(&self) -> bool {
        self.open
            .as_ref()
            .is_some_and(|open| open.saved.is_holding())
    }
}

impl<E> fmt::Debug for LogSink<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogSink")
            .field("producer", &self.producer)
            .field("effect", &self.effect)
            .finish_non_exhaustive()
    }
}
