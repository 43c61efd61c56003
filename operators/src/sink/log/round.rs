//! The appends of a round: one stream's behind each other, those of different streams side by side.
//!
//! Invariants: an append is sent once the one before it in its stream is durable; one whose outcome is unknown is repeated a
//! few times, under the same ids and the same expectation where items are counted, so that none of them is there twice.
//! Failure: what is refused fails the round, once the other appends have ended.
//! Cost: a future per stream.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use millstream_engine::codec::Event;
use millstream_engine::event::{EventId, StreamId};
use millstream_engine::fail_point;
use millstream_engine::partition::{AppendError, Appender, Expected, NewEvent, Payload};
use millstream_engine::time::Timestamp;

use crate::sink::log_standing::said_time;

/// Events of one append: they share a frame, which has a bound.
const APPEND_EVENTS: usize = 256;
/// How often an append is tried whose outcome is unknown.
const TRIES: usize = 5;

/// Events of one stream in a round.
pub(super) struct Group<E> {
    pub(super) stream: StreamId,
    /// Number of the first; `None` if they are not counted.
    pub(super) first: Option<u64>,
    pub(super) events: Vec<(Timestamp, Arc<E>)>,
}

pub(super) type Round = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Resolves once all have, with the first failure.
pub(super) async fn all(mut appends: Vec<Round>) -> Result<(), String> {
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
pub(super) async fn append<E: Event>(
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
