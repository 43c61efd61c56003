//! Opens stages on several threads: reading state back is most of a restart.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use millstream_engine::flow::Fault;
use millstream_engine::stage::{StageCore, panic_message};
use tokio::runtime::Handle;

use super::origin::Opening;

/// What came of opening one.
type Opened = Result<Box<dyn StageCore>, Fault>;

/// Opens all, one per processor at a time or one by one, and gives what came of each, in their order. Blocks. After one
/// that fails no more are begun, and what comes behind it is left out. A panic is a failure: whoever begins a dataflow again has
/// to hear of it.
pub(super) fn open_all(openings: Vec<Opening>, is_one_by_one: bool) -> Vec<Opened> {
    let count = openings.len();
    let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = if is_one_by_one {
        1
    } else {
        processors.min(count)
    };
    let waiting = Mutex::new(openings.into_iter().enumerate());
    let opened = Mutex::new(Vec::with_capacity(count));
    // Sinks may look for the runtime that they will work in.
    let runtime = Handle::try_current().ok();
    let work = || {
        let _entered = runtime.as_ref().map(Handle::enter);
        loop {
            let Some((number, open)) = held(&waiting).next() else {
                return;
            };
            let outcome = catch_unwind(AssertUnwindSafe(open));
            let outcome = outcome.unwrap_or_else(|panic| {
                let message = panic_message(&*panic);
                Err(Fault(format!("it panicked while it was opened: {message}")))
            });
            if outcome.is_err() {
                held(&waiting).by_ref().for_each(drop);
            }
            held(&opened).push((number, outcome));
        }
    };
    thread::scope(|scope| {
        for number in 1..threads {
            let named = thread::Builder::new().name(format!("millstream-open-{number}"));
            if named.spawn_scoped(scope, work).is_err() {
                break; // Those that there are do it too.
            }
        }
        work();
    });
    let mut opened = opened.into_inner().unwrap_or_else(PoisonError::into_inner);
    opened.sort_by_key(|(number, _)| *number);
    let outcomes = opened.into_iter().map(|(_, outcome)| outcome);
    let mut outcomes: Vec<Opened> = outcomes.collect();
    let first_failed = outcomes.iter().position(Result::is_err);
    outcomes.truncate(first_failed.map_or(count, |at| at + 1));
    outcomes
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn opening(outcome: Result<(), &'static str>, opened: &Arc<AtomicUsize>) -> Opening {
        let opened = Arc::clone(opened);
        Box::new(move || {
            opened.fetch_add(1, Ordering::Relaxed);
            match outcome {
                Ok(()) => panic!("this one does not open"),
                Err(cause) => Err(Fault(cause.to_owned())),
            }
        })
    }

    #[test]
    fn the_first_failure_ends_it() {
        for is_one_by_one in [true, false] {
            let opened = Arc::default();
            let openings = (0..100).map(|_| opening(Err("no"), &opened)).collect();
            let outcomes = open_all(openings, is_one_by_one);
            assert_eq!(outcomes.len(), 1);
            assert!(outcomes[0].is_err());
            assert!(opened.load(Ordering::Relaxed) < 100);
        }
    }

    #[test]
    fn a_panic_is_a_failure() {
        let opened = Arc::default();
        let openings = (0..100).map(|_| opening(Ok(()), &opened)).collect();
        let outcomes = open_all(openings, false);
        let failure = outcomes.last().and_then(|outcome| outcome.as_ref().err());
        let told = "it panicked while it was opened: this one does not open";
        assert_eq!(failure, Some(&Fault(told.to_owned())));
    }
}
