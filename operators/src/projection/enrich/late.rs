//! The place, in the order of all partitions, of an event that is freed late: found in the log, since others have come further.

use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::{LogError, StreamReader};
use millstream_engine::time::Timestamp;

use super::sight::Moment;

/// Sets how far the other partitions were when the event's frame came.
pub(super) fn place(log: &dyn StreamReader, moment: &mut Moment) -> Result<(), LogError> {
    let own = moment.partition;
    let end = moment.ends.get(usize::from(own.0)).copied();
    let offset = Offset(end.unwrap_or_default().0.saturating_sub(1));
    let Some(frame) = log.frame_at(own, offset)? else {
        return Ok(());
    };
    let recorded = frame.header().recorded_first;
    for (partition, end) in (0..).map(PartitionId).zip(&mut moment.ends) {
        if partition != own {
            *end = before(log, partition, (recorded, own))?;
        }
    }
    Ok(())
}

/// Offset behind the last frame of a partition that comes before a place, found by halves.
fn before(
    log: &dyn StreamReader,
    partition: PartitionId,
    place: (Timestamp, PartitionId),
) -> Result<Offset, LogError> {
    let (mut within, mut beyond) = (Offset(0), log.head(partition)?.next);
    while within < beyond {
        let middle = Offset(within.0 + (beyond.0 - within.0) / 2);
        let Some(frame) = log.frame_at(partition, middle)? else {
            break;
        };
        let header = frame.header();
        if (header.recorded_first, partition) < place {
            within = header.end();
        } else {
            beyond = header.first;
        }
    }
    Ok(within)
}
