//! Reads events of any version into today's type.
//!
//! Place: records of a frame -> **`EventReader`** -> events for `evolve`, projections and dataflows.
//! A record of the present version is decoded straight into the type. An older one becomes a
//! [`Value`], passes its upcasters one version at a time, and is then read as the codec would read it;
//! a JSON record goes back through JSON, so that types which differ between text and binary (ids,
//! times, decimals, numbers as keys) are read as they were written. Threads: one owner.
//! Cost: present version, that of [`Decoder`]; one version older, about seven times as much.

use std::fmt;
use std::marker::PhantomData;

use super::decoder::Decoder;
use super::error::DecodeError;
use super::event::Event;
use super::upcast::Upcasters;
use super::value::{
    Rewriter, Value, event_from_json, not_variant, parse_json, typed_from_json, variant_of,
};
use crate::log::frame::{Encoding, Kind};

/// Reads the records of one event type, frame by frame.
///
/// ```
/// use millstream_engine::codec::{Event, EventEncoder, EventReader};
/// use millstream_engine::log::frame::Kind;
///
/// #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
/// enum Account {
///     Deposited { amount: u64 },
/// }
/// impl Event for Account {}
///
/// let (mut encoder, mut payload, mut dictionary) = (EventEncoder::new(), Vec::new(), Vec::new());
/// let event_type = encoder.encode(&Account::Deposited { amount: 7 }, &mut payload)?;
/// encoder.dictionary(&mut dictionary);
///
/// let kind = Kind {
///     category: "account".into(),
///     event_type: event_type.into(),
///     schema_version: Account::VERSION,
///     encoding: Account::ENCODING,
/// };
/// let mut reader = EventReader::<Account>::new();
/// reader.begin_frame(&dictionary)?;
/// assert_eq!(reader.decode(&kind, &payload)?, Account::Deposited { amount: 7 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct EventReader<E> {
    decoder: Decoder,
    upcasters: Upcasters,
    rewriter: Rewriter,
    events: PhantomData<fn() -> E>,
}

impl<E> fmt::Debug for EventReader<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventReader")
            .field("upcasters", &self.upcasters)
            .finish_non_exhaustive()
    }
}

impl<E: Event> Default for EventReader<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E: Event> EventReader<E> {
    /// A reader that has seen no frame: as if one without a dictionary had begun.
    pub fn new() -> Self {
        Self {
            decoder: Decoder::new(),
            upcasters: E::upcasters(),
            rewriter: Rewriter::default(),
            events: PhantomData,
        }
    }

    /// Takes the dictionary of the frame whose records come next; empty if it has none.
    ///
    /// Cost: a compare if it has the same bytes as the last one, which is the common case.
    ///
    /// # Errors
    /// [`DecodeError::UnknownFormat`] and [`DecodeError::Dictionary`]; no dictionary is then in use, so
    /// records with shapes are refused until the next frame.
    #[inline]
    pub fn begin_frame(&mut self, dictionary: &[u8]) -> Result<(), DecodeError> {
        self.decoder.begin(dictionary)
    }

    /// Decodes one record of the present frame.
    ///
    /// # Errors
    /// - [`DecodeError::UnknownVersion`]: the record is newer and the type is not
    ///   [`FORWARD_COMPATIBLE`](Event::FORWARD_COMPATIBLE).
    /// - [`DecodeError::MissingUpcaster`], [`DecodeError::Upcast`]: it is older and cannot be brought here.
    /// - [`DecodeError::Opaque`]: only its writer can read it.
    /// - any other: the payload is damaged or does not fit the type.
    ///
    /// The reader stays usable.
    #[inline]
    pub fn decode(&mut self, kind: &Kind, payload: &[u8]) -> Result<E, DecodeError> {
        if kind.schema_version == E::VERSION && kind.encoding == Encoding::Binary {
            self.decoder.decode_present(payload)
        } else {
            self.decode_other(kind, payload)
        }
    }

    /// Decodes a record of the present frame with another payload in its place: JSON as
    /// [`payload_to_json`](super::payload_to_json) shows the record's own, in the shape of its version.
    ///
    /// # Errors
    /// As [`decode`](Self::decode); [`DecodeError::Json`] also for what is of another variant.
    #[cold]
    pub fn decode_edited(
        &mut self,
        kind: &Kind,
        payload: &[u8],
        edited: &str,
    ) -> Result<E, DecodeError> {
        let json = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text);
        let new = json(edited.as_bytes()).map_err(|error| DecodeError::json(&error))?;
        if kind.encoding != Encoding::Binary {
            let old = json(payload).unwrap_or_default();
            let is_variant = variant_of(&old) == Some(&*kind.event_type);
            if is_variant && variant_of(&new) != Some(&*kind.event_type) {
                return Err(not_variant(&kind.event_type));
            }
            return self.decode_other(kind, edited.as_bytes());
        }
        self.check_version(kind)?;
        // One that is damaged may be edited as well; only what it was does not help then.
        let old = Value::decode(self.decoder.present(), payload).unwrap_or_default();
        let mut value = old.edited(&new, &kind.event_type)?;
        if kind.schema_version < E::VERSION {
            value = self.upcasters.run(kind, E::VERSION, value)?;
        }
        self.rewriter.typed(&value)
    }

    /// That this program may know it.
    fn check_version(&self, kind: &Kind) -> Result<(), DecodeError> {
        let found = kind.schema_version;
        if found > E::VERSION && !E::FORWARD_COMPATIBLE {
            return Err(DecodeError::UnknownVersion {
                event_type: kind.event_type.to_string(),
                found,
                known: E::VERSION,
            });
        }
        Ok(())
    }

    fn decode_other(&mut self, kind: &Kind, payload: &[u8]) -> Result<E, DecodeError> {
        if kind.schema_version < E::VERSION {
            return self.decode_older(kind, payload);
        }
        self.check_version(kind)?;
        match kind.encoding {
            Encoding::Binary => self.decoder.decode_present(payload),
            Encoding::Json => {
                serde_json::from_slice(payload).map_err(|error| DecodeError::json(&error))
            }
            Encoding::Opaque => Err(DecodeError::Opaque),
        }
    }

    #[cold]
    fn decode_older(&mut self, kind: &Kind, payload: &[u8]) -> Result<E, DecodeError> {
        let value = match kind.encoding {
            Encoding::Binary => Value::decode(self.decoder.present(), payload)?,
            Encoding::Json => event_from_json(parse_json(payload)?, &kind.event_type),
            Encoding::Opaque => return Err(DecodeError::Opaque),
        };
        let value = self.upcasters.run(kind, E::VERSION, value)?;
        match kind.encoding {
            Encoding::Json => typed_from_json(&value),
            Encoding::Binary | Encoding::Opaque => self.rewriter.typed(&value),
        }
    }
}
