//! A log sink at work: counts the items of each stream, and collects them into rounds of appends.
//!
//! Invariant: one round is on its way at most; what comes meanwhile waits for the next, in the order in which it came to its
//! stream. Cost: per item lookups of its stream, in what is counted and in the round that fills up.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use millstream_engine::codec::Event;
use millstream_engine::event::StreamId;
use millstream_engine::fail_point;
use millstream_engine::flow::{Fault, Fence};
use millstream_engine::partition::Appender;
use millstream_engine::time::Timestamp;

use super::LogSinkOptions;
use super::round::{Group, Round, all, append};
use crate::sink::log_standing::Standing;
use crate::sink::log_state::LogState;
use crate::source::LogAccess;

/// A log sink at work.
pub(super) struct Open<E> {
    pub(super) fence: Arc<Fence>,
    pub(super) appender: Appender,
    pub(super) log: Arc<LogAccess>,
    pub(super) streams: HashMap<StreamId, Standing, FixedState>,
    pub(super) saved: LogState<E>,
    /// The round that fills up, and where each stream is in it.
    pub(super) groups: Vec<Group<E>>,
    pub(super) places: HashMap<StreamId, usize, FixedState>,
    pub(super) events: usize,
    pub(super) round: Option<Round>,
    /// The stage waits for a round, whose outcome comes here.
    pub(super) outcome: Arc<Mutex<Option<Result<(), String>>>>,
    pub(super) is_awaited: bool,
    pub(super) must_wait: bool,
    pub(super) fault: Option<Fault>,
}

impl<E: Event> Open<E> {
    /// The number of the stream's next item; `None` if it is a repetition.
    pub(super) fn count(
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
    pub(super) fn owe(
        &mut self,
        producer: &str,
        stream: &StreamId,
        first: u64,
    ) -> Result<u64, Fault> {
        let mut standing = Standing::read::<E>(&self.log, producer, stream)?;
        standing.resume(producer, stream, first)?;
        let stored = standing.owe(self.saved.resumed(stream));
        self.streams.insert(stream.clone(), standing);
        Ok(stored)
    }

    pub(super) fn add(
        &mut self,
        stream: StreamId,
        number: Option<u64>,
        event: (Timestamp, Arc<E>),
    ) {
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
    pub(super) fn begin_round(&mut self, producer: &Arc<str>) {
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
    pub(super) fn look(&mut self) -> Result<(), Fault> {
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

    pub(super) const fn is_on_its_way(&self) -> bool {
        self.round.is_some() || self.is_awaited
    }
}
