//! How snapshots are stored: one full part and changes to it.
//!
//! Key: stream, zero, number of the part from 0. Part 0 is full; part n holds what changed since part n - 1, as
//! zstd sees it with the state before as its prefix. So a large state of which little changes costs what
//! changed, and reading costs one decompression per part.
//! Format, big-endian: version, encoding (0 bare, 1 zstd, 2 change), number, aggregate version (32), stream
//! version (64), partition (16), offset (64), hash of the frame (32 bytes), length (64) and CRC32C (32) of the
//! state, CRC32C of the state before (32; 0 in part 0), content, CRC32C of the stream and all that. Parts of version 1 had none of
//! the stream, so that one under another's key could not be told: they are passed over, until the next snapshot replaces them.
//! Failure: what does not fit is a text for a warning, never an error or a panic. Cost,
//! measured per MiB of state: about 3 ms to write a change, 1 ms a full part, on the writer's thread; 0.1 ms to
//! read per part. Twenty changed places of 128 bytes in 1 MiB make a part of 4 KiB.

use std::io;

use zstd::zstd_safe::{CCtx, CParameter, DCtx, compress_bound};

use super::earlier;
use super::snapshot::{SNAPSHOT_BYTES_MAX, Snapshot};
use super::wire::Input;
use crate::event::{Offset, PartitionId, Position, StreamId};
use crate::log::frame::FrameHash;

/// Version of a part, and the one before, which is passed over.
const VERSION: u8 = 2;
const WITHOUT_STREAM: u8 = 1;
const BARE: u8 = 0;
const PACKED: u8 = 1;
const CHANGE: u8 = 2;
const LEVEL: i32 = 3;

/// One part, parsed.
#[derive(Debug)]
struct Link<'a> {
    encoding: u8,
    snapshot: Snapshot,
    state_bytes: usize,
    state_crc: u32,
    base_crc: u32,
    content: &'a [u8],
}

/// Where a chain ends: the state, and what the next part needs to know.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) snapshot: Snapshot,
    /// Number of parts.
    links: u8,
    /// Stored size of part 0.
    full_bytes: usize,
    state_crc: u32,
}

/// A part to be stored.
#[derive(Debug)]
pub(super) struct NewLink {
    /// Its number; 0 takes the place of the whole chain.
    pub(super) number: u8,
    pub(super) value: Vec<u8>,
}

/// Key of part `number`. Stream ids have no control characters, so the zero ends them.
pub(super) fn link_key(stream: &StreamId, number: u8) -> Vec<u8> {
    let text = stream.as_str().as_bytes();
    let mut key = Vec::with_capacity(text.len() + 2);
    key.extend_from_slice(text);
    key.extend_from_slice(&[0, number]);
    key
}

/// First and last key that parts of this stream can have.
pub(super) fn link_bounds(stream: &StreamId) -> (Vec<u8>, Vec<u8>) {
    (link_key(stream, 0), link_key(stream, u8::MAX))
}

/// The state that the parts make, `None` without any; with a warning when they do not fit.
pub(super) fn read_or_warn<B: AsRef<[u8]>>(
    stream: &StreamId,
    links: &[(u8, B)],
) -> Option<Snapshot> {
    chain_or_warn(stream, links).map(|chain| chain.snapshot)
}

pub(super) fn chain_or_warn<B: AsRef<[u8]>>(stream: &StreamId, links: &[(u8, B)]) -> Option<Chain> {
    if links
        .first()
        .is_none_or(|(_, part)| is_passed_over(part.as_ref()))
    {
        return None;
    }
    match read(stream, links) {
        Ok(chain) => Some(chain),
        Err(what) => {
            tracing::warn!(%stream, what, "a snapshot is not readable, its events are read instead");
            None
        }
    }
}

/// A full part without its state; `None` when it is not readable.
pub(super) fn head(stream: &StreamId, value: &[u8]) -> Option<Snapshot> {
    parse(stream, value, 0).ok().map(|link| link.snapshot)
}

/// Of the snapshots that the parts make one after the other, the place of the last whose head `fits`.
pub(super) fn last_fitting<B: AsRef<[u8]>>(
    stream: &StreamId,
    links: &[(u8, B)],
    fits: impl Fn(&Snapshot) -> bool,
) -> Option<usize> {
    links.iter().rposition(|(number, value)| {
        parse(stream, value.as_ref(), *number).is_ok_and(|link| fits(&link.snapshot))
    })
}

/// Whether a part is of a version of before, whose stream is not certain.
pub(super) fn is_passed_over(part: &[u8]) -> bool {
    part.first() == Some(&WITHOUT_STREAM)
}

/// Whether a part, of the newest snapshot of a stream or an earlier one, lies where it was stored.
pub(super) fn is_under_its_key(stream: &StreamId, key: &[u8], part: &[u8]) -> bool {
    let number = part.get(2).copied().unwrap_or(0);
    parse(stream, part, number).is_ok_and(|link| {
        let version = link.snapshot.stream_version;
        key == link_key(stream, number) || key == earlier::key(stream, version)
    })
}

fn read<B: AsRef<[u8]>>(stream: &StreamId, links: &[(u8, B)]) -> Result<Chain, &'static str> {
    let mut chain: Option<Chain> = None;
    for (expected, (number, value)) in (0u8..).zip(links) {
        if *number != expected {
            return Err("a part is missing");
        }
        let value = value.as_ref();
        let link = parse(stream, value, expected)?;
        let bytes = match (&chain, link.encoding) {
            (None, BARE) => link.content.to_vec(),
            (None, PACKED) => unpack(link.content, &[], link.state_bytes)?,
            (Some(chain), CHANGE) if link.base_crc == chain.state_crc => {
                unpack(link.content, &chain.snapshot.bytes, link.state_bytes)?
            }
            (Some(_), CHANGE) => return Err("a part follows another state"),
            _ => return Err("a part is not of the kind that its place needs"),
        };
        if bytes.len() != link.state_bytes || crc32c::crc32c(&bytes) != link.state_crc {
            return Err("the state is not the one that was stored");
        }
        chain = Some(Chain {
            snapshot: Snapshot {
                bytes,
                ..link.snapshot
            },
            links: expected.saturating_add(1),
            full_bytes: chain.map_or(value.len(), |chain| chain.full_bytes),
            state_crc: link.state_crc,
        });
    }
    chain.ok_or("there is no part")
}

fn parse<'v>(stream: &StreamId, value: &'v [u8], number: u8) -> Result<Link<'v>, &'static str> {
    let (body, crc) = value.split_last_chunk::<4>().ok_or("a part is too short")?;
    if seal(stream, body) != u32::from_be_bytes(*crc) {
        return Err("the checksum of a part is wrong");
    }
    let rest = body.strip_prefix(&[VERSION]);
    let rest = rest.ok_or("a part has another format version")?;
    let mut input = Input::bare(rest);
    let mut parsed = || {
        let encoding = input.byte()?;
        let own_number = input.byte()?;
        let snapshot = Snapshot {
            aggregate_version: input.u32()?,
            stream_version: input.u64()?,
            position: Position {
                partition: PartitionId(input.u16()?),
                offset: Offset(input.u64()?),
            },
            frame: FrameHash(input.array()?),
            bytes: Vec::new(),
        };
        let state_bytes = usize::try_from(input.u64()?).ok()?;
        let (state_crc, base_crc) = (input.u32()?, input.u32()?);
        let is_sound = own_number == number && state_bytes <= SNAPSHOT_BYTES_MAX;
        is_sound.then_some(Link {
            encoding,
            snapshot,
            state_bytes,
            state_crc,
            base_crc,
            content: &[],
        })
    };
    let mut link = parsed().ok_or("the head of a part makes no sense")?;
    link.content = input.rest();
    Ok(link)
}

/// Whether a state of this size is worth a look at what is stored.
pub(super) fn is_large(snapshot: &Snapshot, delta_bytes_min: usize) -> bool {
    snapshot.bytes.len() > delta_bytes_min
}

/// The part that stores `snapshot`: a change to `chain` where that is clearly smaller, else a full one.
pub(super) fn next_link(
    stream: &StreamId,
    snapshot: &Snapshot,
    chain: Option<&Chain>,
    delta_bytes_min: usize,
    links_max: u8,
) -> NewLink {
    let is_large = is_large(snapshot, delta_bytes_min);
    if let Some(chain) = chain
        && is_large
        && chain.links < links_max
        && let Some(change) = pack(&snapshot.bytes, &chain.snapshot.bytes)
        // Below half of a full part, or the saving is not worth the longer reads.
        && change.len() < chain.full_bytes / 2
    {
        return NewLink {
            number: chain.links,
            value: encode(
                stream,
                snapshot,
                (CHANGE, chain.links),
                chain.state_crc,
                &change,
            ),
        };
    }
    // Small states stay bare: they are many, and packing one costs more than the bytes it saves.
    let packed = if is_large {
        pack(&snapshot.bytes, &[]).filter(|packed| packed.len() < snapshot.bytes.len() / 10 * 9)
    } else {
        None
    };
    let value = match packed {
        Some(packed) => encode(stream, snapshot, (PACKED, 0), 0, &packed),
        None => encode(stream, snapshot, (BARE, 0), 0, &snapshot.bytes),
    };
    NewLink { number: 0, value }
}

/// A part of this encoding and number.
fn encode(
    stream: &StreamId,
    snapshot: &Snapshot,
    (encoding, number): (u8, u8),
    base_crc: u32,
    content: &[u8],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 96);
    out.extend_from_slice(&[VERSION, encoding, number]);
    out.extend_from_slice(&snapshot.aggregate_version.to_be_bytes());
    out.extend_from_slice(&snapshot.stream_version.to_be_bytes());
    out.extend_from_slice(&snapshot.position.partition.0.to_be_bytes());
    out.extend_from_slice(&snapshot.position.offset.0.to_be_bytes());
    out.extend_from_slice(&snapshot.frame.0);
    out.extend_from_slice(&(snapshot.bytes.len() as u64).to_be_bytes());
    out.extend_from_slice(&crc32c::crc32c(&snapshot.bytes).to_be_bytes());
    out.extend_from_slice(&base_crc.to_be_bytes());
    out.extend_from_slice(content);
    let crc = seal(stream, &out);
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

fn seal(stream: &StreamId, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(stream.as_str().as_bytes()), body)
}

/// Compresses `state` with `base` as what stood before it; `None` when zstd cannot, and a full part is
/// stored instead.
fn pack(state: &[u8], base: &[u8]) -> Option<Vec<u8>> {
    let packed = || -> Result<Vec<u8>, usize> {
        let mut context = CCtx::create();
        context.set_parameter(CParameter::CompressionLevel(LEVEL))?;
        if !base.is_empty() {
            // The window must reach back over the whole state to the same place in the base, and only the
            // long-distance matcher remembers all of it: the level's own tables hold some 100 KiB.
            let span = (state.len() + base.len()).max(1 << 10);
            let window = span.next_power_of_two().trailing_zeros();
            context.set_parameter(CParameter::WindowLog(window.clamp(10, 30)))?;
            context.set_parameter(CParameter::EnableLongDistanceMatching(true))?;
            context.ref_prefix(base)?;
        }
        let mut out = Vec::with_capacity(compress_bound(state.len()));
        context.compress2(&mut out, state)?;
        Ok(out)
    };
    packed().ok()
}

fn unpack(content: &[u8], base: &[u8], state_bytes: usize) -> Result<Vec<u8>, &'static str> {
    let unpacked = || -> Result<Vec<u8>, io::Error> {
        let fail = |_| io::Error::from(io::ErrorKind::InvalidData);
        let mut context = DCtx::create();
        if !base.is_empty() {
            context.ref_prefix(base).map_err(fail)?;
        }
        let mut out = Vec::new();
        // The length comes from a part whose checksum holds; a machine without that memory says no here.
        out.try_reserve_exact(state_bytes)
            .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        context.decompress(&mut out, content).map_err(fail)?;
        Ok(out)
    };
    unpacked().map_err(|_| "a part cannot be decompressed")
}
