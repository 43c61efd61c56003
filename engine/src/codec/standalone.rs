//! Values that stand alone, with their own dictionary: snapshots, table rows, dead letters.
//!
//! Place: `state` -> **`standalone`** -> bytes of one LMDB value. The form is described in `format.rs`.
//! Cost: the dictionary is most of a small value. Writing it again costs a copy, reading it again a
//! compare, when a [`StandaloneWriter`] and a [`StandaloneReader`] are kept: both remember the
//! dictionaries they met. [`to_vec`] and [`from_slice`] do not and cost several times as much.
//! Threads: one owner each.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::cursor::Cursor;
use super::decoder::Decoder;
use super::error::{DecodeError, EncodeError};
use super::format::{FORMAT_VERSION, put_varint};
use super::writer::ShapeWriter;

/// Dictionaries a reader remembers. A table of an enum has one per variant or combination of variants.
const DICTIONARIES_MAX: usize = 32;

/// Encodes one value with its dictionary.
///
/// # Errors
/// [`EncodeError`].
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::new();
    StandaloneWriter::new().append(value, &mut out)?;
    Ok(out)
}

/// Decodes a value written by [`to_vec`] or a [`StandaloneWriter`], which must fill `bytes`.
///
/// # Errors
/// [`DecodeError`]; its offset counts from the start of `bytes`.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    StandaloneReader::new().decode(bytes)
}

/// Encodes values one by one, each with its dictionary.
#[derive(Debug, Default)]
pub struct StandaloneWriter {
    shapes: ShapeWriter,
    value: Vec<u8>,
    /// The dictionary written last, and what it was made of.
    dictionary: Vec<u8>,
    used: Vec<u32>,
    generation: u64,
}

impl StandaloneWriter {
    /// A writer that has seen no type yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `value` to `out`. Cost: no allocation once its types were seen, apart from the growth of
    /// `out`.
    ///
    /// # Errors
    /// [`EncodeError`]: `out` is as it was before.
    pub fn append<T: Serialize + ?Sized>(
        &mut self,
        value: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        self.shapes.clear();
        self.value.clear();
        self.shapes.encode(value, &mut self.value)?;
        let (generation, used) = self.shapes.used();
        if self.generation != generation || self.used != used {
            self.generation = generation;
            self.used.clear();
            self.used.extend_from_slice(used);
            self.dictionary.clear();
            if self.shapes.has_shapes() {
                self.shapes.dictionary(&mut self.dictionary);
            }
        }
        out.reserve(self.dictionary.len() + self.value.len() + 11);
        out.push(FORMAT_VERSION);
        put_varint(out, self.dictionary.len() as u64);
        out.extend_from_slice(&self.dictionary);
        out.extend_from_slice(&self.value);
        Ok(())
    }

    /// Whether `value` can be encoded. Cost: a part of encoding it: no dictionary, no copy.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    #[inline]
    pub fn check<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.shapes.clear();
        self.value.clear();
        self.shapes.encode(value, &mut self.value)?;
        Ok(())
    }
}

/// Decodes values that each have their dictionary.
#[derive(Debug, Default)]
pub struct StandaloneReader {
    /// One per dictionary.
    decoders: Vec<Decoder>,
    /// The one used last.
    last: usize,
    /// The one to be given up next.
    oldest: usize,
}

impl StandaloneReader {
    /// A reader that has seen no dictionary yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes one value, which must fill `bytes`. Cost: a compare of the dictionary and no allocation of
    /// its own, once the dictionary was seen and while no more than 32 others came between.
    ///
    /// # Errors
    /// [`DecodeError`]; its offset counts from the start of `bytes`, that of a damaged dictionary from the
    /// start of the dictionary. The reader stays usable.
    pub fn decode<T: DeserializeOwned>(&mut self, bytes: &[u8]) -> Result<T, DecodeError> {
        let (dictionary, at) = split(bytes)?;
        let decoder = self.decoder(dictionary)?;
        decoder
            .decode_present(&bytes[at..])
            .map_err(|error| error.shifted(|offset| offset + at))
    }

    #[inline]
    fn decoder(&mut self, dictionary: &[u8]) -> Result<&mut Decoder, DecodeError> {
        let last = self.decoders.get(self.last);
        if !last.is_some_and(|decoder| decoder.has(dictionary)) {
            self.last = self.find(dictionary)?;
        }
        Ok(&mut self.decoders[self.last])
    }

    fn find(&mut self, dictionary: &[u8]) -> Result<usize, DecodeError> {
        let known = self
            .decoders
            .iter()
            .position(|decoder| decoder.has(dictionary));
        if let Some(known) = known {
            return Ok(known);
        }
        let mut decoder = Decoder::new();
        decoder.begin(dictionary)?;
        if self.decoders.len() < DICTIONARIES_MAX {
            self.decoders.push(decoder);
            return Ok(self.decoders.len() - 1);
        }
        let place = self.oldest;
        self.oldest = (place + 1) % DICTIONARIES_MAX;
        self.decoders[place] = decoder;
        Ok(place)
    }
}

/// The dictionary, and where the value starts.
pub(super) fn split(bytes: &[u8]) -> Result<(&[u8], usize), DecodeError> {
    let mut cursor = Cursor::new(bytes);
    let version = cursor.tag().map_err(|fault| *fault.0)?;
    if version != FORMAT_VERSION {
        return Err(DecodeError::UnknownFormat {
            found: version,
            known: FORMAT_VERSION,
        });
    }
    let length = cursor.count().map_err(|fault| *fault.0)?;
    let dictionary = cursor.take(length).map_err(|fault| *fault.0)?;
    Ok((dictionary, cursor.at()))
}
