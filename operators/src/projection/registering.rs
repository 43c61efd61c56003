//! Finding a projection's rows again, or making a place for them.

use millstream_engine::event::PartitionId;
use millstream_engine::log::LogReader;
use millstream_engine::state::{
    ProgressStanding, RegisteredProjection, StateStore, StateWriterHandle,
};

use super::{OpenProjectionError, Projection, Rows, TableSet};

/// Registers `projection`, with the rows that it has; begun anew when what is stored does not fit the log. Blocks on the
/// state's writer.
///
/// # Errors
/// [`OpenProjectionError`].
pub fn register<P: Projection>(
    projection: &P,
    store: &StateStore,
    writer: &StateWriterHandle,
    log: &dyn LogReader,
) -> Result<RegisteredProjection, OpenProjectionError> {
    let names = projection.tables().stored_names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let registered = writer.register_projection(P::NAME, P::VERSION, &names)?;
    let mut begun = 0;
    for partition in (0..log.partitions()).map(PartitionId) {
        let progress = store.progress(registered.id, partition)?;
        begun += u16::from(progress.is_some());
        let standing = progress.unwrap_or_default().check(log, partition)?;
        if standing != ProgressStanding::Valid {
            tracing::warn!(
                projection = P::NAME, %partition, ?standing,
                "stored rows do not belong to this log: they are made anew"
            );
            return Ok(writer.reset_projection(P::NAME, P::VERSION)?);
        }
    }
    // One actor stores all of its positions together: some of them alone are damage.
    if P::ROWS != Rows::ByPartition && begun != 0 && begun != log.partitions() {
        return Ok(writer.reset_projection(P::NAME, P::VERSION)?);
    }
    Ok(registered)
}
