//! What panics print: by default all of each, which costs more than all else about them.

use std::panic;
use std::sync::{Mutex, Once, PoisonError};

use millstream_engine::stage::will_be_caught;
use millstream_engine::time::{Clock, SystemClock};

use super::telling::Telling;

/// Of the panics that stages and calls of user code catch, has only the first ten of each second say so on standard error, of
/// the whole process; how many said nothing is logged with the next. For programs with functions that may panic on many
/// items: what is printed of a panic takes microseconds, with a backtrace far more, and one thread at a time. The panics
/// themselves are caught as ever, and their messages are in the letters, in the answers to commands or in the failure of the
/// stage. A panic that nobody here catches is printed as without this, for example one of a task of the program's own, or of a
/// destructor, which ends the process. What was set with [`std::panic::set_hook`] before is called for those that do say so.
///
/// Called a second time it does nothing.
pub fn limit_panic_messages() {
    static SET: Once = Once::new();
    SET.call_once(|| {
        let (before, clock) = (panic::take_hook(), SystemClock::new());
        let telling = Mutex::new(Telling::default());
        panic::set_hook(Box::new(move |info| {
            if !will_be_caught() {
                return before(info);
            }
            let mut telling = telling.lock().unwrap_or_else(PoisonError::into_inner);
            let next = telling.next(clock.monotonic());
            drop(telling);
            if let Some(unsaid) = next {
                if unsaid > 0 {
                    tracing::warn!(unsaid, "panics of which nothing was printed");
                }
                before(info);
            }
        }));
    });
}
