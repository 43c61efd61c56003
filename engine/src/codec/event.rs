//! What an event is to the engine, and how events are written.
//!
//! Place: decided events -> **`EventEncoder`** -> payload bytes of a frame. Read back by
//! [`EventReader`](super::EventReader). Invariants: a payload is in its type's [`Event::ENCODING`]; a
//! frame whose payloads use no shapes needs no dictionary. Threads: one encoder per partition.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::EncodeError;
use super::type_name::type_name;
use super::upcast::Upcasters;
use super::writer::ShapeWriter;
use crate::log::frame::Encoding;

/// Something that happened, as it is stored. Mostly an enum: its variants are the event types.
///
/// ```
/// use millstream_engine::codec::{Event, Upcasters};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// enum AccountEvent {
///     Deposited { cents: u64 },
/// }
///
/// impl Event for AccountEvent {
///     const VERSION: u32 = 2; // version 1 had `amount`, in whole euros
///     fn upcasters() -> Upcasters {
///         Upcasters::none().step("Deposited", 1, |mut event| {
///             let euros = event.remove("amount").and_then(|amount| amount.as_u64());
///             event.set("cents", euros.unwrap_or(0) * 100)?;
///             Ok(event)
///         })
///     }
/// }
/// ```
pub trait Event: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Version of the event's shape, from 1 (0 does not compile). A field added with a default needs no
    /// new one. For an enum it is that of all its variants.
    const VERSION: u32 = 1;
    /// How payloads are written. [`Encoding::Opaque`] does not compile: what nobody can read is appended
    /// as bytes. Records in the other encoding stay readable when this changes.
    const ENCODING: Encoding = Encoding::Binary;
    /// Whether a record of a newer version is decoded as far as it fits, unknown fields being ignored,
    /// instead of refused. An unknown variant is an error even so, unless the enum has a `serde(other)`.
    const FORWARD_COMPATIBLE: bool = false;

    /// The steps that bring records of older versions to this one. Asked for once per reader.
    fn upcasters() -> Upcasters {
        Upcasters::none()
    }
}

/// Writes the events of one frame after the other.
#[derive(Debug, Default)]
pub struct EventEncoder {
    shapes: ShapeWriter,
}

impl EventEncoder {
    /// An encoder with an empty dictionary.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the payload of `event` to `out` and returns its event type: the name of the variant if it
    /// is an enum, else of the struct, else `"value"`.
    ///
    /// The name does not depend on the encoding. An internally tagged enum is written as a struct, so its
    /// name is that of the struct. Cost: as [`ShapeWriter::encode`]; for JSON as `serde_json`.
    ///
    /// # Errors
    /// [`EncodeError`]: `out` is as it was before.
    #[inline]
    pub fn encode<E: Event>(
        &mut self,
        event: &E,
        out: &mut Vec<u8>,
    ) -> Result<&'static str, EncodeError> {
        const {
            assert!(E::VERSION > 0, "versions of events count from 1");
            assert!(
                !matches!(E::ENCODING, Encoding::Opaque),
                "an event is written as binary or JSON"
            );
        }
        match E::ENCODING {
            Encoding::Json => encode_json(event, out),
            Encoding::Binary | Encoding::Opaque => self.shapes.encode(event, out),
        }
    }

    /// Whether the frame needs the dictionary: not when all of its payloads are JSON or plain values.
    pub fn has_shapes(&self) -> bool {
        self.shapes.has_shapes()
    }

    /// Appends the dictionary of all payloads since the last [`clear`](Self::clear) to `out`.
    pub fn dictionary(&self, out: &mut Vec<u8>) {
        self.shapes.dictionary(out);
    }

    /// Starts the next frame with an empty dictionary. What was learned of the types is kept.
    pub fn clear(&mut self) {
        self.shapes.clear();
    }
}

fn encode_json<E: Event>(event: &E, out: &mut Vec<u8>) -> Result<&'static str, EncodeError> {
    let start = out.len();
    match serde_json::to_writer(&mut *out, event) {
        Ok(()) => Ok(type_name(event)),
        Err(error) => {
            out.truncate(start);
            Err(EncodeError::Json {
                message: error.to_string(),
            })
        }
    }
}
