//! Streams that end in the engine's log.

use millstream_engine::codec::Event;
use millstream_engine::event::StreamId;
use millstream_engine::flow::Operator;
use millstream_operators::sink::{LogEffect, LogSink, LogSinkOptions};

use super::origin::Origin;
use super::stream::Stream;

impl<P: Origin, O: Operator<P::Item> + Clone> Stream<P, O> {
    /// Appends what `event` makes of each item to the log, each item once, also after a restart that computes
    /// everything again: item n of a stream is known by (`producer`, stream, n). The item's time becomes the event's
    /// time.
    ///
    /// That holds if every start computes the same items per stream in the same order, and nobody else writes to
    /// those streams; [`LogSink`] says it in full. Sources before it that do not give the same items at each start are
    /// a fault, and so are operators whose results depend on the clock or on how streams are interleaved, and windows
    /// that the end of the input closes where that end moves. What could not be found out beforehand shows at a restart:
    /// the last event of each stream is compared with what is computed again. Two dataflows that write need two names
    /// of producers and streams of their own.
    /// Cost: an exchange by stream, so that each has one writer; a counter per stream.
    pub fn to_log<E, F>(self, producer: &str, event: F)
    where
        E: Event,
        F: Fn(O::Out) -> (StreamId, E) + Clone + Send + 'static,
    {
        self.to_log_with(producer, LogEffect::Once, LogSinkOptions::default(), event);
    }

    /// Appends what `event` makes of each item to the log, each item once, whatever a restart computes: items are held until a
    /// checkpoint has them, and appended then under numbers that it has as well. So it does for any dataflow, also one whose
    /// results depend on the clock, on how streams are interleaved or on a source that cannot be read again.
    ///
    /// Cost: items are in the log only after the next checkpoint, which holds them. Needs an engine with checkpoints.
    pub fn to_log_with_checkpoints<E, F>(self, producer: &str, event: F)
    where
        E: Event,
        F: Fn(O::Out) -> (StreamId, E) + Clone + Send + 'static,
    {
        let options = LogSinkOptions::default();
        self.to_log_with(producer, LogEffect::OnceWithCheckpoints, options, event);
    }

    /// Appends what `event` makes of each item to the log: once for each time that it is computed, so again after a
    /// restart that computes it again. For sources that cannot be read again.
    pub fn to_log_at_least_once<E, F>(self, event: F)
    where
        E: Event,
        F: Fn(O::Out) -> (StreamId, E) + Clone + Send + 'static,
    {
        let options = LogSinkOptions::default();
        self.to_log_with("", LogEffect::AtLeastOnce, options, event);
    }

    /// Appends to the log with limits of its own.
    pub fn to_log_with<E, F>(
        self,
        producer: &str,
        effect: LogEffect,
        options: LogSinkOptions,
        event: F,
    ) where
        E: Event,
        F: Fn(O::Out) -> (StreamId, E) + Clone + Send + 'static,
    {
        let keyed = self.map(event);
        let keyed = keyed.key_by(|(stream, _): &(StreamId, E)| stream.clone());
        let (mut stream, _, _) = keyed.exchange("log");
        let sink = LogSink::new(producer, effect, options);
        if effect == LogEffect::AtLeastOnce {
            return stream.end(sink);
        }
        stream.site.producer = Some(producer.to_owned());
        stream.site.lets_out = effect == LogEffect::OnceWithCheckpoints;
        let name = Some(format!("log sink {producer}"));
        stream.with_state("a log sink", name).end(sink);
    }
}
