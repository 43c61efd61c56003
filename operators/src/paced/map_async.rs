//! Calls that take time, for each item one: so many at once, with a timeout and further tries.
//!
//! The futures are polled by the stage, in its turns, and their wakers wake its mailbox: no task is spawned, no item
//! crosses a thread, and dropping the stage drops its calls. A future must not block or compute for long; it may spawn
//! what does. The stage holds at most `concurrency` items besides one batch; the senders wait for more room.
//! Timeouts and waits go by the engine's clock. Cost: per turn one look at each call.

mod calling;

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::flow::{Fault, Fence, Head, Operator, Pull, Turn, Wiring, tell_end};
use millstream_engine::mailbox::Mailbox;
use millstream_engine::metrics::BreakerMetrics;
use millstream_engine::time::{Clock, Timestamp};

use crate::breaker::{Breaker, Permit};

use super::options::{AsyncError, AsyncOptions};
use super::order::{Next, Order, Ticket};
use super::recorder::{Mark, Recorder, Teller};
use super::wakers::CallWaker;

/// Work after which the others of the thread have their turn.
const TURN: Duration = Duration::from_millis(1);

enum Doing<C> {
    /// Until when, if there is a timeout.
    Calling(Pin<Box<C>>, Option<Duration>),
    /// For another try.
    Waiting(Duration),
    /// For a breaker.
    Held,
}

struct Call<T, C> {
    ticket: Ticket,
    time: Timestamp,
    limit: Timestamp,
    item: T,
    tries: u32,
    doing: Doing<C>,
    /// Of the try under way, if there is a breaker.
    permit: Option<Permit>,
}

impl<T, C> Call<T, C> {
    /// When something is to be done even if nobody wakes it.
    const fn due(&self) -> Option<Duration> {
        match &self.doing {
            Doing::Calling(_, until) => *until,
            Doing::Waiting(until) => Some(*until),
            Doing::Held => None,
        }
    }
}

struct Place<T, C> {
    waker: CallWaker,
    call: Option<Call<T, C>>,
}

/// What goes on for an item.
type Outcome<T, U, E> = Result<U, AsyncError<T, E>>;

/// A head that gives on what calls make of the items of the one inside it.
pub struct MapAsync<H, T, F, C, U, E> {
    inner: H,
    inner_ended: bool,
    /// All was given on but the end.
    is_over: bool,
    holds_barrier: bool,
    recorder: Recorder<T>,
    teller: Teller,
    function: F,
    options: AsyncOptions,
    places: Vec<Place<T, C>>,
    order: Order<Outcome<T, U, E>>,
    items: u64,
    breaker: Option<Breaker>,
    /// When the breaker admits a call, if something waits for that.
    admitted_at: Option<Duration>,
    fence: Arc<Fence>,
}

impl<H, T, F, C, U, E> MapAsync<H, T, F, C, U, E>
where
    T: Clone,
    F: Fn(T) -> C,
    C: Future<Output = Result<U, E>>,
{
    /// Calls `function` for each item of `inner`; `mailbox` is the stage's.
    pub fn new(inner: H, function: F, options: AsyncOptions, mailbox: &Arc<Mailbox>) -> Self {
        let place = |_| Place {
            waker: CallWaker::new(mailbox),
            call: None,
        };
        Self {
            inner,
            inner_ended: false,
            is_over: false,
            holds_barrier: false,
            recorder: Recorder::new(),
            teller: Teller::new(),
            function,
            places: (0..options.concurrency.get()).map(place).collect(),
            order: Order::new(options.is_ordered),
            breaker: options
                .breaker
                .map(|breaker| Breaker::new(breaker).tries_take(options.timeout)),
            admitted_at: None,
            options,
            items: 0,
            fence: Arc::default(),
        }
    }

    /// Shows its breaker as that of this partition, and makes no call once the run is given up.
    #[must_use]
    pub fn wired(mut self, wiring: &Wiring) -> Self {
        self.fence = wiring.fence();
        if let Some(breaker) = &mut self.breaker {
            let (stage, partition) = (&wiring.stage, wiring.partition_id());
            breaker.show(BreakerMetrics::new(stage, partition));
        }
        self
    }

    /// Gives on what may go on; gives the end or a barrier when it comes to that.
    fn give<O>(&mut self, operator: &mut O) -> Option<Pull>
    where
        O: Operator<Outcome<T, U, E>, Out = Infallible>,
    {
        while !operator.is_blocked() {
            match self.order.next() {
                None => break,
                Some(Next::Item(done)) => {
                    self.items += 1;
                    let item = (done.time, done.limit, done.result);
                    self.teller.item(operator, item);
                }
                Some(Next::Mark(mark)) => {
                    self.teller.mark(operator, mark);
                    match mark {
                        Mark::End => {
                            self.is_over = true;
                            return Some(tell_end(operator));
                        }
                        Mark::Barrier(epoch) => {
                            self.holds_barrier = false;
                            return Some(Pull::Barrier(epoch));
                        }
                        Mark::Watermark(_) | Mark::Idle => {}
                    }
                }
            }
        }
        self.teller.rest(operator);
        None
    }

    fn is_full(&self) -> bool {
        self.order.items() >= self.places.len()
    }

    /// Until when nothing is to be done unless something wakes the stage.
    fn rest(&self, now: Duration) -> Pull {
        let dues = self
            .places
            .iter()
            .filter_map(|place| place.call.as_ref()?.due());
        match dues.chain(self.admitted_at).min() {
            Some(due) => Pull::IdleFor(due.saturating_sub(now)),
            None => Pull::Idle,
        }
    }
}

impl<H, T, F, C, U, E, O> Head<O> for MapAsync<H, T, F, C, U, E>
where
    H: Head<Recorder<T>, Item = T>,
    T: Clone + Send + 'static,
    F: Fn(T) -> C + Send + 'static,
    C: Future<Output = Result<U, E>> + Send + 'static,
    U: Send + 'static,
    E: Send + 'static,
    O: Operator<Outcome<T, U, E>, Out = Infallible>,
{
    type Item = Outcome<T, U, E>;

    fn pull(&mut self, operator: &mut O, turn: &Turn, clock: &dyn Clock) -> Result<Pull, Fault> {
        if self.is_over {
            return Ok(tell_end(operator));
        }
        let mut now = turn.monotonic;
        loop {
            self.poll(now);
            if let Some(given) = self.give(operator) {
                return Ok(given);
            }
            let mut input = Pull::Idle;
            let wants_more = !self.is_full() && !self.inner_ended && !self.holds_barrier;
            if self.recorder.is_empty() && wants_more {
                input = self.inner.pull(&mut self.recorder, turn, clock)?;
                self.inner_ended = input == Pull::Ended;
                if let Pull::Barrier(epoch) = input {
                    // What follows belongs to the next checkpoint, so nothing is taken until this one is given on.
                    self.recorder.add_barrier(epoch);
                    self.holds_barrier = true;
                }
            }
            let took = self.start(now);
            now = clock.monotonic();
            if operator.is_blocked() {
                return Ok(Pull::More);
            }
            if !took && input != Pull::More {
                // A call that woke itself while it was polled has a wake-up under way.
                return Ok(match (self.rest(now), input) {
                    (Pull::IdleFor(one), Pull::IdleFor(two)) => Pull::IdleFor(one.min(two)),
                    (Pull::Idle, wait @ Pull::IdleFor(_)) => wait,
                    (rest, _) => rest,
                });
            }
            if now.saturating_sub(turn.monotonic) >= TURN {
                return Ok(Pull::More);
            }
        }
    }

    fn stop(&mut self) {
        <H as Head<Recorder<T>>>::stop(&mut self.inner);
    }

    fn is_idle(&self) -> bool {
        let is_idle = <H as Head<Recorder<T>>>::is_idle(&self.inner);
        is_idle && self.recorder.is_empty() && self.order.items() == 0
    }

    fn holds_back(&self) -> bool {
        self.is_full() || self.admitted_at.is_some()
    }

    fn items_total(&self) -> u64 {
        self.items
    }

    /// What the inner one has told may wait here for a moment.
    fn watermark(&self) -> Timestamp {
        <H as Head<Recorder<T>>>::watermark(&self.inner)
    }

    /// Once all was given on and the operator holds the end back: no barrier comes in any more.
    fn is_source(&self) -> bool {
        self.is_over
    }

    fn aligned(&self) -> Duration {
        <H as Head<Recorder<T>>>::aligned(&self.inner)
    }

    fn open(&mut self) -> Result<(), Fault> {
        <H as Head<Recorder<T>>>::open(&mut self.inner)
    }

    /// Nothing is held when a barrier is given on.
    fn save(&self, saving: &mut Saving) -> Result<(), Fault> {
        <H as Head<Recorder<T>>>::save(&self.inner, saving)
    }

    fn restore(&mut self, restoring: &mut Restoring) -> Result<Timestamp, Fault> {
        let watermark = <H as Head<Recorder<T>>>::restore(&mut self.inner, restoring)?;
        self.teller.resume(watermark);
        Ok(watermark)
    }
}

impl<H, T, F, C, U, E> fmt::Debug for MapAsync<H, T, F, C, U, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapAsync")
            .field("options", &self.options)
            .field("items", &self.order.items())
            .finish_non_exhaustive()
    }
}
