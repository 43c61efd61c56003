//! Opens stages on several threads: reading state back is most of a restart.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use millstream_engine::flow::Fault;
use millstream_engine::stage::StageCore;

use super::origin::Opening;

/// What came of opening one.
type Opened = Result<Box<dyn StageCore>, Fault>;

/// Opens all, one per processor at a time, and gives what came of each, in their order. Blocks. After one that fails no
/// more are begun, and what comes behind it is left out.
pub(super) fn open_all(openings: Vec<Opening>) -> Vec<Opened> {
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let count = openings.len();
    let waiting = Mutex::new(openings.into_iter().enumerate());
    let opened = Mutex::new(Vec::with_capacity(count));
    // Sinks may look for the runtime that they will work in.
    let runtime = tokio::runtime::Handle::try_current().ok();
    let work = || {
        let _entered = runtime.as_ref().map(tokio::runtime::Handle::enter);
        loop {
            let next = waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .next();
            let Some((number, open)) = next else {
                return;
            };
            let outcome = open();
            if outcome.is_err() {
                waiting
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .by_ref()
                    .for_each(drop);
            }
            opened
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((number, outcome));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(count) {
            scope.spawn(work);
        }
        work();
    });
    let mut opened = opened.into_inner().unwrap_or_else(PoisonError::into_inner);
    opened.sort_by_key(|(number, _)| *number);
    let first_failed = opened.iter().position(|(_, outcome)| outcome.is_err());
    opened.truncate(first_failed.map_or(count, |at| at + 1));
    opened.into_iter().map(|(_, outcome)| outcome).collect()
}
