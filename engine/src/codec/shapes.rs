//! The dictionary of a frame, parsed.

use std::fmt;
use std::sync::Arc;

use super::cursor::Cursor;
use super::error::{DecodeError, DictionaryProblem, Fault};
use super::format::{
    FIELDS_MAX, FIX_RECORD, FIX_RECORD_LAST, FORMAT_VERSION, Kind, NAME_BYTES_MAX, RECORD, SOME,
};

/// One shape: what stands in a record, in which order, under which names.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) kind: Kind,
    pub(super) type_name: Arc<str>,
    /// Empty for a struct.
    pub(super) variant: Arc<str>,
    /// Number of values in a record.
    pub(super) count: usize,
    /// Names of the values; empty if they have none.
    pub(super) fields: Box<[Arc<str>]>,
}

/// The shapes of one frame. Cheap to clone, shared between threads.
#[derive(Clone)]
pub struct Shapes(Arc<Inner>);

struct Inner {
    dictionary: Box<[u8]>,
    shapes: Box<[Shape]>,
}

impl Default for Shapes {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Shapes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.shapes.iter()).finish()
    }
}

impl Shapes {
    /// No shapes: enough for payloads without structs and enums, and for JSON.
    pub fn empty() -> Self {
        Self(Arc::new(Inner {
            dictionary: [FORMAT_VERSION, 0].into(),
            shapes: Box::default(),
        }))
    }

    /// Parses a dictionary, as written by [`ShapeWriter::dictionary`](super::ShapeWriter::dictionary).
    ///
    /// Cost: an allocation per name. A [`Decoder`](super::Decoder) that sees the same bytes again
    /// spares it: [`Decoder::shapes`](super::Decoder::shapes).
    ///
    /// # Errors
    /// [`DecodeError::UnknownFormat`] and [`DecodeError::Dictionary`].
    pub fn parse(dictionary: &[u8]) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(dictionary);
        let shapes = parse_all(&mut cursor).map_err(|problem| match problem {
            Problem::Format(found) => DecodeError::UnknownFormat {
                found,
                known: FORMAT_VERSION,
            },
            Problem::Damage(problem) => DecodeError::Dictionary {
                offset: cursor.at(),
                problem,
            },
        })?;
        Ok(Self(Arc::new(Inner {
            dictionary: dictionary.into(),
            shapes,
        })))
    }

    /// As [`parse`](Self::parse); no bytes stand for no shapes.
    pub(super) fn parse_or_empty(dictionary: &[u8]) -> Result<Self, DecodeError> {
        if dictionary.is_empty() {
            Ok(Self::empty())
        } else {
            Self::parse(dictionary)
        }
    }

    /// Number of shapes.
    pub fn len(&self) -> usize {
        self.0.shapes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.shapes.is_empty()
    }

    /// The dictionary's bytes, as parsed.
    pub fn dictionary(&self) -> &[u8] {
        &self.0.dictionary
    }

    /// Event type of a payload without decoding it: the variant's name, or the struct's; `None` if the
    /// payload is no record of these shapes.
    pub fn event_type(&self, payload: &[u8]) -> Option<&str> {
        let mut cursor = Cursor::new(payload);
        let id = loop {
            match cursor.tag().ok()? {
                SOME => {}
                tag @ FIX_RECORD..=FIX_RECORD_LAST => break usize::from(tag - FIX_RECORD),
                RECORD => break usize::try_from(cursor.varint().ok()?).ok()?,
                _ => return None,
            }
        };
        let shape = self.0.shapes.get(id)?;
        Some(if shape.kind == Kind::Struct {
            &shape.type_name
        } else {
            &shape.variant
        })
    }

    pub(super) fn all(&self) -> &[Shape] {
        &self.0.shapes
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

enum Problem {
    Format(u8),
    Damage(DictionaryProblem),
}

impl From<DictionaryProblem> for Problem {
    fn from(problem: DictionaryProblem) -> Self {
        Self::Damage(problem)
    }
}

impl From<Fault<DecodeError>> for Problem {
    fn from(_end: Fault<DecodeError>) -> Self {
        Self::Damage(DictionaryProblem::Truncated)
    }
}

fn parse_all(cursor: &mut Cursor<'_>) -> Result<Box<[Shape]>, Problem> {
    let version = cursor.tag()?;
    if version != FORMAT_VERSION {
        return Err(Problem::Format(version));
    }
    // No shape is shorter than three bytes, so no count makes us reserve more than the input's size.
    let count = cursor.count()?;
    let mut shapes = Vec::with_capacity(count.min(cursor.left() / 3));
    for _ in 0..count {
        shapes.push(parse_shape(cursor)?);
    }
    if cursor.left() > 0 {
        return Err(DictionaryProblem::TrailingBytes.into());
    }
    Ok(shapes.into())
}

fn parse_shape(cursor: &mut Cursor<'_>) -> Result<Shape, Problem> {
    let kind = Kind::from_byte(cursor.tag()?).ok_or(DictionaryProblem::UnknownKind)?;
    let type_name = parse_name(cursor)?;
    let variant = if kind == Kind::Struct {
        Arc::from("")
    } else {
        parse_name(cursor)?
    };
    let count = usize::try_from(cursor.varint()?).unwrap_or(usize::MAX);
    let possible = match kind {
        Kind::Struct | Kind::StructVariant | Kind::TupleVariant => count <= FIELDS_MAX,
        Kind::UnitVariant => count == 0,
        Kind::NewtypeVariant => count == 1,
    };
    if !possible {
        return Err(DictionaryProblem::FieldCount.into());
    }
    let mut fields = Vec::new();
    if kind.has_names() {
        for _ in 0..count {
            fields.push(parse_name(cursor)?);
        }
    }
    Ok(Shape {
        kind,
        type_name,
        variant,
        count,
        fields: fields.into(),
    })
}

fn parse_name(cursor: &mut Cursor<'_>) -> Result<Arc<str>, Problem> {
    let length = cursor.count()?;
    if length > NAME_BYTES_MAX {
        return Err(DictionaryProblem::NameTooLong.into());
    }
    let name =
        std::str::from_utf8(cursor.take(length)?).map_err(|_| DictionaryProblem::InvalidUtf8)?;
    Ok(Arc::from(name))
}
