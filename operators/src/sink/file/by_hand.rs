//! Sinks that a test drives by hand.

use std::sync::Arc;

use millstream_engine::flow::Fence;

use super::FileSink;
use super::open::Open;
use crate::sink::file_naming::Naming;
use crate::sink::file_saved::Saved;
use crate::sink::file_state::Place;
use crate::sink::file_writer::{Command, Shared};

impl<T, F> FileSink<T, F> {
    /// A sink whose thread is the test.
    pub(in crate::sink) fn with_writer(
        mut self,
        commands: crossbeam_channel::Sender<Command>,
        shared: Arc<Shared>,
    ) -> Self {
        self.open = Some(Open::new(commands, shared, 0, None, Arc::default()));
        self
    }

    /// A sink whose checkpoint has nothing, before its first turn.
    pub(in crate::sink) fn with_place(mut self, naming: Naming, fence: Arc<Fence>) -> Self {
        self.place = Some(Place::new(naming, 1));
        self.fence = fence;
        self
    }

    /// A sink that begins from this.
    pub(in crate::sink) fn with_saved(mut self, saved: Saved) -> Self {
        self.restored.push(saved);
        self
    }
}
