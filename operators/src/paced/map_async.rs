//! Calls that take time, for each item one: so many at once, with a timeout and further tries.
//!
//! The futures are polled by the stage, in its turns, and their wakers wake its mailbox: no task is spawned, no item
//! crosses a thread, and dropping the stage drops its calls. A future must not block or compute for long; it may spawn
//! what does. The stage holds at most `concurrency` items besides one batch; the senders wait for more room.
//! Timeouts and waits go by the engine's clock. Cost: per turn one look at each call.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use millstream_engine::checkpoint::{Restoring, Saving};
use millstream_engine::flow::{Fault, Fence, Head, Operator, Pull, Turn, Wiring};
use millstream_engine::mailbox::Mailbox;
use millstream_engine::metrics::BreakerMetrics;
use millstream_engine::time::{Clock, Timestamp};

use crate::breaker::{Admission, Breaker, Permit, WhileOpen};

use super::options::{AsyncCause, AsyncError, AsyncOptions};
use super::order::{Done, Next, Order, Ticket};
use super::recorder::{Mark, Recorded, Recorder, Teller};
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

/// Makes a call.
fn begin<T, C>(
    function: &impl Fn(T) -> C,
    options: &AsyncOptions,
    item: T,
    now: Duration,
) -> Doing<C> {
    let until = options.timeout.map(|timeout| now.saturating_add(timeout));
    Doing::Calling(Box::pin(function(item)), until)
}

/// What goes on for an item.
type Outcome<T, U, E> = Result<U, AsyncError<T, E>>;

/// A head that gives on what calls make of the items of the one inside it.
pub struct MapAsync<H, T, F, C, U, E> {
    inner: H,
    inner_ended: bool,
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

/// Whether a call may be made.
enum Leave {
    Call(Option<Permit>),
    /// Not now.
    Wait,
    Never,
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

    /// Asks the breaker, if there is one, to make a call.
    fn leave(&mut self, now: Duration) -> Leave {
        let Some(breaker) = &mut self.breaker else {
            return Leave::Call(None);
        };
        match breaker.admit(now) {
            Admission::Call(permit) => Leave::Call(Some(permit)),
            _ if breaker.options().while_open == WhileOpen::Fail => Leave::Never,
            Admission::NotBefore(until) | Admission::NotYet(until) => {
                self.admitted_at = Some(until);
                Leave::Wait
            }
        }
    }

    /// Begins calls while there is room; gives whether anything was taken.
    fn start(&mut self, now: Duration) -> bool {
        let mut took = false;
        while self.order.items() < self.places.len() || !self.recorder.is_item_next() {
            let mut permit = None;
            let mut is_called = true;
            if self.recorder.is_item_next() {
                match self.leave(now) {
                    Leave::Call(given) => permit = given,
                    Leave::Wait => break,
                    Leave::Never => is_called = false,
                }
            }
            match self.recorder.take() {
                None => break,
                Some(Recorded::Mark(mark)) => self.order.add_mark(mark),
                Some(Recorded::Item(time, limit, item)) => {
                    let ticket = self.order.add_item();
                    let doing = if is_called {
                        self.fence.check();
                        begin(&self.function, &self.options, item.clone(), now)
                    } else {
                        Doing::Held
                    };
                    let free = self.places.iter().position(|place| place.call.is_none());
                    let Some(at) = free else {
                        unreachable!(
                            "there are no more calls than items, and one item less than places"
                        );
                    };
                    self.places[at].waker.raise();
                    self.places[at].call = Some(Call {
                        ticket,
                        time,
                        limit,
                        item,
                        tries: u32::from(is_called),
                        doing,
                        permit,
                    });
                    if !is_called {
                        self.finish(at, Err(AsyncCause::NotCalled));
                    }
                }
            }
            took = true;
        }
        took
    }

    /// Goes on with the calls that asked for it or whose time is up, and with those that a breaker let go meanwhile.
    fn poll(&mut self, now: Duration) {
        loop {
            self.admitted_at = None;
            let before = self.breaker.as_ref().map(Breaker::state);
            for at in 0..self.places.len() {
                self.poll_one(at, now);
            }
            if self.breaker.as_ref().map(Breaker::state) == before {
                return;
            }
        }
    }

    fn poll_one(&mut self, at: usize, now: Duration) {
        // The call before may have come back after the run was given up.
        self.fence.check();
        let mut is_woken = self.places[at].waker.take();
        let Some(call) = &self.places[at].call else {
            return;
        };
        let mut is_due = call.due().is_some_and(|due| due <= now);
        if matches!(call.doing, Doing::Waiting(_) if !is_due) {
            return;
        }
        if matches!(call.doing, Doing::Waiting(_) | Doing::Held) {
            if !self.try_again(at, now) {
                return;
            }
            (is_woken, is_due) = (true, false);
        }
        let place = &mut self.places[at];
        let Some(call) = &mut place.call else {
            return;
        };
        let Doing::Calling(future, _) = &mut call.doing else {
            return;
        };
        if !is_woken && !is_due {
            return;
        }
        let mut context = Context::from_waker(place.waker.waker());
        // What is there counts, also when it is looked at late.
        let outcome = match future.as_mut().poll(&mut context) {
            Poll::Ready(outcome) => outcome.map_err(AsyncCause::Failed),
            Poll::Pending if is_due => Err(AsyncCause::TimedOut),
            Poll::Pending => return,
        };
        if let (Some(breaker), Some(permit)) = (&mut self.breaker, call.permit.take()) {
            match outcome {
                Ok(_) => breaker.succeeded(permit),
                Err(_) => breaker.failed(permit, now),
            }
        }
        if outcome.is_err() && call.tries <= self.options.retries {
            let wait = self.options.wait_after(call.tries);
            call.doing = Doing::Waiting(now.saturating_add(wait));
        } else {
            self.finish(at, outcome);
        }
    }

    /// Makes a call once more, if the breaker lets it.
    fn try_again(&mut self, at: usize, now: Duration) -> bool {
        let leave = self.leave(now);
        let Some(call) = &mut self.places[at].call else {
            return false;
        };
        match leave {
            Leave::Call(permit) => {
                call.tries += 1;
                call.permit = permit;
                call.doing = begin(&self.function, &self.options, call.item.clone(), now);
                true
            }
            Leave::Wait => {
                call.doing = Doing::Held;
                false
            }
            Leave::Never => {
                self.finish(at, Err(AsyncCause::NotCalled));
                false
            }
        }
    }

    fn finish(&mut self, at: usize, result: Result<U, AsyncCause<E>>) {
        let Some(call) = self.places[at].call.take() else {
            return;
        };
        let (item, tries) = (call.item, call.tries);
        let result = result.map_err(|cause| AsyncError { item, tries, cause });
        let (time, limit) = (call.time, call.limit);
        let done = Done {
            time,
            limit,
            result,
        };
        self.order.finish(call.ticket, done);
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
                        Mark::End => return Some(Pull::Ended),
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
