//! For tests of those who only pass frames on.

use uuid::Uuid;

use super::{Draft, Encoding, FrameBuilder, FrameHash, Kind, SealedFrame};
use crate::event::{Metadata, Offset, PartitionId, stream_hash};
use crate::time::Timestamp;

/// The first frame of the first partition, of one small event.
pub(crate) fn first_frame() -> SealedFrame {
    let mut builder = FrameBuilder::new();
    let kind = builder.kind(&Kind {
        category: "tally".into(),
        event_type: "Added".into(),
        schema_version: 1,
        encoding: Encoding::Opaque,
    });
    let draft = Draft {
        kind,
        stream: "1",
        hash: stream_hash("tally-1"),
        version: 0,
        event_time: None,
        id: None,
        metadata: Metadata::default(),
        payload: b"1",
    };
    let pushed = builder.push(Timestamp(1), &draft);
    pushed.expect("one small event");
    let ids = Uuid::nil();
    let sealed = builder.seal(PartitionId(0), Offset(0), ids, FrameHash::default(), &[]);
    sealed.expect("one small event")
}
