//! Whether a position that was saved is this source's.
//!
//! A stage without a name is found by what it begins with, and one that was declared before it takes that over. So what a
//! source reads is saved with its position, and a position of a source that read nothing of it is refused. What is read may grow
//! or shrink, as where another aggregate has events of the type.

use crate::checkpoint::{CheckpointError, Restoring};

/// Compares what was `stored` with what is read `now`; where one of them is not known, the position is taken.
///
/// # Errors
/// [`CheckpointError::OtherSource`]: they have nothing in common.
pub(super) fn check(
    stored: &[String],
    now: &[String],
    restoring: &Restoring,
) -> Result<(), CheckpointError> {
    let is_known = !stored.is_empty() && !now.is_empty();
    if !is_known || stored.iter().any(|one| now.contains(one)) {
        return Ok(());
    }
    Err(restoring.fail(CheckpointError::OtherSource {
        stored: stored.join(", "),
        now: now.join(", "),
    }))
}
