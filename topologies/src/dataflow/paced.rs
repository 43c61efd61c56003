//! Stages that hold their input back: calls that take time, and rates.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;

use millstream_engine::flow::{
    Edge, Fault, Forward, Identity, Inlet, Operator, StageMeter, Wiring,
};
use millstream_engine::mailbox::Mailbox;
use millstream_operators::paced::{AsyncError, AsyncOptions, MapAsync, RateLimit};

use super::check::DataflowFault;
use super::flow::EdgeBound;
use super::origin::{Opening, Origin, open_stage};
use super::site::{Note, Site};
use super::stream::Stream;

/// Items as fast as a rate allows.
pub struct RateLimitOrigin<T> {
    edge: Arc<Edge<T>>,
    /// Of all partitions.
    per_second: f64,
    burst: u32,
}

impl<T: Send + 'static> Origin for RateLimitOrigin<T> {
    type Item = T;

    fn stage<O: Operator<T, Out = Infallible>>(
        &self,
        operator: O,
        wiring: &Wiring,
        _mailbox: &Arc<Mailbox>,
        meter: StageMeter,
    ) -> Result<Opening, Fault> {
        let edges = std::slice::from_ref(&self.edge);
        let inlet = Inlet::open(edges, wiring.partition)?;
        let per_second = self.per_second / wiring.partitions as f64;
        let head = RateLimit::new(inlet, per_second, self.burst);
        Ok(open_stage(head, operator, wiring, meter))
    }
}

/// What calls make of items.
pub struct AsyncOrigin<T, F, C, U, E> {
    edge: Arc<Edge<T>>,
    function: F,
    options: AsyncOptions,
    call: PhantomData<fn() -> C>,
    result: PhantomData<fn() -> (U, E)>,
}

impl<T, F, C, U, E> Origin for AsyncOrigin<T, F, C, U, E>
where
    T: Clone + Send + 'static,
    F: Fn(T) -> C + Clone + Send + 'static,
    C: Future<Output = Result<U, E>> + Send + 'static,
    U: Send + 'static,
    E: Send + 'static,
{
    type Item = Result<U, AsyncError<T, E>>;

    fn stage<O: Operator<Self::Item, Out = Infallible>>(
        &self,
        operator: O,
        wiring: &Wiring,
        mailbox: &Arc<Mailbox>,
        meter: StageMeter,
    ) -> Result<Opening, Fault> {
        let edges = std::slice::from_ref(&self.edge);
        let inlet = Inlet::open(edges, wiring.partition)?;
        let (function, options) = (self.function.clone(), self.options.clone());
        let head = MapAsync::new(inlet, function, options, mailbox).wired(wiring);
        Ok(open_stage(head, operator, wiring, meter))
    }
}

/// Seconds that the items of one batch before a rate limit take there.
const BATCH_SECONDS: f64 = 0.05;
/// Such batches that may wait, with the watermarks between them.
const BATCHES: NonZeroU32 = NonZeroU32::new(4).unwrap();

/// What may wait before a rate limit: barriers come behind it.
fn bound_of(per_second: f64) -> EdgeBound {
    // What is no rate is a fault of the dataflow, and whatever is too much for a size is the largest.
    let items = (per_second * BATCH_SECONDS) as usize;
    EdgeBound {
        batch_items: NonZeroUsize::new(items).unwrap_or(NonZeroUsize::MIN),
        batches: BATCHES,
    }
}

impl<P: Origin, O: Operator<P::Item> + Clone> Stream<P, O>
where
    O::Out: Send + 'static,
{
    /// Closes the stage and begins one of as many partitions with an origin of one's own.
    fn behind<Q: Origin>(
        self,
        kind: &str,
        bound: Option<EdgeBound>,
        origin: impl FnOnce(Arc<Edge<O::Out>>) -> Q,
    ) -> Stream<Q, Identity> {
        let (flow, partitions) = (self.flow.clone(), self.site.partitions);
        let (input, edge) = self.send_bounded(kind, Forward, bound);
        let site = Site::new(kind, partitions, vec![input]).following();
        Stream::new(flow, origin(edge), Identity, site)
    }

    /// Lets at most `per_second` items per second pass, by the engine's clock, in a new stage; after a pause up to
    /// `burst` at once. Nothing is dropped: whoever sends waits.
    ///
    /// Each partition has an equal part of the rate, and a `burst` of its own: where they get unequal shares of the
    /// items, less passes than could.
    pub fn rate_limit(
        self,
        per_second: f64,
        burst: u32,
    ) -> Stream<RateLimitOrigin<O::Out>, Identity> {
        if !(per_second > 0.0 && per_second.is_finite()) || burst == 0 {
            self.flow.fault(DataflowFault::Impossible {
                place: "rate limit".to_owned(),
                reason: "nothing would ever pass: give a rate above 0 and a burst of at least 1"
                    .to_owned(),
            });
        }
        let bound = bound_of(per_second / self.site.partitions.max(1) as f64);
        self.behind("rate-limit", Some(bound), |edge| RateLimitOrigin {
            edge,
            per_second,
            burst,
        })
    }

    /// What `function` makes of each item by a call that takes time, such as to a service or a database, in a new
    /// stage. Many are under way at once; how many, how long, how often and in which order they go on, `options` says.
    /// An item whose tries are used up comes out as an [`AsyncError`].
    ///
    /// Futures are polled by the stage itself, so they must neither block nor compute for long. Watermarks wait for the
    /// items before them. A call may be made again: after a timeout, a failure, or a restart.
    ///
    /// ```
    /// use millstream::dataflow::Dataflow;
    /// use millstream_operators::paced::AsyncOptions;
    ///
    /// let (flow, enriched) = Dataflow::declare("enriched", |flow| {
    ///     flow.items(0..100u64)
    ///         .stream()
    ///         .map_async(AsyncOptions::ordered(16).retries(2), |number| async move {
    ///             // Asks somebody.
    ///             Ok::<_, std::io::Error>(number * 2)
    ///         })
    ///         .filter_map(Result::ok)
    ///         .collect()
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map_async<F, C, U, E>(
        self,
        options: AsyncOptions,
        function: F,
    ) -> Stream<AsyncOrigin<O::Out, F, C, U, E>, Identity>
    where
        O::Out: Clone,
        F: Fn(O::Out) -> C + Clone + Send + 'static,
        C: Future<Output = Result<U, E>> + Send + 'static,
        U: Send + 'static,
        E: Send + 'static,
    {
        let is_ordered = options.is_ordered;
        let mut stream = self.behind("async", None, |edge| AsyncOrigin {
            edge,
            function,
            options,
            call: PhantomData,
            result: PhantomData,
        });
        if !is_ordered {
            let reason = "items go on as their calls end: give it AsyncOptions::ordered";
            stream = stream.noted(Note::order("map_async", reason));
        }
        stream
    }
}

impl<T> fmt::Debug for RateLimitOrigin<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitOrigin")
            .field("per_second", &self.per_second)
            .finish_non_exhaustive()
    }
}

impl<T, F, C, U, E> fmt::Debug for AsyncOrigin<T, F, C, U, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncOrigin")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
