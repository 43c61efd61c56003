//! Calls whose panics are caught, known to the thread: a panic hook can tell such panics from those that nobody catches.
//!
//! A stage's turn is such a call, and so is what runs user code elsewhere. Invariant: where nobody is known to catch a panic
//! it passes as caught by nobody. So of a call one panic is a caught one; the next is again once it is known that the first was
//! caught inside of the call. A panic before that is of a destructor, and ends the process.
//! Cost: a store in memory of the thread before and after a call. Not here: the hook, which is the program's choice.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;

#[derive(Clone, Copy, PartialEq)]
enum Inside {
    /// Of no call whose panics are caught.
    Nothing,
    Call,
    /// Of one that has panicked.
    Panic,
}

thread_local! {
    static INSIDE: Cell<Inside> = const { Cell::new(Inside::Nothing) };
}

/// Calls `run`, whose panics a hook is told are caught.
///
/// # Errors
/// What it panicked with.
pub fn caught<T>(run: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
    let before = INSIDE.replace(Inside::Call);
    let outcome = catch_unwind(AssertUnwindSafe(run));
    INSIDE.set(before);
    outcome
}

/// The same future, for a task whose panics whoever joins it sees to.
pub async fn caught_by_joining<T>(run: impl Future<Output = T>) -> T {
    let mut run = pin!(run);
    std::future::poll_fn(|context| {
        let polled = caught(|| run.as_mut().poll(context));
        polled.unwrap_or_else(|panic| resume_unwind(panic))
    })
    .await
}

/// A panic was caught inside of a call: what panics next is caught as well.
pub fn was_caught_inside() {
    if INSIDE.get() == Inside::Panic {
        INSIDE.set(Inside::Call);
    }
}

/// Of a panic that begins, for a hook: whether it is caught. Asked once of each.
#[must_use]
pub fn will_be_caught() -> bool {
    let is_caught = INSIDE.get() == Inside::Call;
    if is_caught {
        INSIDE.set(Inside::Panic);
    }
    is_caught
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As if a panic began; nothing is printed of it.
    fn panics() -> bool {
        let is_caught = will_be_caught();
        resume_unwind(Box::new(is_caught))
    }

    fn told(panic: Box<dyn Any + Send>) -> bool {
        *panic.downcast::<bool>().unwrap()
    }

    #[test]
    fn only_panics_of_guarded_calls_are_caught_ones() {
        let outside = || told(catch_unwind(panics).unwrap_err());
        assert!(!outside());
        assert!(told(caught(panics).unwrap_err()));
        assert!(!outside());
        let thread = caught(|| std::thread::spawn(panics).join().unwrap_err());
        assert!(!told(thread.unwrap()), "another thread is not of the call");
        assert_eq!(caught(|| 3).unwrap(), 3);
        was_caught_inside();
        assert!(!outside());
    }

    /// A destructor that panics while its stack is unwound ends the process: that is to be read.
    #[test]
    fn a_second_panic_is_not_a_caught_one_until_the_first_is_over() {
        let (inner, second, third) = caught(|| {
            let inner = told(caught(panics).unwrap_err());
            let _first = will_be_caught();
            let second = will_be_caught();
            was_caught_inside();
            (inner, second, will_be_caught())
        })
        .unwrap();
        assert!(inner && !second && third);
    }

    #[tokio::test]
    async fn a_task_that_is_joined_is_caught() {
        let task = tokio::spawn(caught_by_joining(async {
            tokio::task::yield_now().await;
            panics()
        }));
        let panic = task.await.unwrap_err().into_panic();
        assert!(told(panic));
        assert!(!will_be_caught());
    }
}
