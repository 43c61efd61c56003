//! What projections are stepped on: a log that is written by hand, a state in files or in memory, and the actors over both.

mod ground;
mod log;
mod moods;
mod running;

use millstream_engine::state::{StateStore, StateWriterHandle};

pub(crate) use ground::{Ground, in_memory, in_memory_on};
pub(crate) use log::{Asked, Log, NewEvent, Noting, token_before};
pub(crate) use moods::{CannotBear, Moods, config};
pub(crate) use running::{Declared, Opening, Running};

/// Where rows are stored, while it is open.
pub(crate) struct State {
    pub(crate) store: StateStore,
    pub(crate) writer: StateWriterHandle,
}
