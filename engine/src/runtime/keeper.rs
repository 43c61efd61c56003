//! Tasks that hold the spare threads of a runtime: each blocks whichever thread runs it, until one is needed.
//!
//! The first looks at the steps, the others are told. A keeper that blocks lets go now and then, so that nothing which its thread
//! had in its queue stays there; keepers of spares that are needed wait as any task does.

use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::time::sleep;

use super::steps::Steps;
use super::{HUNG_AFTER, LOOK_EVERY};

/// For how long a keeper holds its thread at a time, if it is not the one that looks.
const HELD: Duration = Duration::from_secs(1);

/// What the keepers know.
#[derive(Debug, Default)]
struct Needed {
    /// Threads whose step hangs: as many spares are needed.
    hung: usize,
    /// The runtime ends.
    is_over: bool,
}

#[derive(Debug)]
struct Shared {
    steps: Arc<Steps>,
    needed: Mutex<Needed>,
    changed: Condvar,
}

/// The keepers of a runtime; dropped, they let go of all threads.
#[derive(Debug)]
pub(super) struct Keepers(Arc<Shared>);

impl Keepers {
    /// Holds so many threads of a runtime.
    pub(super) fn begin(runtime: &Runtime, steps: Arc<Steps>, spares: usize) -> Self {
        let shared = Arc::new(Shared {
            steps,
            needed: Mutex::default(),
            changed: Condvar::new(),
        });
        for spare in 0..spares {
            runtime.spawn(keep(Arc::clone(&shared), spare));
        }
        Self(shared)
    }

    /// Waits until so many spares are needed; `false` if `patience` was over before.
    #[cfg(test)]
    pub(super) fn are_needed(&self, spares: usize, patience: Duration) -> bool {
        let needed = self.0.needed.lock().unwrap();
        let other = |needed: &mut Needed| needed.hung != spares;
        let waited = self.0.changed.wait_timeout_while(needed, patience, other);
        !waited.unwrap().1.timed_out()
    }
}

impl Drop for Keepers {
    fn drop(&mut self) {
        let needed = self.0.needed.lock();
        needed.unwrap_or_else(PoisonError::into_inner).is_over = true;
        self.0.changed.notify_all();
    }
}

async fn keep(shared: Arc<Shared>, spare: usize) {
    loop {
        match shared.look(spare) {
            None => return,
            Some(hung) if hung > spare => sleep(LOOK_EVERY).await,
            Some(hung) => {
                // The one whose turn would be next looks, or nobody would.
                let span = if hung == spare { LOOK_EVERY } else { HELD };
                shared.hold(spare, span);
                let_others().await;
            }
        }
    }
}

/// Goes behind what else the thread has in its queue. Not as tokio's `yield_now` does, which keeps a task to its thread until
/// that has nothing else to do: what it does next may hang.
async fn let_others() {
    let mut is_behind = false;
    poll_fn(|context| {
        if is_behind {
            return Poll::Ready(());
        }
        is_behind = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Shared {
    /// How many threads hang, told to the others if `spare` is one that looks; `None` at the end.
    fn look(&self, spare: usize) -> Option<usize> {
        let mut needed = self.needed.lock().unwrap_or_else(PoisonError::into_inner);
        if needed.is_over {
            return None;
        }
        if spare <= needed.hung {
            let hung = self.steps.hung(Instant::now(), HUNG_AFTER);
            if needed.hung != hung {
                tracing::debug!(hung, "threads whose step does not come back");
                needed.hung = hung;
                self.changed.notify_all();
            }
        }
        Some(needed.hung)
    }

    /// Blocks until the spare is needed, or it is time to look.
    fn hold(&self, spare: usize, span: Duration) {
        let needed = self.needed.lock().unwrap_or_else(PoisonError::into_inner);
        let held = |needed: &mut Needed| !needed.is_over && needed.hung <= spare;
        let waited = self.changed.wait_timeout_while(needed, span, held);
        drop(waited);
    }
}
