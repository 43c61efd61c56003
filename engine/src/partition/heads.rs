//! How many events a stream has, for streams that are appended to without an aggregate.

use compact_str::CompactString;
use hashbrown::HashMap;

use crate::log::{Direction, LogError, StreamReader, StreamRef, for_each_event};

/// Streams remembered before those that are durable are forgotten: the index knows them.
const REMEMBERED_MAX: usize = 65_536;

#[derive(Clone, Copy, Debug)]
struct StreamHead {
    events: u64,
    /// Submission that carries the last of them.
    frame: u64,
}

/// Lengths of streams, ahead of the log by what is in flight.
#[derive(Debug, Default)]
pub(super) struct StreamHeads {
    heads: HashMap<CompactString, StreamHead, foldhash::fast::RandomState>,
}

impl StreamHeads {
    /// Number of events in the stream, and the submission that must be durable before a reader finds
    /// all of them. What the log says is not kept: of appends that are refused nothing is ever settled, which would let it go.
    pub(super) fn get(
        &self,
        name: &str,
        stream: StreamRef<'_>,
        streams: &dyn StreamReader,
    ) -> Result<(u64, u64), LogError> {
        if let Some(head) = self.heads.get(name) {
            return Ok((head.events, head.frame));
        }
        let mut events = 0;
        for_each_event::<_, LogError>(
            streams,
            stream,
            u64::MAX,
            1,
            Direction::Backwards,
            |_, record| {
                events = record.version + 1;
                Ok(())
            },
        )?;
        Ok((events, 0))
    }

    pub(super) fn set(&mut self, name: &str, events: u64, frame: u64) {
        self.heads
            .insert(CompactString::from(name), StreamHead { events, frame });
    }

    /// Forgets what the log knows as well, when there is too much of it.
    pub(super) fn settled(&mut self, frame: u64) {
        if self.heads.len() > REMEMBERED_MAX {
            self.heads.retain(|_, head| head.frame > frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::PartitionId;
    use crate::log::fixtures::EmptyLog;

    fn get(heads: &StreamHeads, name: &str) -> (u64, u64) {
        let stream = StreamRef {
            partition: PartitionId(0),
            category: "any",
            id: name,
            hash: 1,
        };
        heads.get(name, stream, &EmptyLog).expect("nothing fails")
    }

    /// Story: appends to streams that had to exist and did not left a length each, and with nothing to settle they stayed.
    #[test]
    fn what_is_only_asked_for_takes_no_memory() {
        let mut heads = StreamHeads::default();
        heads.set("written", 3, 1);
        for n in 0..200_000 {
            assert_eq!(get(&heads, &n.to_string()), (0, 0));
        }
        assert_eq!(heads.heads.len(), 1);
        assert_eq!(get(&heads, "written"), (3, 1));
    }

    #[test]
    fn what_is_durable_is_forgotten_when_there_is_too_much_of_it() {
        let mut heads = StreamHeads::default();
        for n in 0..=REMEMBERED_MAX as u64 {
            heads.set(&n.to_string(), 1, 1 + n % 2);
        }
        heads.settled(1);
        assert_eq!(heads.heads.len(), REMEMBERED_MAX / 2);
        assert_eq!(get(&heads, "1"), (1, 2));
    }
}
