//! The one place where threads start, so that each has a name in a debugger and a profile.
//!
//! A thread is for what blocks: a writer that waits for the disk. Everything else runs as a stage.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Starts a thread named `millstream-<name>`.
///
/// # Errors
/// The operating system has no thread left.
pub fn try_spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(format!("millstream-{name}")).spawn(run)
}

/// Starts a thread named `millstream-<name>`.
///
/// # Panics
/// When the operating system has no thread left: nothing could run then.
pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    try_spawn(name, run).expect("the operating system gives a thread at start")
}
