//! For tests of those who only pass frames on.

use uuid::Uuid;

use super::{Draft, Encoding, FrameBuilder, Kind, SealedFrame};
use crate::event::{Metadata, PartitionId, stream_hash};
use crate::log::Head;
use crate::time::Timestamp;

/// A kind of events that nobody decodes.
pub(crate) fn deposited() -> Kind {
    Kind {
        category: "account".into(),
        event_type: "Deposited".into(),
        schema_version: 1,
        encoding: Encoding::Opaque,
    }
}

/// An event of the stream `account-42`, of a kind by its number in the frame.
pub(crate) fn deposit(kind: u32, version: u64, payload: &[u8]) -> Draft<'_> {
    Draft {
        kind,
        stream: "42",
        hash: stream_hash("account-42"),
        version,
        event_time: None,
        id: None,
        metadata: Metadata::default(),
        payload,
    }
}

/// A frame behind `head` of so many of these events; their versions are their offsets.
pub(crate) fn frame(head: Head, count: u64, payload: &[u8]) -> SealedFrame {
    let mut builder = FrameBuilder::new();
    let kind = builder.kind(&deposited());
    for version in head.next.0..head.next.0 + count {
        let pushed = builder.push(Timestamp(1), &deposit(kind, version, payload));
        pushed.expect("a small event");
    }
    let sealed = builder.seal(PartitionId(0), head.next, Uuid::nil(), head.hash, &[]);
    sealed.expect("small events")
}

/// The first frame of the first partition, of one small event.
pub(crate) fn first_frame() -> SealedFrame {
    frame(Head::default(), 1, b"1")
}
