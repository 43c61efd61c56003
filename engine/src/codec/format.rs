//! The bytes of the binary payload format: tags, numbers, limits. Format version 1.
//!
//! A value is one tag byte and what follows it. Names never stand in a value: a struct or an enum
//! variant is a *record*, which names its shape by number; the shapes stand in the dictionary that is
//! stored once beside all the values that use it (one per frame of the log).
//!
//! | tag | value | what follows |
//! |---|---|---|
//! | `00..=7F` | unsigned 0 to 127 | nothing |
//! | `80..=9F` | string of 0 to 31 bytes | its UTF-8 |
//! | `A0..=BF` | record of shape 0 to 31 | its fields, in the order of the shape |
//! | `C0` | nil: unit, unit struct, `None` | nothing |
//! | `C1`, `C2` | false, true | nothing |
//! | `C3` | unsigned `n` | varint `n` (up to 128 bits) |
//! | `C4` | negative `n` | varint `-1 - n` (up to 128 bits) |
//! | `C5`, `C6` | f32, f64 | 4 or 8 bytes, IEEE 754, little-endian |
//! | `C7` | string | varint length in bytes, UTF-8 |
//! | `C8` | bytes | varint length, the bytes |
//! | `C9` | sequence, tuple, tuple struct | varint count, the items |
//! | `CA` | map | varint count of pairs, then key, value, key, value |
//! | `CB` | `Some` around a nil or around another `CB` | the value inside |
//! | `CC` | record of any shape | varint shape, its fields |
//! | `CD..=FF` | reserved, refused | |
//!
//! `Some(x)` is otherwise written as `x` alone, a newtype struct as what it wraps, a char as a string.
//! So `T` may become `Option<T>` or a newtype without a new version. A varint is LEB128: 7 bits per
//! byte, least significant first, the high bit set on all but the last byte.
//!
//! Dictionary: `01` (format version), varint count, then per shape: kind (`00` struct, `01` unit
//! variant, `02` newtype variant, `03` tuple variant, `04` struct variant), type name, variant name
//! (kinds 1 to 4), varint field count, field names (kinds 0 and 4). A name is a varint length and UTF-8.
//! Shapes are numbered from 0 in this order.
//!
//! Standalone value (snapshots, dead letters): `01` (format version), varint length of the dictionary,
//! the dictionary, the value. A dictionary without shapes may be left out, here (length 0) and in a frame.

/// Version byte of the dictionary and of the standalone form.
pub(super) const FORMAT_VERSION: u8 = 1;

pub(super) const FIX_INT_MAX: u8 = 0x7F;
pub(super) const FIX_STR: u8 = 0x80;
pub(super) const FIX_STR_LAST: u8 = 0x9F;
pub(super) const FIX_RECORD: u8 = 0xA0;
pub(super) const FIX_RECORD_LAST: u8 = 0xBF;
pub(super) const NIL: u8 = 0xC0;
pub(super) const FALSE: u8 = 0xC1;
pub(super) const TRUE: u8 = 0xC2;
pub(super) const UINT: u8 = 0xC3;
pub(super) const NEGATIVE: u8 = 0xC4;
pub(super) const F32: u8 = 0xC5;
pub(super) const F64: u8 = 0xC6;
pub(super) const STR: u8 = 0xC7;
pub(super) const BYTES: u8 = 0xC8;
pub(super) const SEQ: u8 = 0xC9;
pub(super) const MAP: u8 = 0xCA;
pub(super) const SOME: u8 = 0xCB;
pub(super) const RECORD: u8 = 0xCC;

/// Deepest nesting of compound values, written or read: a hostile payload must not end the stack.
pub(super) const DEPTH_MAX: u32 = 128;
/// Fields of one shape.
pub(super) const FIELDS_MAX: usize = 4_096;
/// Bytes of one name. Bounds what a payload of one-byte records can make a reader copy.
pub(super) const NAME_BYTES_MAX: usize = 1_024;

/// What a shape describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(super) enum Kind {
    Struct = 0,
    UnitVariant = 1,
    NewtypeVariant = 2,
    TupleVariant = 3,
    StructVariant = 4,
}

impl Kind {
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Struct,
            1 => Self::UnitVariant,
            2 => Self::NewtypeVariant,
            3 => Self::TupleVariant,
            4 => Self::StructVariant,
            _ => return None,
        })
    }

    /// Whether the dictionary lists the names of the fields.
    pub(super) fn has_names(self) -> bool {
        matches!(self, Self::Struct | Self::StructVariant)
    }
}

/// Appends a varint.
#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    if value < 0x80 {
        out.push(value as u8);
        return;
    }
    let mut buffer = [0_u8; 10];
    let mut length = 0;
    while value >= 0x80 {
        buffer[length] = value as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    buffer[length] = value as u8;
    out.extend_from_slice(&buffer[..=length]);
}

/// Appends a varint of more than 64 bits.
#[cold]
pub(super) fn put_varint_wide(out: &mut Vec<u8>, mut value: u128) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends the tag of an unsigned number, and the number.
#[inline]
pub(super) fn put_unsigned(out: &mut Vec<u8>, value: u64) {
    if value <= u64::from(FIX_INT_MAX) {
        out.push(value as u8);
    } else {
        put_tagged(out, UINT, value);
    }
}

/// Appends the tag of a signed number, and the number.
#[inline]
pub(super) fn put_signed(out: &mut Vec<u8>, value: i64) {
    if value >= 0 {
        put_unsigned(out, value as u64);
    } else {
        put_tagged(out, NEGATIVE, !value as u64);
    }
}

/// Appends a tag and a varint with one check of the capacity.
#[inline]
pub(super) fn put_tagged(out: &mut Vec<u8>, tag: u8, mut value: u64) {
    let mut buffer = [0_u8; 11];
    buffer[0] = tag;
    let mut length = 1;
    while value >= 0x80 {
        buffer[length] = value as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    buffer[length] = value as u8;
    out.extend_from_slice(&buffer[..=length]);
}

/// Appends the tag of a string, and the string.
#[inline]
pub(super) fn put_str(out: &mut Vec<u8>, value: &str) {
    let length = value.len();
    if length <= usize::from(FIX_STR_LAST - FIX_STR) {
        out.reserve(length + 1);
        out.push(FIX_STR + length as u8);
    } else {
        put_tagged(out, STR, length as u64);
    }
    out.extend_from_slice(value.as_bytes());
}

/// Appends the tag of a record; its fields follow.
#[inline]
pub(super) fn put_record(out: &mut Vec<u8>, shape: u32) {
    if shape <= u32::from(FIX_RECORD_LAST - FIX_RECORD) {
        out.push(FIX_RECORD + shape as u8);
    } else {
        put_tagged(out, RECORD, u64::from(shape));
    }
}

/// Replaces the `old_len` bytes at `at` by `new`, moving what follows if the lengths differ.
pub(super) fn replace(out: &mut Vec<u8>, at: usize, old_len: usize, new: &[u8]) {
    if new.len() == old_len {
        out[at..at + old_len].copy_from_slice(new);
    } else {
        out.splice(at..at + old_len, new.iter().copied());
    }
}
