//! What is under way for others than those who hold the engine, such as requests of the command line and changes of versions that
//! nobody waits for any more.
//!
//! Each holds the engine, and with it the data folder: whoever has shut an engine down may open its folder again at once, so a
//! shutdown tells them that the engine has ended and waits for them.

use std::time::Duration;

use tokio::sync::watch;

/// What those are told who still wait for something of an engine that has ended.
pub(super) const SHUT_DOWN: &str = "the engine was shut down";

/// All of them.
#[derive(Debug, Default)]
pub(super) struct UnderWay(watch::Sender<bool>);

/// One that is under way, until this is dropped: after what it holds of the engine.
#[derive(Debug)]
pub(super) struct OneUnderWay(watch::Receiver<bool>);

impl UnderWay {
    pub(super) fn one(&self) -> OneUnderWay {
        OneUnderWay(self.0.subscribe())
    }

    /// Tells all of them that the engine has ended, and waits for them until the deadline. Gives whether none is left.
    pub(super) async fn end(&self, deadline: Duration) -> bool {
        self.0.send_replace(true);
        let closed = tokio::time::timeout(deadline, self.0.closed());
        closed.await.is_ok()
    }
}

impl OneUnderWay {
    /// Whether the engine has ended.
    pub(super) fn is_over(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves when the engine has ended.
    pub(super) async fn over(&mut self) {
        // An engine that is gone has ended.
        let _ = self.0.wait_for(|is_over| *is_over).await;
    }
}
