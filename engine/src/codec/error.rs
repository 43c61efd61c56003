//! Why a payload could not be written, read or brought to the present version.
//!
//! An error names the byte where it was noticed, never the payload's content. A failed write leaves
//! the output as it was; a failed read leaves the decoder usable.

use std::fmt;

/// Why a value could not be encoded. The output is as it was before the call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The value's own `Serialize` refused.
    #[error("value refused to be serialized: {message}")]
    Refused {
        /// What it said.
        message: String,
    },
    /// Values are nested deeper than a reader would follow.
    #[error("value is nested deeper than {max} levels")]
    TooDeep {
        /// The deepest nesting allowed.
        max: u32,
    },
    /// A struct or variant has more fields than a reader would take.
    #[error("`{type_name}` has {found} fields, at most {max} are possible")]
    TooManyFields {
        /// The struct or enum.
        type_name: &'static str,
        /// How many it has.
        found: usize,
        /// How many are possible.
        max: usize,
    },
    /// The name of a type, variant or field is longer than a reader would take.
    #[error("the name starting with `{start}` is longer than {max} bytes")]
    NameTooLong {
        /// Its first characters.
        start: String,
        /// The longest possible.
        max: usize,
    },
    /// A hand-written `Serialize` announced another number of items than it wrote.
    #[error("a tuple announced {announced} items and wrote {written}")]
    WrongLength {
        /// Items announced.
        announced: usize,
        /// Items written.
        written: usize,
    },
    /// A JSON payload could not be written.
    #[error("JSON: {message}")]
    Json {
        /// What the JSON writer said.
        message: String,
    },
}

/// Why bytes could not be decoded. Nothing was produced; the decoder stays usable.
///
/// `offset` counts bytes from the start of the payload (or of the dictionary, where said). It is 0
/// where a dynamic value was read, which has no bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end inside a value, or a length points past their end.
    #[error("payload ends too early, at byte {offset}")]
    Truncated {
        /// Where more was expected.
        offset: usize,
    },
    /// No value starts with this byte.
    #[error("byte {offset} holds the unknown tag {tag:#04x}")]
    UnknownTag {
        /// Where the tag stands.
        offset: usize,
        /// The tag.
        tag: u8,
    },
    /// A string is not UTF-8.
    #[error("string at byte {offset} is not UTF-8")]
    InvalidUtf8 {
        /// Where the string starts.
        offset: usize,
    },
    /// A number has more bits than its place allows.
    #[error("number at byte {offset} is too large")]
    NumberTooLarge {
        /// Where the number starts.
        offset: usize,
    },
    /// A record names a shape that the dictionary does not hold: it may be the wrong dictionary.
    #[error("record at byte {offset} has shape {shape}, the dictionary holds {known}")]
    UnknownShape {
        /// Where the record starts.
        offset: usize,
        /// The shape it names.
        shape: u64,
        /// How many shapes the dictionary holds.
        known: usize,
    },
    /// Values are nested too deep.
    #[error("payload is nested deeper than {max} levels at byte {offset}")]
    TooDeep {
        /// Where the limit was passed.
        offset: usize,
        /// The deepest nesting allowed.
        max: u32,
    },
    /// Bytes are left after the value.
    #[error("payload goes on after its value, at byte {offset}")]
    TrailingBytes {
        /// Where the value ended.
        offset: usize,
    },
    /// The enum has no such variant: the event is newer than this program, or a variant was removed.
    #[error("unknown variant `{variant}` at byte {offset}")]
    UnknownVariant {
        /// Where reading stopped.
        offset: usize,
        /// The variant's name.
        variant: String,
    },
    /// A field without a default is not in the payload.
    #[error("field `{field}` is missing before byte {offset}")]
    MissingField {
        /// Where reading stopped.
        offset: usize,
        /// The field's name.
        field: &'static str,
    },
    /// The payload does not fit the type.
    #[error("{message}, at byte {offset}")]
    Mismatch {
        /// Where reading stopped.
        offset: usize,
        /// What was found and what was expected.
        message: String,
    },
    /// The format version is not one this program reads.
    #[error("format version {found} is unknown, {known} is the newest known")]
    UnknownFormat {
        /// The version found.
        found: u8,
        /// The newest this program reads.
        known: u8,
    },
    /// The dictionary is damaged.
    #[error("dictionary is damaged at byte {offset}: {problem}")]
    Dictionary {
        /// Where, from the start of the dictionary.
        offset: usize,
        /// What is wrong.
        problem: DictionaryProblem,
    },
    /// A few bytes stand for more than a reader would hold.
    #[error("payload stands for more than {max} bytes of names, at byte {offset}")]
    TooLarge {
        /// Where the limit was passed.
        offset: usize,
        /// Most bytes of names allowed.
        max: usize,
    },
    /// The payload is bytes that only their writer can read.
    #[error("payload is opaque: only its writer can read it")]
    Opaque,
    /// A JSON payload does not fit the type or is not JSON.
    #[error("JSON: {message}")]
    Json {
        /// What the JSON reader said, with line and column.
        message: String,
    },
    /// The event was written by a newer program and its type is not forward compatible.
    #[error("`{event_type}` has version {found}, this program knows {known}")]
    UnknownVersion {
        /// The event's type.
        event_type: String,
        /// The version stored.
        found: u32,
        /// The newest this program knows.
        known: u32,
    },
    /// The chain of upcasters has a gap.
    #[error(
        "`{event_type}` of version {found} needs an upcaster from version {missing}, to reach {known}"
    )]
    MissingUpcaster {
        /// The event's type.
        event_type: String,
        /// The version stored.
        found: u32,
        /// The version from which no step leads on.
        missing: u32,
        /// The version to be reached.
        known: u32,
    },
    /// An upcaster failed.
    #[error("upcaster of `{event_type}` from version {from} failed: {source}")]
    Upcast {
        /// The event's type.
        event_type: String,
        /// The version the step starts from.
        from: u32,
        /// Why.
        source: Box<UpcastError>,
    },
}

impl DecodeError {
    #[cold]
    pub(super) fn json(error: &serde_json::Error) -> Self {
        Self::Json {
            message: error.to_string(),
        }
    }

    /// The error with another offset, if it has one into a payload.
    #[cold]
    pub(super) fn shifted(mut self, shift: impl FnOnce(usize) -> usize) -> Self {
        match &mut self {
            Self::Truncated { offset }
            | Self::UnknownTag { offset, .. }
            | Self::InvalidUtf8 { offset }
            | Self::NumberTooLarge { offset }
            | Self::UnknownShape { offset, .. }
            | Self::TooDeep { offset, .. }
            | Self::TrailingBytes { offset }
            | Self::UnknownVariant { offset, .. }
            | Self::MissingField { offset, .. }
            | Self::Mismatch { offset, .. }
            | Self::TooLarge { offset, .. } => *offset = shift(*offset),
            Self::UnknownFormat { .. }
            | Self::Dictionary { .. }
            | Self::Opaque
            | Self::Json { .. }
            | Self::UnknownVersion { .. }
            | Self::MissingUpcaster { .. }
            | Self::Upcast { .. } => {}
        }
        self
    }
}

/// What is wrong with a dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DictionaryProblem {
    /// It ends too early.
    Truncated,
    /// It goes on after its last shape.
    TrailingBytes,
    /// A shape has an unknown kind.
    UnknownKind,
    /// A shape has more fields than possible, or a number of fields that its kind cannot have.
    FieldCount,
    /// A name is too long.
    NameTooLong,
    /// A name is not UTF-8.
    InvalidUtf8,
}

impl fmt::Display for DictionaryProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "it ends too early",
            Self::TrailingBytes => "it goes on after its last shape",
            Self::UnknownKind => "unknown kind of shape",
            Self::FieldCount => "impossible number of fields",
            Self::NameTooLong => "a name is too long",
            Self::InvalidUtf8 => "a name is not UTF-8",
        })
    }
}

/// Why one step of a chain of upcasters failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpcastError {
    /// The old value does not fit the old type of a typed step.
    #[error("old value: {0}")]
    Old(#[source] DecodeError),
    /// The new value of a typed step could not be written.
    #[error("new value: {0}")]
    New(#[source] EncodeError),
    /// The step itself refused the value.
    #[error("refused: {reason}")]
    Refused {
        /// Why, in the words of the step.
        reason: String,
    },
}

impl UpcastError {
    /// The refusal of a step, with its reason.
    pub fn refused(reason: impl Into<String>) -> Self {
        Self::Refused {
            reason: reason.into(),
        }
    }
}

/// An error on its way through serde: one pointer, so that results stay in registers.
#[derive(Debug)]
pub(super) struct Fault<E>(pub(super) Box<E>);

impl<E: fmt::Display> fmt::Display for Fault<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for Fault<E> {}

impl<E> From<E> for Fault<E> {
    #[cold]
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl serde::ser::Error for Fault<EncodeError> {
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Self {
        EncodeError::Refused {
            message: message.to_string(),
        }
        .into()
    }
}

/// Offset of an error that serde made: replaced by [`Fault::located`].
const UNKNOWN_OFFSET: usize = usize::MAX;

impl serde::de::Error for Fault<DecodeError> {
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Self {
        DecodeError::Mismatch {
            offset: UNKNOWN_OFFSET,
            message: message.to_string(),
        }
        .into()
    }

    #[cold]
    fn unknown_variant(variant: &str, _expected: &'static [&'static str]) -> Self {
        DecodeError::UnknownVariant {
            offset: UNKNOWN_OFFSET,
            variant: variant.to_owned(),
        }
        .into()
    }

    #[cold]
    fn missing_field(field: &'static str) -> Self {
        DecodeError::MissingField {
            offset: UNKNOWN_OFFSET,
            field,
        }
        .into()
    }
}

impl Fault<DecodeError> {
    /// The public error, with `at` for the byte if serde made it.
    #[cold]
    pub(super) fn located(self, at: usize) -> DecodeError {
        let mut error = *self.0;
        match &mut error {
            DecodeError::Mismatch { offset, .. }
            | DecodeError::UnknownVariant { offset, .. }
            | DecodeError::MissingField { offset, .. }
                if *offset == UNKNOWN_OFFSET =>
            {
                *offset = at;
            }
            _ => {}
        }
        error
    }
}
