//! Why user code failed: its error with all that caused it, or its panic, and which class of causes that is.
//!
//! Failure: what errors say is user code like what gave them; where that panics a text says so.
//! Cost: texts are made when something is kept or told; what is passed over at once needs none.

use std::any::Any;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use compact_str::CompactString;
use millstream_engine::stage::{panic_message, was_caught_inside};
use millstream_engine::state::CAUSES_MAX;

/// Bytes kept of one text, as of a stored letter.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// The error and what caused it, outermost first: at most 16 texts of 4 KiB.
pub(crate) type Causes = Vec<String>;

/// Class of errors that say no other.
pub(crate) const ERROR: &str = "error";
/// Class of panics.
const PANIC: &str = "panic";
/// Class of events that cannot be read.
const UNREADABLE: &str = "unreadable";
/// Of an error that panics when it is asked for its text.
const NO_TEXT: &str = "(an error whose text panics)";
/// Class of what was not tried, as it found no room or waited.
pub(crate) const NOT_TRIED: &str = "not_tried";

/// An error with the class of causes that metrics count it by: a word of the program, such as `timeout`, never a text that
/// differs from one failure to the next. It says what the error says.
///
/// Classes that a partition of a stage finds beyond its first 16 are counted as `other`. Errors that say no class are of
/// class `error`; panics, events that cannot be read and items that were not tried have classes of their own. An error that
/// has one of these among its causes is of its class.
///
/// ```
/// use millstream_operators::failing::Classed;
///
/// fn price(text: &str) -> Result<u64, Classed> {
///     text.parse().map_err(|error| Classed::new("no_number", error))
/// }
/// assert_eq!(price("drei").unwrap_err().class(), "no_number");
/// ```
#[derive(Debug)]
pub struct Classed {
    class: &'static str,
    error: Box<dyn Error + Send + Sync>,
}

impl Classed {
    /// `error`, which is of this class.
    pub fn new(class: &'static str, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let error = error.into();
        Self { class, error }
    }

    /// Its class.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        self.class
    }
}

impl fmt::Display for Classed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for Classed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// Why user code failed on an item or event.
#[derive(Debug)]
pub struct Failure(Why);

#[derive(Debug)]
enum Why {
    Error(Box<dyn Error + Send + Sync>),
    Panic(Box<dyn Any + Send>),
    /// Of an event that cannot be read.
    Unreadable(Box<dyn Error + Send + Sync>),
}

impl Failure {
    /// It gave an error.
    #[cold]
    #[inline(never)]
    pub fn of(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Why::Error(error.into()))
    }

    /// It panicked, which was caught.
    #[cold]
    #[inline(never)]
    pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Self {
        was_caught_inside();
        Self(Why::Panic(panic))
    }

    /// The event cannot be read.
    #[cold]
    #[inline(never)]
    pub(crate) fn unreadable(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Why::Unreadable(error.into()))
    }

    /// The same, of what cannot be read: it was not tried. A panic stays one.
    pub(crate) fn into_unreadable(self) -> Self {
        match self.0 {
            Why::Error(error) => Self(Why::Unreadable(error)),
            why => Self(why),
        }
    }

    /// Whether the event cannot be read: whoever would take it was not asked.
    pub(crate) const fn is_unreadable(&self) -> bool {
        matches!(self.0, Why::Unreadable(_))
    }

    /// The class of causes it is of.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match &self.0 {
            Why::Error(error) => told(|| class_of(&**error)).unwrap_or(ERROR),
            Why::Panic(_) => PANIC,
            Why::Unreadable(_) => UNREADABLE,
        }
    }

    /// What the error says, without what caused it.
    pub(crate) fn cause(&self) -> String {
        match &self.0 {
            Why::Error(error) | Why::Unreadable(error) => text_of(&**error),
            Why::Panic(panic) => panic_message(&**panic).to_owned(),
        }
    }

    /// What the error says, and what caused it, outermost first: at most 16 texts of 4 KiB.
    #[must_use]
    pub fn causes(self) -> Vec<String> {
        match self.0 {
            Why::Error(error) | Why::Unreadable(error) => chain(&*error),
            Why::Panic(panic) => vec![kept(format!("panicked: {}", panic_message(&*panic)))],
        }
    }

    /// Both.
    pub(crate) fn told_as(self) -> (CompactString, Causes) {
        (CompactString::const_new(self.class()), self.causes())
    }
}

/// The class that an error says, or one of those that caused it.
fn class_of(error: &(dyn Error + 'static)) -> &'static str {
    let mut next = Some(error);
    for _ in 0..CAUSES_MAX {
        let Some(error) = next else { break };
        if let Some(classed) = error.downcast_ref::<Classed>() {
            return classed.class;
        }
        next = error.source();
    }
    ERROR
}

/// What an error says, and what caused it.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> Causes {
    let source = |of: &'a (dyn Error + 'static)| told(|| of.source()).flatten();
    let mut causes = vec![kept(text_of(error))];
    let mut next = source(error);
    while let Some(cause) = next.filter(|_| causes.len() < CAUSES_MAX) {
        causes.push(kept(text_of(cause)));
        next = source(cause);
    }
    causes
}

fn text_of(error: &dyn Error) -> String {
    told(|| error.to_string()).unwrap_or_else(|| NO_TEXT.to_owned())
}

fn kept(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

/// Runs user code; a panic is a failure like an error.
#[inline(always)]
pub(crate) fn guarded<T, E: Into<Box<dyn Error + Send + Sync>>>(
    run: impl FnOnce() -> Result<T, E>,
) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(given) => given.map_err(Failure::of),
        Err(panic) => Err(Failure::panicked(panic)),
    }
}

/// What user code says of what has failed already; nothing if it panics: a second failure must not be the stage's.
pub(crate) fn told<T>(tell: impl FnOnce() -> T) -> Option<T> {
    guarded(|| Ok::<_, Infallible>(tell())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the whole failed")]
    struct Whole(#[source] Classed);

    #[test]
    fn classes_are_those_that_errors_say() {
        let classed = || Classed::new("timeout", "it took too long");
        assert_eq!(Failure::of("no").class(), "error");
        assert_eq!(Failure::of(classed()).class(), "timeout");
        assert_eq!(Failure::of(classed()).causes(), ["it took too long"]);
        let whole = Failure::of(Whole(classed()));
        assert_eq!(whole.class(), "timeout");
        assert_eq!(whole.causes(), ["the whole failed", "it took too long"]);
        let panicked = guarded(|| -> Result<(), String> { panic!("bang") }).unwrap_err();
        assert_eq!(panicked.class(), "panic");
        assert_eq!(panicked.causes(), ["panicked: bang"]);
    }

    /// Panics when it is asked for what caused it.
    #[derive(Debug)]
    struct Rootless;

    impl fmt::Display for Rootless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("rootless")
        }
    }

    impl Error for Rootless {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            panic!("no root")
        }
    }

    #[test]
    fn an_error_that_panics_when_it_is_asked_says_what_it_can() {
        assert_eq!(Failure::of(Rootless).class(), "error");
        assert_eq!(Failure::of(Rootless).causes(), ["rootless"]);
    }
}
