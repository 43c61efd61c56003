//! Reads values back into types, with the dictionary they were written with.
//!
//! Place: payload bytes and [`Shapes`] of a frame -> **`Decoder`** -> typed values.
//! How a struct is read is decided once per shape and reader: if the writer's fields are the reader's,
//! in the same order, the values are handed over by position, else by name. serde tells a reader's
//! fields *with their aliases*, so position may be wrong for a type with aliases; serde then asks for
//! fewer values than there are, which is noticed, and the whole value is read again by name. Reading by
//! name is always right: unknown fields are skipped, missing ones get their default.
//! Threads: one owner. Cost: no allocation of its own; per frame a few compares per struct type.

use serde::de::DeserializeOwned;

use super::deserializer::De;
use super::error::DecodeError;
use super::shapes::{Shape, Shapes};

/// Reader types known to need their fields by name. More than a program has of such types.
const BY_NAME_MAX: usize = 256;

/// The fields of a reader's struct, known by address: serde keeps them in a constant.
pub(super) type ReaderFields = &'static [&'static str];

/// How the records of one shape are read by one type.
#[derive(Clone, Copy, Debug)]
struct Plan {
    reader: ReaderFields,
    by_position: bool,
}

/// What was learned about the shapes of the present dictionary.
#[derive(Debug, Default)]
pub(super) struct Plans {
    /// Per shape, the plan of the last type that read it.
    plans: Vec<Option<Plan>>,
    /// Types that must be read by name whatever their fields look like.
    by_name: Vec<ReaderFields>,
    /// Types read by position while decoding the present value, noted on the second try.
    suspects: Vec<ReaderFields>,
}

impl Plans {
    /// Whether the records of `shape`, with the fields `writer`, may be read by position.
    #[inline]
    pub(super) fn by_position<S: AsRef<str>>(
        &mut self,
        shape: usize,
        writer: &[S],
        reader: ReaderFields,
    ) -> bool {
        match self.plans.get(shape) {
            Some(Some(plan)) if std::ptr::eq(plan.reader, reader) => plan.by_position,
            _ => self.decide(shape, writer, reader),
        }
    }

    #[cold]
    fn decide<S: AsRef<str>>(&mut self, shape: usize, writer: &[S], reader: ReaderFields) -> bool {
        let by_position = writer.len() == reader.len()
            && writer
                .iter()
                .zip(reader)
                .all(|(theirs, ours)| theirs.as_ref() == *ours)
            && !self
                .by_name
                .iter()
                .any(|known| std::ptr::eq(*known, reader));
        if let Some(plan) = self.plans.get_mut(shape) {
            *plan = Some(Plan {
                reader,
                by_position,
            });
        }
        by_position
    }

    /// Makes room for the plans of so many shapes; what is known of the others is kept.
    pub(super) fn resize(&mut self, shapes: usize) {
        self.plans.resize(shapes, None);
    }

    /// Notes a type that is read by name only because the first try by position failed.
    pub(super) fn suspect(&mut self, reader: ReaderFields) {
        if !self
            .suspects
            .iter()
            .any(|known| std::ptr::eq(*known, reader))
        {
            self.suspects.push(reader);
        }
    }
}

/// Decodes the values of any number of frames.
///
/// Keep one per reader: it remembers how each type reads each shape for as long as the dictionary
/// stays the same. See [`ShapeWriter`](super::ShapeWriter) for an example.
#[derive(Debug, Default)]
pub struct Decoder {
    shapes: Shapes,
    plans: Plans,
}

impl Decoder {
    /// A decoder that has seen nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses a dictionary, or hands out the present shapes if it has the same bytes.
    ///
    /// # Errors
    /// [`DecodeError::UnknownFormat`] and [`DecodeError::Dictionary`].
    pub fn shapes(&mut self, dictionary: &[u8]) -> Result<Shapes, DecodeError> {
        if self.shapes.dictionary() != dictionary {
            let shapes = Shapes::parse(dictionary)?;
            self.attach(&shapes);
        }
        Ok(self.shapes.clone())
    }

    /// Decodes one value, which must fill `bytes`.
    ///
    /// The type need not be the one that wrote: fields and variants may stand in another order, fields
    /// may be gone, and new ones may have a default.
    ///
    /// # Errors
    /// [`DecodeError`] naming the byte; the decoder stays usable.
    pub fn decode<T: DeserializeOwned>(
        &mut self,
        shapes: &Shapes,
        bytes: &[u8],
    ) -> Result<T, DecodeError> {
        if !self.shapes.is_same(shapes) {
            self.attach(shapes);
        }
        self.decode_present(bytes)
    }

    /// Takes over a dictionary, empty if there are no shapes, for [`decode_present`](Self::decode_present).
    /// After an error there are none.
    pub(super) fn begin(&mut self, dictionary: &[u8]) -> Result<(), DecodeError> {
        if self.has(dictionary) {
            return Ok(());
        }
        let parsed = Shapes::parse_or_empty(dictionary);
        let outcome = parsed.as_ref().map(|_| ()).map_err(Clone::clone);
        self.attach(&parsed.unwrap_or_default());
        outcome
    }

    /// Whether the present dictionary has these bytes.
    #[inline]
    pub(super) fn has(&self, dictionary: &[u8]) -> bool {
        self.shapes.dictionary() == dictionary || (dictionary.is_empty() && self.shapes.is_empty())
    }

    /// The present shapes.
    pub(super) fn present(&self) -> &Shapes {
        &self.shapes
    }

    /// Decodes one value of the present shapes.
    #[inline]
    pub(super) fn decode_present<T: DeserializeOwned>(
        &mut self,
        bytes: &[u8],
    ) -> Result<T, DecodeError> {
        decode_with(self.shapes.all(), &mut self.plans, bytes)
    }

    /// Takes over other shapes; what was learned is kept if they have the same bytes.
    #[cold]
    fn attach(&mut self, shapes: &Shapes) {
        if self.shapes.dictionary() != shapes.dictionary() || self.plans.plans.len() != shapes.len()
        {
            self.plans.plans.clear();
            self.plans.resize(shapes.len());
        }
        self.shapes = shapes.clone();
    }
}

/// Decodes one value, which must fill `bytes`.
#[inline]
pub(super) fn decode_with<T: DeserializeOwned>(
    shapes: &[Shape],
    plans: &mut Plans,
    bytes: &[u8],
) -> Result<T, DecodeError> {
    let mut first = De::new(bytes, shapes, plans, false);
    match first.whole() {
        Ok(value) => Ok(value),
        Err(fault) => {
            let offset = first.cursor.at();
            if first.used_position {
                decode_again(shapes, plans, bytes)
            } else {
                Err(fault.located(offset))
            }
        }
    }
}

/// Reads by name what could not be read by position. If that works, the types concerned will be
/// read by name from now on; if not, its error is the right one.
#[cold]
fn decode_again<T: DeserializeOwned>(
    shapes: &[Shape],
    plans: &mut Plans,
    bytes: &[u8],
) -> Result<T, DecodeError> {
    plans.suspects.clear();
    let mut second = De::new(bytes, shapes, plans, true);
    let outcome = second.whole();
    let offset = second.cursor.at();
    let value = outcome.map_err(|fault| fault.located(offset))?;
    let suspects = std::mem::take(&mut plans.suspects);
    if plans.by_name.len() < BY_NAME_MAX {
        plans.by_name.extend(suspects);
    }
    plans.plans.fill(None);
    Ok(value)
}
