//! Streams with a key: what follows keeps its state per key.

use std::fmt;
use std::hash::Hash;

use millstream_engine::flow::{ByKey, Identity, Operator};

use super::origin::{InletOrigin, Origin};
use super::stream::Stream;
use super::windowed::WindowedStream;
use super::windows::WindowKind;

/// A stream whose items of one key meet in one partition of the next stage.
#[must_use = "a stream does nothing unless it ends in a sink"]
pub struct KeyedStream<P, O, F> {
    pub(super) stream: Stream<P, O>,
    pub(super) key: F,
    pub(super) partitions: usize,
    pub(super) state: Option<String>,
}

impl<P, O, K, F> KeyedStream<P, O, F>
where
    P: Origin,
    O: Operator<P::Item> + Clone,
    O::Out: Send + 'static,
    K: Hash + Eq,
    F: Fn(&O::Out) -> K + Clone + Send + 'static,
{
    /// Partitions of the keyed stage. Default: the dataflow's.
    pub const fn partitions(mut self, partitions: usize) -> Self {
        self.partitions = partitions;
        self
    }

    /// Names the state of the operator that follows; needed once a dataflow has more than one.
    pub fn named(mut self, name: &str) -> Self {
        self.state = Some(name.to_owned());
        self
    }

    /// Groups each key's items into windows.
    pub const fn window<W: WindowKind>(self, window: W) -> WindowedStream<P, O, F, W> {
        WindowedStream::new(self, window)
    }

    /// Puts an operator of one's own behind the exchange; `kind` names it in messages and, unless it is named, its
    /// stage. It is taken to keep state.
    pub fn then_keyed<B>(self, kind: &'static str, operator: B) -> Stream<InletOrigin<O::Out>, B>
    where
        B: Operator<O::Out> + Clone,
    {
        let (stream, _key, name) = self.exchange(kind);
        stream.begin_with(operator).with_state(kind, name)
    }

    /// Closes the stage with the exchange; gives the stage behind it, the key and the state's name.
    pub(super) fn exchange(
        self,
        kind: &str,
    ) -> (Stream<InletOrigin<O::Out>, Identity>, F, Option<String>) {
        let route = ByKey::new(self.key.clone());
        let stream = self.stream.exchange(kind, self.partitions, route);
        (stream, self.key, self.state)
    }
}

impl<P, O, F> fmt::Debug for KeyedStream<P, O, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedStream")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}
