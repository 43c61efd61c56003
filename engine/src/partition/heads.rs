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
    /// all of them.
    pub(super) fn get(
        &mut self,
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
        self.set(name, events, 0);
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
