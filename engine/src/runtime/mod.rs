//! A tokio runtime whose threads are not used up by code that hangs.
//!
//! A step that does not come back keeps the thread that it is on, and of two threads one is half of what there is. So this
//! runtime has more threads than it uses: [spare ones](RuntimeConfig::spares) are held until a step has not come back for
//! [`HUNG_AFTER`], and take its place until it has. An engine runs on any tokio runtime; on another one it has the threads that are
//! left.
//! Bounds: one spare for each step that hangs, as long as there are some. What is watched are the steps of stages and the calls of
//! effects; a task of the program's own is not. A step that only takes long counts as well, and has one thread more beside it meanwhile.
//! Cost: two stores in memory per step; a thread that looks every [`LOOK_EVERY`]; ten wake-ups a second per spare that was needed once.

mod keeper;
mod steps;
#[cfg(test)]
mod tests;
mod working;

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};

use self::keeper::Keepers;
pub use self::steps::in_step;
use self::working::Working;
pub use self::working::{Threads, working_threads};

/// A step that takes longer has its thread replaced, at the next look.
pub const HUNG_AFTER: Duration = Duration::from_millis(100);
/// Time between two looks at the steps.
pub const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How many threads a [`Runtime`] has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// Threads that work, at least one. Default: one per core that the process may use. More: the system shares the cores out among
    /// them. Fewer: cores are left to others.
    pub threads: NonZeroUsize,
    /// Threads that are held until one of those hangs; none, and it is a runtime as any. Default: as many as work. More: as many more
    /// steps may hang at a time before others have fewer threads. Fewer: less memory for stacks.
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

/// Has each thread of the runtime say what it is at.
#[cfg(not(loom))]
fn watch_threads(builder: &mut Builder, steps: &Arc<steps::Steps>) {
    let (begun, ended) = (Arc::clone(steps), Arc::clone(steps));
    builder
        .on_thread_start(move || steps::join(&begun))
        .on_thread_stop(move || steps::leave(&ended));
}

/// A build of tokio for loom cannot be told what a thread does first: nothing hangs there.
#[cfg(loom)]
fn watch_threads(_builder: &mut Builder, _steps: &Arc<steps::Steps>) {}

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
    _working: Working,
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
        let mut builder = Builder::new_multi_thread();
        builder
            .worker_threads(config.threads.get() + config.spares)
            .thread_name("millstream-worker")
            .enable_all();
        watch_threads(&mut builder, &steps);
        let inner = builder.build()?;
        let keepers = Keepers::begin(&inner, steps, config.spares)?;
        let threads = Threads {
            working: config.threads,
            spares: config.spares,
            hung: keepers.told(),
        };
        let working = Working::note(inner.handle(), threads);
        Ok(Self {
            keepers,
            _working: working,
            inner,
        })
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
        let Self { keepers, inner, .. } = self;
        drop(keepers);
        inner.shutdown_background();
    }
}
