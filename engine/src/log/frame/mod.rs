//! A frame: a batch of events of one partition, as it is stored.
//!
//! All integers of the header are big-endian.
//!
//! | byte | what |
//! |---|---|
//! | 0 | format version: 1, or 2 where the events lie by kind, see `sections.rs` |
//! | 1 | compression of the body: 0 none, 1 LZ4 block |
//! | 2..4 | partition |
//! | 4..12 | offset of the first event |
//! | 12..16 | number of events, at least 1 |
//! | 16..20 | length of the body before compression; version 2: of its directory |
//! | 20..28, 28..36 | recorded time of the first and the last event, microseconds |
//! | 36..52 | base of the events' ids, see [`EventId::in_frame`](crate::event::EventId::in_frame) |
//! | 52..84 | hash of the frame before this one in the partition; zeros for the first |
//! | 84..116 | hash of this frame: BLAKE3 over bytes 0..84 and the stored body |
//! | 116..120 | CRC32C over bytes 0..116 and the stored body; version 2: and its directory, which has those of the rest |
//! | 120.. | body |
//!
//! The body of version 1 is a list of kinds (category, event type, schema version, encoding; records refer to them by number),
//! a list of attachments (tag, bytes: what else must become durable with the events, such as the shapes that
//! payloads refer to), then the records. Numbers in the body are LEB128 varints.
//!
//! Invariants: [`Frame::parse`] accepts only bytes whose checksum holds, and then reads every record once, so
//! iterating over a parsed frame cannot fail. Cost: one compression and one hash per frame, not per event.

mod bytes;
mod draft;
#[cfg(test)]
pub(crate) mod fixtures;
mod header;
mod kind_set;
mod parse;
mod part;
mod record;
mod records;
mod seal;
mod sections;
#[cfg(test)]
mod tests;

pub use draft::{Draft, DraftError};
pub use header::{FrameError, FrameHeader};
pub use kind_set::KindSet;
pub use parse::Frame;
pub use part::FramePart;
pub use record::{Encoding, Kind, Record};
pub use seal::{FrameBuilder, FrameMark, SealedFrame};

/// Version of the format of frames whose events lie as they came.
pub const FORMAT_VERSION: u8 = 1;
/// Version of the format of frames whose events lie by kind.
pub const APART: u8 = 2;
/// Length of the header in bytes.
pub const HEADER_BYTES: usize = 120;
/// Largest body before compression, 64 MiB: what a reader must be ready to hold for one frame.
pub const BODY_BYTES_MAX: usize = 64 << 20;

/// Attachment with the shapes that binary payloads refer to.
pub const SHAPES: u8 = 1;
/// Attachment with the ids of the commands that the events answer.
pub const COMMANDS: u8 = 2;

const HASH_AT: usize = 84;
const CRC_AT: usize = 116;

/// Hash of a frame, which the next one names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FrameHash(pub [u8; 32]);

/// Hash of a frame from its header, of which the first 84 bytes count, and its stored body.
fn hash_of(header: &[u8], body: &[u8]) -> FrameHash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&header[..HASH_AT]);
    hasher.update(body);
    FrameHash(*hasher.finalize().as_bytes())
}

fn crc_of(header: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..CRC_AT]), body)
}

/// For tests: a frame whose body was changed, with checksums that fit it where it can be told which bytes they are of.
#[cfg(test)]
pub(super) fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut covered = bytes.len() - HEADER_BYTES;
    if let Ok(header) = FrameHeader::parse(&bytes)
        && let Some(directory) = header.directory_bytes()
    {
        covered = directory;
        parse::seal_sections(&mut bytes, directory);
    }
    let crc = crc_of(&bytes, &bytes[HEADER_BYTES..][..covered]);
    bytes[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_be_bytes());
    bytes
}
