//! From which checkpoint a dataflow begins.
//!
//! As a rule from the newest one; one that is damaged, or was made of another history of the sources, is passed over.
//! What lies outside of the checkpoints must fit as well: rows in tables are those of the newest one, so an older one will
//! do only if it has all rows, as savepoints have. One that a person chose is not passed over: it is used or refused.
//! Before tables are emptied that is stored: a start that fails then leaves no checkpoint behind that seems to fit to them.

use millstream_engine::checkpoint::{
    CheckpointError, CheckpointStorage, Choice, Epoch, Manifest, Standing,
};
use millstream_engine::fail_point;
use millstream_operators::sink::{TABLE_STATE, has_all_rows};

use super::deploy::StartDataflowError;

/// A stage whose table has rows that the checkpoint does not have, if there is one.
///
/// # Errors
/// [`CheckpointError::Damaged`], [`CheckpointError::Storage`].
pub(crate) fn without_rows(
    manifest: &Manifest,
    storage: &dyn CheckpointStorage,
) -> Result<Option<String>, CheckpointError> {
    let tables = manifest.first_bytes(TABLE_STATE, storage)?;
    let mut tables = tables.into_iter();
    Ok(tables
        .find(|(_, first)| !has_all_rows(*first))
        .map(|(stage, _)| stage))
}

/// Whether there is a table, of another checkpoint, that a start from this one empties. Rows of those that it has are left
/// alone until the stages run, and by then the others are deleted.
fn lacks_a_table(manifest: &Manifest, standing: &Standing) -> bool {
    let mut others = standing.readable().flat_map(|other| &other.stages);
    others.any(|stage| {
        let mut slots = stage.partitions.iter().flatten();
        slots.any(|slot| slot.kind == TABLE_STATE) && manifest.stage(&stage.name).is_none()
    })
}

/// Tries one after the other until `begin` begins with one; begins anew if none will do, or that was chosen.
pub(super) fn begin<T>(
    dataflow: &str,
    storage: &dyn CheckpointStorage,
    mut begin: impl FnMut(Option<Manifest>) -> Result<T, StartDataflowError>,
) -> Result<T, StartDataflowError> {
    let refused = |cause| StartDataflowError::Checkpoint {
        dataflow: dataflow.to_owned(),
        cause,
    };
    let standing = Standing::read(storage).map_err(refused)?;
    if let Some(failure) = standing.choice_failure() {
        return Err(refused(failure.clone()));
    }
    let chosen = standing.choice().and_then(|choice| choice.from);
    let mut tried = 0;
    for (epoch, found) in standing.candidates() {
        tried += 1;
        let usable = found.clone().and_then(|manifest| {
            if !standing.is_newest(*epoch)
                && let Some(stage) = without_rows(&manifest, storage)?
            {
                let epoch = *epoch;
                return Err(CheckpointError::TablesNewer { epoch, stage });
            }
            let leaves = standing.keeps_rows_of_another() || lacks_a_table(&manifest, &standing);
            if !standing.is_newest(*epoch) && leaves {
                Choice::leave_newest(storage, Some(*epoch))?;
            }
            fail_point!(RESTORE_MANIFEST_READ, |cause| CheckpointError::Storage(
                cause.to_string()
            ));
            Ok(manifest)
        });
        match usable.map_err(refused).and_then(|found| begin(Some(found))) {
            Ok(begun) => {
                tracing::info!(dataflow, %epoch, "restored from a checkpoint");
                return Ok(begun);
            }
            Err(error) if chosen.is_none() && is_of_no_use(&error) => {
                tracing::warn!(dataflow, %epoch, %error, "a checkpoint is passed over");
            }
            Err(error) => return Err(error),
        }
    }
    match chosen {
        Some(epoch) if tried == 0 => Err(refused(CheckpointError::Unknown { epoch })),
        _ => {
            Choice::leave_newest(storage, None).map_err(refused)?;
            begin(None)
        }
    }
}

/// Whether an earlier checkpoint, or none, may do where this one failed.
const fn is_of_no_use(error: &StartDataflowError) -> bool {
    match error {
        StartDataflowError::OtherHistory { .. } => true,
        StartDataflowError::Checkpoint { cause, .. } => matches!(
            cause,
            CheckpointError::Damaged { .. }
                | CheckpointError::Decode { .. }
                | CheckpointError::TablesNewer { .. }
        ),
        _ => false,
    }
}

/// What the next start would begin from, as far as can be told without its stages.
pub(crate) fn next(standing: &Standing) -> Option<Epoch> {
    standing.candidates().next().map(|(epoch, _)| *epoch)
}
