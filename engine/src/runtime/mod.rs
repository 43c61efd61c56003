//! A tokio runtime whose threads are not used up by code that hangs.
//!
//! A step that does not come back keeps the thread that it is on, and of two threads one is half of what there is. So this
//! runtime has more threads than it uses: [spare ones](RuntimeConfig::spares) are held until a step has not come back for
//! [`HUNG_AFTER`], and take its place until it has. An engine runs on any tokio runtime; on another one it has the threads that are
//! left.
//! Bounds: one spare for each step that hangs, as long as there are some. Code that is not a stage's step, such as a task of the
//! program's own, is not watched. Cost: two stores in memory per step, and a look every [`LOOK_EVERY`].

mod keeper;
mod steps;
#[cfg(test)]
mod tests;

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};

use self::keeper::Keepers;
pub(crate) use self::steps::in_step;

/// A step that takes longer has its thread replaced.
pub const HUNG_AFTER: Duration = Duration::from_millis(100);
/// Time between two looks at the steps.
pub const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How many threads a [`Runtime`] has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// Threads that work. Default: one per core that the process may use.
    pub threads: NonZeroUsize,
    /// Threads that are held until one of those hangs. Default: as many as work. Each takes its stack and, while none hangs, nothing
    /// else.
    pub spares: usize,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        let threads = available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self {
            threads,
            spares: threads.get(),
        }
    }
}

/// Threads for an engine and the program around it, instead of those of `#[tokio::main]`.
///
/// ```
/// use millstream_engine::runtime::Runtime;
///
/// let answer = Runtime::new()?.block_on(async { 6 * 7 });
/// assert_eq!(answer, 42);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Dropped as a runtime of tokio is: tasks end where they wait, and a step under way is waited for. What hangs is waited for as
/// well; [`shutdown_background`](Self::shutdown_background) waits for nobody.
#[derive(Debug)]
pub struct Runtime {
    // Before the runtime, whose end waits for all threads.
    keepers: Keepers,
    inner: tokio::runtime::Runtime,
}

impl Runtime {
    /// A runtime with the default number of threads.
    ///
    /// # Errors
    /// The operating system gives no thread, or not what its timers and signals need.
    pub fn new() -> io::Result<Self> {
        Self::with(RuntimeConfig::default())
    }

    /// A runtime with so many threads.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with(config: RuntimeConfig) -> io::Result<Self> {
        let steps = Arc::default();
        let (begun, ended) = (Arc::clone(&steps), Arc::clone(&steps));
        let inner = Builder::new_multi_thread()
            .worker_threads(config.threads.get() + config.spares)
            .thread_name("millstream-worker")
            .enable_all()
            .on_thread_start(move || steps::join(&begun))
            .on_thread_stop(move || steps::leave(&ended))
            .build()?;
        let keepers = Keepers::begin(&inner, steps, config.spares);
        Ok(Self { keepers, inner })
    }

    /// Runs a future to its end on this thread, and what it spawns on the runtime's.
    ///
    /// # Panics
    /// Inside of another runtime, as tokio's does.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.inner.block_on(future)
    }

    /// The runtime, for what spawns tasks on it.
    pub fn handle(&self) -> &Handle {
        self.inner.handle()
    }

    /// Ends without waiting for steps under way.
    pub fn shutdown_background(self) {
        let Self { keepers, inner } = self;
        drop(keepers);
        inner.shutdown_background();
    }
}
