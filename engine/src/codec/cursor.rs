//! Reads tags, numbers and byte runs out of a slice, and skips values. Knows no types.

use super::error::{DecodeError, Fault};
use super::format::{
    BYTES, F32, F64, FALSE, FIX_INT_MAX, FIX_RECORD, FIX_RECORD_LAST, FIX_STR, FIX_STR_LAST, MAP,
    NEGATIVE, NIL, RECORD, SEQ, SOME, STR, TRUE, UINT,
};
use super::shapes::Shape;

type Outcome<T> = Result<T, Fault<DecodeError>>;

/// A place in a payload.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'de> {
    bytes: &'de [u8],
    at: usize,
}

impl<'de> Cursor<'de> {
    pub(super) fn new(bytes: &'de [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    #[inline]
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Bytes not read yet.
    #[inline]
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    #[cold]
    fn truncated(&self) -> Fault<DecodeError> {
        DecodeError::Truncated { offset: self.at }.into()
    }

    /// The next byte, which stays unread.
    #[inline]
    pub(super) fn peek(&self) -> Outcome<u8> {
        match self.bytes.get(self.at) {
            Some(&byte) => Ok(byte),
            None => Err(self.truncated()),
        }
    }

    /// Passes over a byte that [`peek`](Self::peek) has shown.
    #[inline]
    pub(super) fn pass(&mut self) {
        self.at += 1;
    }

    /// The next byte.
    #[inline]
    pub(super) fn tag(&mut self) -> Outcome<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    /// The next `length` bytes.
    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Outcome<&'de [u8]> {
        match self.bytes[self.at..].get(..length) {
            Some(taken) => {
                self.at += length;
                Ok(taken)
            }
            None => Err(self.truncated()),
        }
    }

    /// The next `length` bytes as a string.
    #[inline]
    pub(super) fn text(&mut self, length: usize) -> Outcome<&'de str> {
        let offset = self.at;
        match std::str::from_utf8(self.take(length)?) {
            Ok(text) => Ok(text),
            Err(_) => Err(DecodeError::InvalidUtf8 { offset }.into()),
        }
    }

    /// A varint of up to 64 bits.
    #[inline]
    pub(super) fn varint(&mut self) -> Outcome<u64> {
        let byte = self.tag()?;
        if byte < 0x80 {
            return Ok(u64::from(byte));
        }
        let start = self.at - 1;
        let mut value = u64::from(byte & 0x7F);
        let mut shift = 7;
        loop {
            let byte = self.tag()?;
            if shift == 63 && byte > 1 {
                return Err(DecodeError::NumberTooLarge { offset: start }.into());
            }
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
        }
    }

    /// A varint of up to 128 bits.
    pub(super) fn varint_wide(&mut self) -> Outcome<u128> {
        let start = self.at;
        let mut value = 0_u128;
        let mut shift = 0;
        loop {
            let byte = self.tag()?;
            if shift == 126 && byte > 3 {
                return Err(DecodeError::NumberTooLarge { offset: start }.into());
            }
            value |= u128::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
        }
    }

    /// A number of bytes or of values that follow. Each value has at least a byte, so a larger number
    /// than the bytes left is refused here, before anything is reserved for it.
    #[inline]
    pub(super) fn count(&mut self) -> Outcome<usize> {
        let count = self.varint()?;
        if count > self.left() as u64 {
            return Err(self.truncated());
        }
        Ok(count as usize)
    }

    pub(super) fn f32(&mut self) -> Outcome<f32> {
        let mut bits = [0; 4];
        bits.copy_from_slice(self.take(4)?);
        Ok(f32::from_bits(u32::from_le_bytes(bits)))
    }

    pub(super) fn f64(&mut self) -> Outcome<f64> {
        let mut bits = [0; 8];
        bits.copy_from_slice(self.take(8)?);
        Ok(f64::from_bits(u64::from_le_bytes(bits)))
    }

    /// The shape of a record whose tag, just read, was `tag`.
    #[inline]
    pub(super) fn shape<'a>(
        &mut self,
        tag: u8,
        shapes: &'a [Shape],
    ) -> Outcome<(usize, &'a Shape)> {
        let start = self.at - 1;
        let id = if tag == RECORD {
            self.varint()?
        } else {
            u64::from(tag - FIX_RECORD)
        };
        match shapes.get(usize::try_from(id).unwrap_or(usize::MAX)) {
            Some(shape) => Ok((id as usize, shape)),
            None => Err(DecodeError::UnknownShape {
                offset: start,
                shape: id,
                known: shapes.len(),
            }
            .into()),
        }
    }

    /// The error for a tag, just read, that starts no value.
    #[cold]
    pub(super) fn unknown_tag(&self, tag: u8) -> Fault<DecodeError> {
        DecodeError::UnknownTag {
            offset: self.at - 1,
            tag,
        }
        .into()
    }

    /// Passes over `values` values, however deep they are: without recursion.
    pub(super) fn skip(&mut self, values: usize, shapes: &[Shape]) -> Outcome<()> {
        let mut waiting = values;
        while waiting > 0 {
            waiting -= 1;
            let inner = match self.tag()? {
                0..=FIX_INT_MAX | NIL | FALSE | TRUE => 0,
                tag @ FIX_STR..=FIX_STR_LAST => {
                    self.take(usize::from(tag - FIX_STR))?;
                    0
                }
                tag @ (FIX_RECORD..=FIX_RECORD_LAST | RECORD) => self.shape(tag, shapes)?.1.count,
                UINT | NEGATIVE => {
                    self.varint_wide()?;
                    0
                }
                F32 => {
                    self.take(4)?;
                    0
                }
                F64 => {
                    self.take(8)?;
                    0
                }
                STR | BYTES => {
                    let length = self.count()?;
                    self.take(length)?;
                    0
                }
                SEQ => self.count()?,
                MAP => self.count()?.saturating_mul(2),
                SOME => 1,
                tag => return Err(self.unknown_tag(tag)),
            };
            waiting = waiting.saturating_add(inner);
        }
        Ok(())
    }
}
