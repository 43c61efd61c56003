//! The way to the thread that writes a sink's files.
//!
//! Commands have their order: one that the full queue refuses waits here, and all later ones behind it. How many were sent, and
//! how many of them are done, says what the stage waits for.
//! Invariant: nothing is sent once the run is given up. Bound: what is refused is that of one turn, since a sink that has any
//! is blocked.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::{Sender, TrySendError};
use millstream_engine::flow::Fence;

use crate::sink::file_writer::{Command, Shared, Thread};

/// The queue to the thread, and what was done of it.
pub(super) struct Open {
    fence: Arc<Fence>,
    commands: Sender<Command>,
    pub(super) shared: Arc<Shared>,
    /// Refused by the full queue, in order.
    pub(super) refused: VecDeque<Command>,
    pub(super) sent: u64,
    /// What was done when the last flush looked for a failure: what ends later may have failed unseen.
    pub(super) done: u64,
    pub(super) is_gone: bool,
    /// Of the present file.
    pub(super) number: u64,
    /// Joins the thread if another run may follow at once; behind `commands`, whose end it waits for.
    _thread: Option<Thread>,
}

impl Open {
    pub(super) fn new(
        commands: Sender<Command>,
        shared: Arc<Shared>,
        number: u64,
        thread: Option<Thread>,
        fence: Arc<Fence>,
    ) -> Self {
        Self {
            fence,
            commands,
            shared,
            refused: VecDeque::new(),
            sent: 0,
            done: 0,
            is_gone: false,
            number,
            _thread: thread,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.refused.is_empty() && self.done >= self.sent
    }

    pub(super) fn send(&mut self, command: Command) {
        self.refused.push_back(command);
        self.pump();
    }

    pub(super) fn pump(&mut self) {
        let _pass = self.fence.pass();
        while let Some(command) = self.refused.pop_front() {
            match self.commands.try_send(command) {
                Ok(()) => self.sent += 1,
                Err(TrySendError::Full(command)) => {
                    self.refused.push_front(command);
                    return;
                }
                Err(TrySendError::Disconnected(_)) => self.is_gone = true,
            }
        }
    }
}
