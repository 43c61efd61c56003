//! Where streams end: closures and collections in memory.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use millstream_engine::flow::{Emit, Fault, Fence, Operator, Wiring, stateless};
use millstream_engine::time::Timestamp;

use millstream_operators::function::Stored;
use millstream_operators::sink::{Deliver, DeliverOptions, Delivery};

use super::origin::Origin;
use super::stream::Stream;

/// What a stream gave out, for tests and small results. Order is that of arrival, partitions mixed.
pub struct Collected<T> {
    items: Arc<Mutex<Vec<(Timestamp, T)>>>,
}

impl<T> Collected<T> {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Timestamp, T)>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that came so far, with event times; empties the collection.
    pub fn take(&self) -> Vec<(Timestamp, T)> {
        std::mem::take(&mut self.lock())
    }

    /// All items that came so far, without times; empties the collection.
    pub fn take_items(&self) -> Vec<T> {
        self.take().into_iter().map(|(_, item)| item).collect()
    }

    /// How many came since the last taking.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none came since the last taking.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}

impl<T> Clone for Collected<T> {
    fn clone(&self) -> Self {
        Self {
            items: Arc::clone(&self.items),
        }
    }
}

/// Collects a partition's items and adds them at the end of each turn.
struct CollectSink<T> {
    collected: Collected<T>,
    items: Vec<(Timestamp, T)>,
    fence: Arc<Fence>,
}

impl<T> Clone for CollectSink<T> {
    fn clone(&self) -> Self {
        Self {
            collected: self.collected.clone(),
            items: Vec::new(),
            fence: Arc::default(),
        }
    }
}

impl<T: Send + 'static> Operator<T> for CollectSink<T> {
    type Out = Infallible;

    #[inline]
    fn item<E: Emit<Infallible>>(&mut self, time: Timestamp, item: T, _out: &mut E) {
        self.items.push((time, item));
    }

    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        self.fence = wiring.fence();
        Ok(())
    }

    fn flush(&mut self, _idle: bool) -> Result<(), Fault> {
        if !self.items.is_empty() {
            let _pass = self.fence.pass();
            self.collected.lock().append(&mut self.items);
        }
        Ok(())
    }

    stateless!();
}

/// Calls a closure for each item.
#[derive(Clone)]
struct ForEach<F> {
    function: F,
    fence: Arc<Fence>,
}

impl<T, F: FnMut(Timestamp, T) + Send + 'static> Operator<T> for ForEach<F> {
    type Out = Infallible;

    #[inline(always)]
    fn item<E: Emit<Infallible>>(&mut self, time: Timestamp, item: T, _out: &mut E) {
        // The closure may have come back after the run was given up.
        self.fence.check();
        (self.function)(time, item);
    }

    fn open(&mut self, wiring: &Wiring) -> Result<(), Fault> {
        self.fence = wiring.fence();
        Ok(())
    }

    stateless!();
}

impl<P: Origin, O: Operator<P::Item> + Clone> Stream<P, O> {
    /// Ends the stream in memory.
    pub fn collect(self) -> Collected<O::Out>
    where
        O::Out: Send + 'static,
    {
        let collected = Collected {
            items: Arc::default(),
        };
        self.end(CollectSink {
            collected: collected.clone(),
            items: Vec::new(),
            fence: Arc::default(),
        });
        collected
    }

    /// Ends the stream in a closure that gets each result with an id, once a checkpoint has made it final: whatever happens,
    /// no other result has that id. At least once: a crash between a checkpoint and what it lets out has the next run give it
    /// out again, under the same id. It runs on the engine's threads and must not block.
    ///
    /// Cost: results wait for the next checkpoint, which holds them. Without checkpoints they are given out at once, and the
    /// ids are those of this run.
    pub fn deliver<F>(self, function: F)
    where
        O::Out: Stored,
        F: FnMut(Delivery<O::Out>) + Clone + Send + 'static,
    {
        let mut stream = self;
        stream.site.lets_out = true;
        stream.end(Deliver::new(function));
    }

    /// The same to whoever may refuse a result: what is refused is given again after a wait, under the same id, and what comes
    /// behind it waits, in its order. `options` say how long, and whether nobody is called for a while after several refusals.
    /// Meanwhile the stage takes no input, so whoever sends waits as well, and checkpoints wait with it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use millstream::dataflow::Dataflow;
    /// use millstream_operators::breaker::BreakerOptions;
    /// use millstream_operators::sink::DeliverOptions;
    ///
    /// let breaker = BreakerOptions::after(3).cool_down(Duration::from_secs(1), Duration::from_secs(60));
    /// let flow = Dataflow::build("told", |flow| {
    ///     let numbers = flow.items(0..100u64).stream();
    ///     numbers.deliver_with(DeliverOptions::default().breaker(breaker), |delivery| {
    ///         // Tells somebody, who knows a repetition by `delivery.id`.
    ///         if delivery.item == u64::MAX { Err("nobody listens") } else { Ok(()) }
    ///     });
    /// })?;
    /// # let _ = flow;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn deliver_with<F, E>(self, options: DeliverOptions, function: F)
    where
        O::Out: Stored,
        F: FnMut(&Delivery<O::Out>) -> Result<(), E> + Clone + Send + 'static,
        E: fmt::Display + 'static,
    {
        let mut stream = self;
        stream.site.lets_out = true;
        stream.end(Deliver::with(options, function));
    }

    /// Ends the stream in a closure; each partition has a clone of it. It runs on the engine's threads and must not
    /// block. A restart calls it again for what came since the last checkpoint: at least once.
    pub fn for_each<F>(self, function: F)
    where
        F: FnMut(Timestamp, O::Out) + Clone + Send + 'static,
    {
        self.end(ForEach {
            function,
            fence: Arc::default(),
        });
    }
}

impl<T> fmt::Debug for Collected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collected")
            .field("items", &self.len())
            .finish()
    }
}
