//! Taking snapshots: a state is encoded at once, and stored after the frame that it rests on is durable.

use millstream_engine::codec::StandaloneWriter;
use millstream_engine::event::{Offset, PartitionId, Position, StreamId};
use millstream_engine::log::frame::Frame;
use millstream_engine::stage::{caught, panic_message};
use millstream_engine::state::{Snapshot, StateBatch, StateWrite, StateWriterHandle};

use super::Aggregate;
use super::instances::Instance;

/// Bytes of states that are stored together; a larger one goes alone, so that one that cannot be stored keeps none back.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Encodes states of one aggregate type.
#[derive(Debug)]
pub(super) struct Taker<A> {
    writer: StandaloneWriter,
    scratch: Vec<u8>,
    aggregate: std::marker::PhantomData<fn() -> A>,
}

/// A state on its way to the store.
#[derive(Debug)]
pub(super) struct Taken {
    stream: StreamId,
    aggregate_version: u32,
    stream_version: u64,
    /// Of the last event applied.
    offset: Offset,
    bytes: Vec<u8>,
}

impl<A: Aggregate> Taker<A> {
    pub(super) fn new() -> Self {
        Self {
            writer: StandaloneWriter::new(),
            scratch: Vec::new(),
            aggregate: std::marker::PhantomData,
        }
    }

    /// The state of an instance whose last event is right before `next`. `None` when it cannot be encoded:
    /// it is then rebuilt from its events each time.
    pub(super) fn take(&mut self, instance: &Instance<A>, next: Offset) -> Option<Taken> {
        let mut bytes = Vec::new();
        if let Err(cause) = self.encode(&instance.state, &mut bytes) {
            tracing::warn!(category = A::CATEGORY, %cause, "a state cannot be encoded as a snapshot");
            return None;
        }
        Some(Taken {
            stream: StreamId::new(A::CATEGORY, &instance.id).ok()?,
            aggregate_version: A::VERSION,
            stream_version: instance.events,
            offset: Offset(next.0.checked_sub(1)?),
            bytes,
        })
    }

    /// Bytes of a state as it would be stored.
    pub(super) fn encoded_bytes(&mut self, state: &A) -> usize {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        // What cannot be encoded is weighed as nothing.
        let bytes = self
            .encode(state, &mut scratch)
            .map_or(0, |()| scratch.len());
        self.scratch = scratch;
        bytes
    }

    /// Encodes a state; its `Serialize` is user code, which may panic.
    fn encode(&mut self, state: &A, out: &mut Vec<u8>) -> Result<(), String> {
        match caught(|| self.writer.append(state, out)) {
            Ok(encoded) => encoded.map_err(|error| error.to_string()),
            Err(panic) => {
                self.writer = StandaloneWriter::new();
                Err(format!("it panicked: {}", panic_message(&*panic)))
            }
        }
    }
}

/// Hands what was taken in a turn to the state's writer, as few batches: its queue is one for all. `frame` holds the last
/// events of the snapshots and is durable. What finds the writer busy is left out: the next ones will do.
pub(super) fn store(
    taken: Vec<Taken>,
    writer: &StateWriterHandle,
    partition: PartitionId,
    frame: &Frame,
) {
    let (mut writes, mut bytes) = (Vec::new(), 0);
    for taken in taken {
        let own = taken.bytes.len();
        if !writes.is_empty() && bytes + own > BATCH_BYTES_MAX {
            let _ = writer.try_submit(StateBatch::new(std::mem::take(&mut writes)));
            bytes = 0;
        }
        bytes += own;
        writes.push(taken.write(partition, frame));
    }
    if !writes.is_empty() {
        let _ = writer.try_submit(StateBatch::new(writes));
    }
}

impl Taken {
    fn write(self, partition: PartitionId, frame: &Frame) -> StateWrite {
        let snapshot = Snapshot {
            aggregate_version: self.aggregate_version,
            stream_version: self.stream_version,
            position: Position {
                partition,
                offset: self.offset,
            },
            frame: frame.header().hash,
            bytes: self.bytes,
        };
        StateWrite::Snapshot {
            stream: self.stream,
            snapshot,
        }
    }
}
