//! A log to which a test appends what it likes, a frame at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use millstream_engine::event::{Metadata, Offset, PartitionId, Position, StreamId, Token};
use millstream_engine::index::IndexEntry;
use millstream_engine::log::frame::{Draft, Encoding, Frame, FrameBuilder, Kind};
use millstream_engine::log::{
    Direction, EmbeddedLog, EmbeddedReader, EmbeddedStore, Feed, GroupWriter, Head, LogError,
    LogReader, StreamReader, Submission,
};
use millstream_engine::time::{Clock, ManualClock, Timestamp};
use serde::Serialize;

/// An event to append.
pub(crate) struct NewEvent {
    stream: StreamId,
    event_type: &'static str,
    payload: Vec<u8>,
}

impl NewEvent {
    /// Of the stream with this id in a category.
    pub(crate) fn of(
        (category, id): (&str, &str),
        event_type: &'static str,
        payload: &impl Serialize,
    ) -> Self {
        let stream = StreamId::new(category, id).unwrap();
        Self::in_stream(stream, event_type, payload)
    }

    pub(crate) fn in_stream(
        stream: StreamId,
        event_type: &'static str,
        payload: &impl Serialize,
    ) -> Self {
        Self {
            stream,
            event_type,
            payload: serde_json::to_vec(payload).unwrap(),
        }
    }
}

pub(crate) struct Log {
    writer: GroupWriter<EmbeddedStore>,
    pub(crate) reader: EmbeddedReader,
    /// What projections read single events from.
    pub(crate) streams: Arc<dyn StreamReader>,
    pub(crate) feed: Arc<Feed>,
    /// By partition.
    heads: Vec<Head>,
    /// Events so far, by stream.
    versions: BTreeMap<String, u64>,
    pub(crate) clock: Arc<ManualClock>,
}

impl Log {
    /// An empty one, by a clock that begins at a time.
    pub(crate) fn new(log: EmbeddedLog, begin: Timestamp) -> Self {
        let EmbeddedLog { store, reader } = log;
        let feed = Arc::new(Feed::new(&reader).unwrap());
        let clock = Arc::new(ManualClock::new(begin));
        Self {
            writer: GroupWriter::new(store, Arc::clone(&feed), Arc::clone(&clock) as _),
            heads: vec![Head::default(); usize::from(feed.partitions())],
            streams: Arc::new(reader.clone()),
            reader,
            feed,
            versions: BTreeMap::new(),
            clock,
        }
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock) as _
    }

    pub(crate) fn partitions(&self) -> impl Iterator<Item = PartitionId> + use<> {
        (0..self.feed.partitions()).map(PartitionId)
    }

    /// Whether this is the end of each partition.
    pub(crate) fn ends_at(&self, of: impl Fn(PartitionId) -> Offset) -> bool {
        self.partitions()
            .all(|partition| of(partition) == self.end(partition))
    }

    /// Offset after the last event of a partition.
    pub(crate) fn end(&self, partition: PartitionId) -> Offset {
        self.reader.head(partition).unwrap().next
    }

    /// All that is in the log.
    pub(crate) fn durable(&self) -> Token {
        let ends = self.partitions().map(|at| (at, self.end(at)));
        token_before(ends)
    }

    /// How many events a stream has.
    pub(crate) fn version(&self, stream: &str) -> u64 {
        self.versions.get(stream).copied().unwrap_or(0)
    }

    /// Appends events now, a frame per partition; gives partition and offset of each.
    pub(crate) fn add(&mut self, events: &[NewEvent]) -> Vec<(u16, u64)> {
        let mut places = vec![(0, 0); events.len()];
        for partition in self.partitions() {
            let own = |at: &usize| self.is_in(&events[*at], partition);
            let own: Vec<_> = (0..events.len()).filter(own).collect();
            let first = self.append(
                partition,
                self.clock.now(),
                own.iter().map(|at| &events[*at]),
            );
            for (at, offset) in own.into_iter().zip(first.0..) {
                places[at] = (partition.0, offset);
            }
        }
        places
    }

    pub(crate) fn is_in(&self, event: &NewEvent, partition: PartitionId) -> bool {
        event.stream.partition(self.feed.partitions()) == partition
    }

    /// Appends events of a partition as one frame, recorded at a time; gives the offset of the first of them. None is no frame.
    pub(crate) fn append<'e>(
        &mut self,
        partition: PartitionId,
        at: Timestamp,
        events: impl IntoIterator<Item = &'e NewEvent>,
    ) -> Offset {
        let mut builder = FrameBuilder::new();
        for event in events {
            let kind = builder.kind(&Kind {
                category: event.stream.category().into(),
                event_type: event.event_type.into(),
                schema_version: 1,
                encoding: Encoding::Json,
            });
            let name = event.stream.as_str().to_owned();
            let version = self.versions.entry(name).or_default();
            let draft = Draft {
                kind,
                stream: event.stream.id(),
                hash: event.stream.hash(),
                version: *version,
                event_time: None,
                id: None,
                metadata: Metadata::default(),
                payload: &event.payload,
            };
            builder.push(at, &draft).unwrap();
            *version += 1;
        }
        let head = &mut self.heads[usize::from(partition.0)];
        let first = head.next;
        if !builder.is_empty() {
            let ids = uuid::Uuid::from_u128(u128::from(first.0) << 64);
            let sealed = builder.seal(partition, first, ids, head.hash, &[]).unwrap();
            head.next = Offset(first.0 + u64::from(sealed.count));
            head.hash = sealed.hash;
            let frame = Some(sealed);
            let done = Box::new(|_: &_| {});
            self.writer.step(vec![Submission { frame, done }]).unwrap();
        }
        first
    }
}

/// Partition and offset of events.
pub(crate) type Asked = Arc<Mutex<Vec<(u16, u64)>>>;

/// A reader that notes which single events it was asked for.
pub(crate) struct Noting {
    pub(crate) reader: EmbeddedReader,
    pub(crate) asked: Asked,
}

impl LogReader for Noting {
    fn partitions(&self) -> u16 {
        LogReader::partitions(&self.reader)
    }

    fn head(&self, partition: PartitionId) -> Result<Head, LogError> {
        self.reader.head(partition)
    }

    fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Frame>, LogError> {
        self.reader.read(partition, from, bytes_max)
    }

    fn frame_at(
        &self,
        partition: PartitionId,
        offset: Offset,
    ) -> Result<Option<Arc<Frame>>, LogError> {
        self.asked.lock().unwrap().push((partition.0, offset.0));
        self.reader.frame_at(partition, offset)
    }
}

impl StreamReader for Noting {
    fn locate(
        &self,
        partition: PartitionId,
        hash: u64,
        from_version: u64,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<IndexEntry>, LogError> {
        self.reader
            .locate(partition, hash, from_version, limit, direction)
    }
}

/// What somebody has seen who has seen partitions up to these ends.
pub(crate) fn token_before(ends: impl IntoIterator<Item = (PartitionId, Offset)>) -> Token {
    let mut token = Token::default();
    for (partition, end) in ends {
        if let Some(offset) = end.0.checked_sub(1).map(Offset) {
            token.observe(Position { partition, offset });
        }
    }
    token
}
