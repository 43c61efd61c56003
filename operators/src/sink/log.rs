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

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use millstream_engine::checkpoint::{Epoch, Restoring, Saving};
use millstream_engine::codec::Event;
use millstream_engine::event::{EventId, StreamId};
use millstream_engine::fail_point;
use millstream_engine::flow::{Emit, Fault, Fence, Operator, Wiring};
use millstream_engine::partition::{AppendError, Appender, Expected, NewEvent, Payload};
use millstream_engine::stage::Blocked;
use millstream_engine::time::Timestamp;

use super::log_standing::{Standing, said_time};
use super::log_state::LogState;
use crate::source::LogAccess;

/// Events of one append: they share a frame, which has a bound.
const APPEND_EVENTS: usize = 256;
/// How often an append is tried whose outcome is unknown.
const TRIES: usize = 5;

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

/// Events of one stream in a round.
struct Group<E> {
    stream: StreamId,
    /// Number of the first; `None` if they are not counted.
    first: Option<u64>,
    events: Vec<(Timestamp, Arc<E>)>,
}

type Round = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

struct Open<E> {
    fence: Arc<Fence>,
    appender: Appender,
    log: Arc<LogAccess>,
    streams: HashMap<StreamId, Standing, FixedState>,
    saved: LogState<E>,
    /// The round that fills up, and where each stream is in it.
    groups: Vec<Group<E>>,
    places: HashMap<StreamId, usize, FixedState>,
    events: usize,
    round: Option<Round>,
    /// The stage waits for a round, whose outcome comes here.
    outcome: Arc<Mutex<Option<Result<(), String>>>>,
    is_awaited: bool,
    must_wait: bool,
    fault: Option<Fault>,
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

impl<E: Event> Open<E> {
    /// The number of the stream's next item; `None` if it is a repetition.
    fn count(
        &mut self,
        producer: &str,
        options: &LogSinkOptions,
        stream: &StreamId,
        (time, event): (Timestamp, &E),
    ) -> Result<Option<u64>, Fault> {
        self.saved.change(stream);
        if let Some(standing) = self.streams.get_mut(stream) {
            return standing.advance(producer, stream, time, event);
        }
        if self.streams.len() >= options.streams_max {
            return Err(Fault(format!(
                "log sink {producer:?} counts the events of {} streams, which is all that `streams_max` allows",
                options.streams_max
            )));
        }
        let mut standing = Standing::read::<E>(&self.log, producer, stream)?;
        standing.resume(producer, stream, self.saved.resumed(stream))?;
        let number = standing.advance(producer, stream, time, event);
        self.streams.insert(stream.clone(), standing);
        number
    }

    /// Meets a stream of which a checkpoint has events, from number `first` on, that are yet to be appended; gives how many
    /// the log has: a part of them may be there.
    fn owe(&mut self, producer: &str, stream: &StreamId, first: u64) -> Result<u64, Fault> {
        let mut standing = Standing::read::<E>(&self.log, producer, stream)?;
        standing.resume(producer, stream, first)?;
        let stored = standing.owe(self.saved.resumed(stream));
        self.streams.insert(stream.clone(), standing);
        Ok(stored)
    }

    fn add(&mut self, stream: StreamId, number: Option<u64>, event: (Timestamp, Arc<E>)) {
        self.events += 1;
        if let Some(&at) = self.places.get(&stream) {
            self.groups[at].events.push(event);
            return;
        }
        self.places.insert(stream.clone(), self.groups.len());
        self.groups.push(Group {
            stream,
            first: number,
            events: vec![event],
        });
    }

    /// Begins a round with all that came; its appends are sent before this returns, where there is room.
    fn begin_round(&mut self, producer: &Arc<str>) {
        self.places.clear();
        self.events = 0;
        let appends: Vec<_> = std::mem::take(&mut self.groups)
            .into_iter()
            .map(|group| append(self.appender.clone(), Arc::clone(producer), group))
            .map(|append| Box::pin(append) as Round)
            .collect();
        self.round = Some(Box::pin(all(appends)));
    }

    /// Looks whether the round has ended.
    fn look(&mut self) -> Result<(), Fault> {
        let outcome = if self.is_awaited {
            let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
            outcome.take()
        } else if let Some(round) = &mut self.round {
            // Nobody is woken: the stage is at work and looks again.
            match round.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(outcome) => Some(outcome),
                Poll::Pending => None,
            }
        } else {
            None
        };
        let Some(outcome) = outcome else {
            return Ok(());
        };
        self.round = None;
        self.is_awaited = false;
        outcome.map_err(Fault)?;
        fail_point!(LOG_SINK_APPENDED, Fault::of);
        Ok(())
    }

    const fn is_on_its_way(&self) -> bool {
        self.round.is_some() || self.is_awaited
    }
}

/// Resolves once all have, with the first failure.
async fn all(mut appends: Vec<Round>) -> Result<(), String> {
    let mut failed = None;
    std::future::poll_fn(|context| {
        appends.retain_mut(|append| match append.as_mut().poll(context) {
            Poll::Ready(outcome) => {
                if let Err(cause) = outcome {
                    failed.get_or_insert(cause);
                }
                false
            }
            Poll::Pending => true,
        });
        if appends.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    failed.map_or(Ok(()), Err)
}

/// Appends the events of one stream, in order, each append behind the one before.
async fn append<E: Event>(
    appender: Appender,
    producer: Arc<str>,
    group: Group<E>,
) -> Result<(), String> {
    let Group {
        stream,
        mut first,
        events,
    } = group;
    for events in events.chunks(APPEND_EVENTS) {
        let mut left = TRIES;
        loop {
            let expected = match first {
                None => Expected::Any,
                Some(0) => Expected::NoStream,
                Some(number) => Expected::Exact(number - 1),
            };
            let new = events.iter().enumerate().map(|(at, (time, event))| {
                let id = first
                    .map(|first| EventId::derived(&producer, stream.as_str(), first + at as u64));
                new_event(id, *time, event)
            });
            fail_point!(LOG_SINK_BEFORE_APPEND, |cause| cause.to_string());
            let appended = appender.append(stream.clone(), expected, new.collect());
            left -= 1;
            match appended.await {
                Ok(_) => break,
                // Known by their ids if they are there; uncounted ones may be there twice.
                Err(error @ (AppendError::OutcomeUnknown { .. } | AppendError::Log(_))) => {
                    if left == 0 {
                        return Err(format!("stream {stream}: {error}"));
                    }
                }
                Err(error) => return Err(format!("stream {stream}: {error}")),
            }
        }
        fail_point!(LOG_SINK_BETWEEN_APPENDS, |cause| cause.to_string());
        first = first.map(|first| first + events.len() as u64);
    }
    Ok(())
}

fn new_event<E: Event>(id: Option<EventId>, time: Timestamp, event: &Arc<E>) -> NewEvent {
    let event = Arc::clone(event);
    NewEvent {
        id,
        schema_version: E::VERSION,
        payload: Payload::Typed {
            encoding: E::ENCODING,
            bytes: size_of::<E>(),
            encode: Box::new(move |encoder, out| encoder.encode(&*event, out)),
        },
        metadata: millstream_engine::event::Metadata::default(),
        event_time: said_time(time),
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
