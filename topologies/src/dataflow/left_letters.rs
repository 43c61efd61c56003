//! Letters of stages that a dataflow no longer has.
//!
//! Place: the stages are made -> **here** -> they run. Not before all of them are made: a start that is refused, as one that
//! would lose state is, leaves the letters to the program as it was, whose checkpoint counts them and brings none of them again.

use std::sync::Arc;

use millstream_engine::flow::Resources;
use millstream_engine::state::{DeadLetter, StateBatch, StateError, StateWrite};
use millstream_operators::failing::is_of_item;
use millstream_operators::sink::LetterAccess;

use super::deploy::StartDataflowError;
use super::flow::Dataflow;

/// Letters that are read at a time.
const PAGE: usize = 1_000;

impl Dataflow {
    /// Deletes letters of items, and of late ones, of stages that it does not have: nothing waits for a decision about them
    /// any more, and nobody else would let them go. Blocks on the state's writer.
    pub(super) fn drop_left_letters(
        &self,
        resources: &Resources,
    ) -> Result<(), StartDataflowError> {
        let Some(access) = resources.get::<LetterAccess>() else {
            return Ok(());
        };
        let (of_items, of_late) = {
            let draft = self.lock();
            (
                draft.letter_stages(&self.name),
                draft.late_stages(&self.name),
            )
        };
        let dropped = drop_others(&access, &of_items, &of_late);
        dropped.map_err(|cause| StartDataflowError::Tables {
            dataflow: self.name.clone(),
            cause: cause.to_string(),
        })
    }
}

/// Deletes those of stages that are none of these.
fn drop_others(
    access: &LetterAccess,
    of_items: &[Arc<str>],
    of_late: &[Arc<str>],
) -> Result<(), StateError> {
    let mut after = None;
    loop {
        let page = access.store.dead_letters(Some(access.owner), after, PAGE)?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = Some(last.id());
        let is_gone = |letter: &&DeadLetter| {
            let stages = if is_of_item(letter) {
                of_items
            } else {
                of_late
            };
            !stages.iter().any(|stage| **stage == *letter.stage)
        };
        let gone = page.iter().filter(is_gone);
        let writes: Vec<_> = gone
            .map(|letter| StateWrite::DeleteDeadLetter(letter.id()))
            .collect();
        if !writes.is_empty() {
            let submitted = access.writer.submit_blocking(StateBatch::new(writes));
            submitted.map_err(|refused| refused.reason)?;
        }
    }
}
