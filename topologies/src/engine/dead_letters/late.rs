//! Letters of late items, which no stage holds: they can only be let go of.
//!
//! What ids of them mean may change: a dataflow that begins again from a checkpoint deletes those that the checkpoint does not
//! know, and gives their numbers to the late items that come then, in whatever order. So a program, which names letters by their ids,
//! is refused until a complete checkpoint knows them; a request of the command line says what it saw besides.

use std::collections::HashMap;

use millstream_engine::checkpoint::{CheckpointError, InState, Standing};
use millstream_engine::event::PartitionId;
use millstream_engine::state::DeadLetter;
use millstream_operators::sink::late_letters_of;

use super::{DecideError, Waiting};
use crate::Engine;
use crate::dataflow::table;

/// Counts of letters, by stage and partition.
type Counts = HashMap<(String, PartitionId), u64>;

/// What the checkpoints of dataflows know of letters of late items. Each is read once.
pub(super) struct KnownLate<'e> {
    engine: &'e Engine,
    known: HashMap<String, Counts>,
}

impl<'e> KnownLate<'e> {
    pub(super) fn of(engine: &'e Engine) -> Self {
        Self {
            engine,
            known: HashMap::new(),
        }
    }

    /// Whether a letter keeps its id, whatever its dataflow begins from again.
    pub(super) fn check(
        &mut self,
        waiting: &Waiting,
        letter: &DeadLetter,
    ) -> Result<(), DecideError> {
        // Not by the name of its stage: that of one dataflow may be the beginning of another's.
        let owner = waiting.dataflow_of(letter);
        let mut dataflows = self.engine.dataflows().iter();
        let flow =
            dataflows.find(|flow| owner.is_some_and(|owner| table::owner(flow.name()) == owner));
        let of_letter = flow.and_then(|flow| {
            let stage = letter.stage.strip_prefix(flow.name())?.strip_prefix('/')?;
            Some((flow, stage))
        });
        // Without checkpoints a start has ids of its own, since what is stored of a dataflow gets another one.
        let Some((flow, stage)) = of_letter.filter(|(flow, _)| flow.has_checkpoints()) else {
            return Ok(());
        };
        let dataflow = flow.name().to_owned();
        let counts = self.known.entry(dataflow).or_insert_with_key(|dataflow| {
            counts(self.engine, dataflow).unwrap_or_else(|error| {
                tracing::warn!(dataflow, %error, "a checkpoint cannot be asked for its dead letters");
                Counts::default()
            })
        });
        let place = (stage.to_owned(), letter.position.partition);
        let count = counts.get(&place).copied().unwrap_or(0);
        if letter.position.offset.0 < count {
            return Ok(());
        }
        Err(DecideError::Unsaved { id: letter.id() })
    }
}

/// Of the checkpoint that the dataflow would begin from now.
fn counts(engine: &Engine, dataflow: &str) -> Result<Counts, CheckpointError> {
    let read = InState::read(dataflow, engine.state());
    let read = read.map_err(|error| CheckpointError::Storage(error.to_string()))?;
    let Some(storage) = read else {
        return Ok(Counts::default());
    };
    let standing = Standing::read(&storage)?;
    let mut candidates = standing.candidates();
    match candidates.find_map(|(_, found)| found.as_ref().ok()) {
        Some(manifest) => late_letters_of(manifest, &storage),
        None => Ok(Counts::default()),
    }
}
