//! Why user code failed: its error with all that caused it, or its panic.

use std::any::Any;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};

use millstream_engine::state::CAUSES_MAX;

use crate::aggregate::panic_message;

/// Bytes kept of one text, as of a stored letter.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// The error and what caused it, outermost first: at most 16 texts of 4 KiB.
pub(crate) type Causes = Vec<String>;

/// What an error says, and what caused it.
pub(crate) fn chain(error: &dyn Error) -> Causes {
    let mut causes = vec![kept(error.to_string())];
    let mut next = error.source();
    while let Some(cause) = next.filter(|_| causes.len() < CAUSES_MAX) {
        causes.push(kept(cause.to_string()));
        next = cause.source();
    }
    causes
}

fn kept(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

/// Runs user code; a panic is a failure like an error.
#[inline]
pub(crate) fn guarded<T, E: Into<Box<dyn Error + Send + Sync>>>(
    run: impl FnOnce() -> Result<T, E>,
) -> Result<T, Causes> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(given) => given.map_err(failed),
        Err(panic) => Err(panicked(&*panic)),
    }
}

/// Why user code has failed that gave an error.
pub(crate) fn failed<E: Into<Box<dyn Error + Send + Sync>>>(error: E) -> Causes {
    chain(&*error.into())
}

/// Why user code has failed that panicked.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Causes {
    vec![kept(format!("panicked: {}", panic_message(panic)))]
}
