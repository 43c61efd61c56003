//! Threads apart from the engine's, for a dataflow that asks for some, and for runs that follow one that hung.
//!
//! A step that hangs keeps a thread of the runtime that it is on. So the next run has a runtime of its own, and what hangs again
//! takes no thread of others. Bounds: the last one, and those in which a step still hangs, which
//! [`run`](super::run) counts. Failure: without threads for another one the run is where the one before was.

use std::num::NonZeroUsize;

use tokio::runtime::{Handle, Runtime};

/// Worker threads of each that follows a run which hung, of a dataflow without a number of its own.
const WORKERS: usize = 2;

struct Threads {
    /// The run that hung; runs behind it are here, up to the one that hung next. Runs have numbers from 1.
    behind: u64,
    runtime: Runtime,
}

/// The runtimes of one dataflow.
pub(super) struct Apart {
    all: Vec<Threads>,
    /// Worker threads of each.
    workers: usize,
}

impl Default for Apart {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            workers: WORKERS,
        }
    }
}

impl Apart {
    /// For a dataflow with so many threads of its own from the beginning, if any.
    pub(super) fn beginning(name: &str, own: Option<NonZeroUsize>) -> Self {
        let Some(workers) = own.map(NonZeroUsize::get) else {
            return Self::default();
        };
        let all = match runtime(workers) {
            Ok(runtime) => vec![Threads { behind: 0, runtime }],
            Err(cause) => {
                tracing::warn!(dataflow = name, %cause, "a dataflow has no threads of its own");
                Vec::new()
            }
        };
        Self { all, workers }
    }

    /// Where the next run is; `None`: where the first was. `fenced`: the last run, if it was given up; `hung`: runs that have
    /// steps which hang now.
    pub(super) fn next(
        &mut self,
        name: &str,
        fenced: Option<u64>,
        hung: impl Fn() -> Vec<u64>,
    ) -> Option<Handle> {
        // Not once more for the same one: what was to follow it may have failed to begin.
        if let Some(behind) = fenced
            && self.all.last().is_none_or(|last| last.behind != behind)
        {
            match runtime(self.workers) {
                Ok(runtime) => self.all.push(Threads { behind, runtime }),
                Err(cause) => {
                    tracing::warn!(
                        dataflow = name,
                        %cause,
                        "a dataflow that hung begins again where it was"
                    );
                }
            }
        }
        self.let_go(&hung());
        self.all.last().map(|last| last.runtime.handle().clone())
    }

    /// Ends those before the last that no step hangs in.
    fn let_go(&mut self, hung: &[u64]) {
        let mut at = 0;
        while let Some(next) = self.all.get(at + 1) {
            let runs = self.all[at].behind + 1..=next.behind;
            if hung.iter().any(|run| runs.contains(run)) {
                at += 1;
            } else {
                self.all.remove(at).runtime.shutdown_background();
            }
        }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // Waits for nobody: a thread of theirs may hang.
        for threads in self.all.drain(..) {
            threads.runtime.shutdown_background();
        }
    }
}

fn runtime(workers: usize) -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("millstream-apart")
        .enable_all()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(apart: &mut Apart, fenced: Option<u64>, hung: &[u64]) -> usize {
        let handle = apart.next("flow", fenced, || hung.to_vec());
        assert_eq!(handle.is_none(), apart.all.is_empty());
        apart.all.len()
    }

    #[test]
    fn only_the_last_and_those_with_a_step_that_hangs_are_kept() {
        let mut apart = Apart::default();
        assert_eq!(next(&mut apart, None, &[]), 0);
        assert_eq!(next(&mut apart, Some(1), &[1]), 1);
        // It did not begin, again and again.
        assert_eq!(next(&mut apart, Some(1), &[1]), 1);
        // The second run failed, the third hangs.
        assert_eq!(next(&mut apart, None, &[1]), 1);
        assert_eq!(next(&mut apart, Some(3), &[1, 3]), 2);
        assert_eq!(next(&mut apart, Some(4), &[3, 4]), 3);
        // The third has come back; the fourth and the fifth have not.
        assert_eq!(next(&mut apart, Some(5), &[4, 5]), 3);
        assert_eq!(next(&mut apart, None, &[5]), 2);
        assert_eq!(next(&mut apart, None, &[]), 1);
    }
}
