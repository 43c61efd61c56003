//! The calls: begun while there is room, polled when they ask for it, made again while they may.
//!
//! Invariants: no call is made that the breaker does not admit, nor once the run is given up; what a call gave counts also when
//! its time was up meanwhile. Held for a breaker are calls that are to be made again, and the item that would be next.
//! Cost: a pass over the places, and a further one whenever a call has changed the state of the breaker.

use std::task::{Context, Poll};
use std::time::Duration;

use super::{Call, Doing, MapAsync};
use crate::breaker::{Admission, Breaker, Permit, WhileOpen};
use crate::paced::options::{AsyncCause, AsyncError, AsyncOptions};
use crate::paced::order::Done;
use crate::paced::recorder::Recorded;

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
    pub(super) fn start(&mut self, now: Duration) -> bool {
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
    pub(super) fn poll(&mut self, now: Duration) {
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
}
