//! Values with parts: records with named fields, and sequences, tuples and maps.

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};

use super::error::{EncodeError, Fault};
use super::format::{self, FIX_RECORD};
use super::serializer::Ser;
use super::writer::{Head, same};

type Outcome<T = ()> = Result<T, Fault<EncodeError>>;

/// A struct or struct variant. Its shape is guessed at the start, checked field by field, and put
/// right at the end if the guess failed (a field was skipped, or the shape is new).
pub(super) struct Fields<'b, 'a> {
    ser: &'b mut Ser<'a>,
    head: Head,
    /// Where the tag of the record stands; it is followed by the number of the shape.
    at: usize,
    tag_len: usize,
    /// The shape that agrees with all fields so far; if none does, `names` holds them.
    known: Option<u32>,
    index: usize,
    /// Whether the number written at `at` is not that of `known`.
    stale: bool,
    names: Vec<&'static str>,
}

impl<'b, 'a> Fields<'b, 'a> {
    #[inline]
    pub(super) fn new(ser: &'b mut Ser<'a>, head: Head) -> Outcome<Self> {
        ser.enter()?;
        let at = ser.out.len();
        let known = ser.writer.guess(&head);
        let stale = match known.and_then(|known| ser.writer.number(known)) {
            Some(id) => {
                format::put_record(ser.out, id);
                false
            }
            None => {
                ser.out.push(FIX_RECORD);
                true
            }
        };
        let tag_len = ser.out.len() - at;
        Ok(Self {
            ser,
            head,
            at,
            tag_len,
            known,
            index: 0,
            stale,
            names: Vec::new(),
        })
    }

    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Outcome {
        match self.known {
            Some(known) => match self.ser.writer.fields(known).get(self.index) {
                Some(field) if same(field, key) => {}
                _ => self.diverge(known, key),
            },
            None => self.names.push(key),
        }
        self.index += 1;
        value.serialize(&mut *self.ser)
    }

    #[cold]
    fn diverge(&mut self, known: u32, key: &'static str) {
        self.stale = true;
        self.known = self
            .ser
            .writer
            .alternative(&self.head, known, self.index, key);
        if self.known.is_none() {
            self.names = self.ser.writer.fields(known)[..self.index].to_vec();
            self.names.push(key);
        }
    }

    #[inline]
    fn finish(self) -> Outcome {
        self.ser.leave();
        match self.known {
            Some(known) if !self.stale && self.ser.writer.fields(known).len() == self.index => {
                Ok(())
            }
            _ => self.settle(),
        }
    }

    #[cold]
    fn settle(self) -> Outcome {
        let writer = &mut *self.ser.writer;
        let known = match self.known {
            Some(known) if writer.fields(known).len() == self.index => known,
            Some(longer) => {
                let names = writer.fields(longer)[..self.index].to_vec();
                writer.intern(&self.head, &names)?
            }
            None => writer.intern(&self.head, &self.names)?,
        };
        let id = writer.assign(known);
        let mut tag = Vec::with_capacity(11);
        format::put_record(&mut tag, id);
        format::replace(self.ser.out, self.at, self.tag_len, &tag);
        Ok(())
    }
}

impl SerializeStruct for Fields<'_, '_> {
    type Ok = ();
    type Error = Fault<EncodeError>;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Outcome {
        self.field(key, value)
    }

    #[inline]
    fn end(self) -> Outcome {
        self.finish()
    }
}

impl SerializeStructVariant for Fields<'_, '_> {
    type Ok = ();
    type Error = Fault<EncodeError>;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Outcome {
        self.field(key, value)
    }

    #[inline]
    fn end(self) -> Outcome {
        self.finish()
    }
}

/// How the count of [`Items`] stands in the output.
#[derive(Clone, Copy)]
enum Count {
    /// After the tag, as announced, in so many bytes: put right at the end.
    Written { announced: usize, bytes: usize },
    /// In the shape: must be right.
    Fixed(usize),
}

/// A sequence, a tuple, a tuple variant or a map.
pub(super) struct Items<'b, 'a> {
    ser: &'b mut Ser<'a>,
    /// Where the count stands.
    at: usize,
    count: Count,
    written: usize,
}

impl<'b, 'a> Items<'b, 'a> {
    pub(super) fn new(ser: &'b mut Ser<'a>, tag: u8, len: Option<usize>) -> Outcome<Self> {
        ser.enter()?;
        let announced = len.unwrap_or(0);
        let at = ser.out.len() + 1;
        format::put_tagged(ser.out, tag, announced as u64);
        let bytes = ser.out.len() - at;
        Ok(Self {
            ser,
            at,
            count: Count::Written { announced, bytes },
            written: 0,
        })
    }

    pub(super) fn fixed(ser: &'b mut Ser<'a>, len: usize) -> Outcome<Self> {
        ser.enter()?;
        Ok(Self {
            ser,
            at: 0,
            count: Count::Fixed(len),
            written: 0,
        })
    }

    #[inline]
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Outcome {
        self.written += 1;
        value.serialize(&mut *self.ser)
    }

    #[inline]
    fn finish(self) -> Outcome {
        self.ser.leave();
        match self.count {
            Count::Fixed(announced) if announced != self.written => Err(EncodeError::WrongLength {
                announced,
                written: self.written,
            }
            .into()),
            Count::Written { announced, bytes } if announced != self.written => {
                let mut count = Vec::with_capacity(10);
                format::put_varint(&mut count, self.written as u64);
                format::replace(self.ser.out, self.at, bytes, &count);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl SerializeSeq for Items<'_, '_> {
    type Ok = ();
    type Error = Fault<EncodeError>;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Outcome {
        self.item(value)
    }

    #[inline]
    fn end(self) -> Outcome {
        self.finish()
    }
}

impl SerializeTuple for Items<'_, '_> {
    type Ok = ();
    type Error = Fault<EncodeError>;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Outcome {
        self.item(value)
    }

    #[inline]
    fn end(self) -> Outcome {
        self.finish()
    }
}

impl SerializeTupleStruct for Items<'_, '_> {
    type Ok = ();
    type Error = Fault<EncodeError>;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Outcome {
        self.item(value)
    }

    #[inline]
    fn end(self) -> Outcome {
        self.finish()
    }
}

impl SerializeTupleVariant for Items<'_, '_> {
    type Ok = ();
    type Error = Fault<EncodeError>;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Outcome {
        self.item(value)
    }

    #[inline]
    fn end(self) -> Outcome {
        self.finish()
    }
}

impl SerializeMap for Items<'_, '_> {
    type Ok = ();
    type Error = Fault<EncodeError>;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Outcome {
        self.item(key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Outcome {
        value.serialize(&mut *self.ser)
    }

    #[inline]
    fn end(self) -> Outcome {
        self.finish()
    }
}
