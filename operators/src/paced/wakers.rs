//! Wakers of the calls of one stage: each flags its call and wakes the stage.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use millstream_engine::mailbox::Mailbox;

struct Flag {
    raised: AtomicBool,
    mailbox: Arc<Mailbox>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // One wake-up of the stage serves all flags that it finds raised.
        if !self.raised.swap(true, Ordering::AcqRel) {
            self.mailbox.wake();
        }
    }
}

/// The waker of one place for calls. A call that has left it may still wake its successor; that costs one poll.
pub(super) struct CallWaker {
    flag: Arc<Flag>,
    waker: Waker,
}

impl CallWaker {
    pub(super) fn new(mailbox: &Arc<Mailbox>) -> Self {
        let flag = Arc::new(Flag {
            raised: AtomicBool::new(false),
            mailbox: Arc::clone(mailbox),
        });
        let waker = Waker::from(Arc::clone(&flag));
        Self { flag, waker }
    }

    pub(super) const fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Whether the call asked to be polled; lowers the flag, which must happen before the poll.
    pub(super) fn take(&self) -> bool {
        self.flag.raised.swap(false, Ordering::AcqRel)
    }

    /// Sees to a first poll.
    pub(super) fn raise(&self) {
        self.flag.raised.store(true, Ordering::Release);
    }
}
