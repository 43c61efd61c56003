//! Keys as columns, and what is asked of them as ranges of bytes.
//!
//! The bytes of a key sort like it, so what a query says of its first parts is a few ranges: of a tuple's parts
//! as long as each is one of few values, and of one more.

use std::ops::Bound;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Int64Array, StringArray, TimestampMicrosecondArray,
    UInt64Array,
};
use datafusion::arrow::datatypes::DataType;
use millstream_operators::projection::{KeyPart, KeyValue};

use super::super::constraint::{ColumnKind, Constraint};
use super::super::events::time;
use super::super::ranges::{Datum, Interval, Ranges, span};
use super::Described;

/// Ranges that are sought one by one; of more all between the first and the last is read.
const RANGES_MAX: usize = 1_024;

/// Bytes between two bounds.
pub(super) type ByteRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

pub(super) fn data_type(part: KeyPart) -> DataType {
    match part {
        KeyPart::Unsigned(8) => DataType::UInt64,
        KeyPart::Unsigned(2 | 4) | KeyPart::Signed(_) => DataType::Int64,
        KeyPart::Bool => DataType::Boolean,
        KeyPart::Time => time(),
        KeyPart::Bytes => DataType::Binary,
        // Numbers of 128 bits too: no type of SQL holds them.
        _ => DataType::Utf8,
    }
}

/// The parts of a key; `None` when the bytes are no such key.
pub(super) fn parts(keys: &[KeyPart], mut bytes: &[u8]) -> Option<Vec<KeyValue>> {
    let last = keys.len() - 1;
    let parts = keys.iter().enumerate();
    let parts = parts.map(|(at, part)| part.read(&mut bytes, at == last));
    let parts = parts.collect::<Option<_>>()?;
    bytes.is_empty().then_some(parts)
}

/// One part of many keys.
pub(super) fn array(part: KeyPart, values: Vec<&KeyValue>) -> ArrayRef {
    let values = values.into_iter();
    let number = |value: &KeyValue| match value {
        KeyValue::Unsigned(number) => i128::try_from(*number).unwrap_or(i128::MAX),
        KeyValue::Signed(number) => (*number).into(),
        KeyValue::Time(time) => time.as_micros().into(),
        KeyValue::Bool(value) => i128::from(*value),
        _ => 0,
    };
    // Each part gives values of its own kind, whose numbers fit its type.
    match data_type(part) {
        DataType::UInt64 => Arc::new(UInt64Array::from_iter_values(
            values.map(|value| number(value) as u64),
        )),
        DataType::Int64 => Arc::new(Int64Array::from_iter_values(
            values.map(|value| number(value) as i64),
        )),
        DataType::Boolean => Arc::new(BooleanArray::from_iter(
            values.map(|value| Some(number(value) == 1)),
        )),
        DataType::Binary => Arc::new(BinaryArray::from_iter_values(values.map(
            |value| match value {
                KeyValue::Bytes(bytes) => bytes.as_slice(),
                _ => &[],
            },
        ))),
        DataType::Utf8 => Arc::new(StringArray::from_iter_values(values.map(
            |value| match value {
                KeyValue::Text(text) => text.clone(),
                KeyValue::Unsigned(number) => number.to_string(),
                _ => String::new(),
            },
        ))),
        zoned => {
            let times = values.map(|value| number(value) as i64);
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_data_type(zoned))
        }
    }
}

/// What keys are, told from some of them; bytes where that is not certain.
///
/// Texts are told by their characters, numbers by what is small: 8 bytes that begin with four zeros can only be a
/// `u64`, or two `u32` of which the first is always 0; those that begin with 128 or 127 and then with the sign again a
/// signed one.
pub(in crate::sql) fn guess<'k>(keys: impl Iterator<Item = &'k [u8]> + Clone) -> Vec<KeyPart> {
    let all = |is: &dyn Fn(&[u8]) -> bool| keys.clone().all(is);
    let is_text = |key: &[u8]| {
        std::str::from_utf8(key)
            .is_ok_and(|text| !text.is_empty() && !text.contains(char::is_control))
    };
    let is_small = |key: &[u8]| matches!(key, [0x80, 0, ..] | [0x7f, 0xff, ..]);
    let part = if keys.clone().next().is_none() {
        KeyPart::Bytes
    } else if all(&is_text) {
        KeyPart::Text
    } else if all(&|key| key.len() == 8 && key[..4] == [0; 4]) {
        KeyPart::Unsigned(8)
    } else if all(&|key| key.len() == 8 && is_small(key)) {
        KeyPart::Signed(8)
    } else if all(&|key| key.len() == 4 && key[0] == 0) {
        KeyPart::Unsigned(4)
    } else if all(&|key| key.len() == 4 && is_small(key)) {
        KeyPart::Signed(4)
    } else {
        KeyPart::Bytes
    };
    vec![part]
}

/// What a column of the key is compared as; `None` for others.
pub(super) fn kind_of(described: &Described, column: &str) -> Option<ColumnKind> {
    let names = described.key_names();
    let at = names.iter().position(|name| name == column)?;
    match described.keys[at] {
        KeyPart::Text => Some(ColumnKind::Text),
        KeyPart::Time => Some(ColumnKind::Time),
        part => part.numbers().map(|_| ColumnKind::Number),
    }
}

/// The ranges of bytes in which all keys lie that the constraint lets pass, in their order.
pub(super) fn ranges(described: &Described, constraint: &Constraint) -> Vec<ByteRange> {
    let mut prefixes = vec![Vec::new()];
    let last = described.keys.len() - 1;
    for (at, (name, part)) in described
        .key_names()
        .iter()
        .zip(&described.keys)
        .enumerate()
    {
        let Some(ranges) = constraint.column(name) else {
            break;
        };
        let is_last = at == last;
        let count = prefixes.len() * ranges.intervals().len();
        if is_last || ranges.points().is_none() || count > RANGES_MAX {
            let ranges = (count <= RANGES_MAX).then_some(ranges);
            let each = prefixes.iter();
            let found = each.flat_map(|prefix| within(prefix, *part, is_last, ranges));
            return in_order(found.collect());
        }
        let each = prefixes.iter();
        let longer = each.flat_map(|prefix| points(prefix, *part, ranges));
        prefixes = longer.collect();
    }
    let found = prefixes.into_iter().map(beginning_with);
    in_order(found.collect())
}

/// A prefix with each of some values of the next part, which is not the last.
fn points(prefix: &[u8], part: KeyPart, ranges: &Ranges) -> Vec<Vec<u8>> {
    let points = ranges.points().unwrap_or_default().into_iter();
    let longer = points.filter_map(|point| {
        let mut bytes = prefix.to_vec();
        match point {
            Datum::Text(text) => {
                KeyPart::write_text(text, false, &mut bytes);
                bytes.extend(KeyPart::TEXT_END);
            }
            Datum::Number(number) => part.write_number(*number, &mut bytes)?,
        }
        Some(bytes)
    });
    longer.collect()
}

/// The ranges of one part behind a prefix; all of it without any.
fn within(prefix: &[u8], part: KeyPart, is_last: bool, ranges: Option<&Ranges>) -> Vec<ByteRange> {
    let Some(ranges) = ranges else {
        return vec![beginning_with(prefix.to_vec())];
    };
    let intervals = ranges.intervals().iter();
    let found = intervals.filter_map(|interval| match part.numbers() {
        Some((least, largest)) => {
            let (from, to) = span(interval, least, largest)?;
            let mut bounds = (prefix.to_vec(), prefix.to_vec());
            part.write_number(from, &mut bounds.0)?;
            part.write_number(to, &mut bounds.1)?;
            Some((Bound::Included(bounds.0), beginning_with(bounds.1).1))
        }
        None => Some(texts(prefix, is_last, interval)),
    });
    found.collect()
}

/// A range of texts: at least as wide as what was asked for.
fn texts(prefix: &[u8], is_last: bool, (from, to): &Interval) -> ByteRange {
    let bytes = |datum: &Datum| {
        let mut bytes = prefix.to_vec();
        if let Datum::Text(text) = datum {
            KeyPart::write_text(text, is_last, &mut bytes);
        }
        bytes
    };
    let whole = beginning_with(prefix.to_vec());
    let from = match from {
        Bound::Included(datum) | Bound::Excluded(datum) => Bound::Included(bytes(datum)),
        Bound::Unbounded => whole.0,
    };
    let to = match to {
        Bound::Included(datum) if is_last => Bound::Included(bytes(datum)),
        Bound::Included(datum) => beginning_with(bytes(datum)).1,
        Bound::Excluded(datum) => Bound::Excluded(bytes(datum)),
        Bound::Unbounded => whole.1,
    };
    (from, to)
}

fn beginning_with(prefix: Vec<u8>) -> ByteRange {
    let mut end = prefix.clone();
    // The last byte that can be raised, and none behind it.
    while end.pop_if(|last| *last == u8::MAX).is_some() {}
    let to = match end.last_mut() {
        Some(last) => {
            *last += 1;
            Bound::Excluded(end)
        }
        None => Bound::Unbounded,
    };
    (Bound::Included(prefix), to)
}

/// The ranges by where they begin, those that meet as one: no row may be read twice.
fn in_order(mut ranges: Vec<ByteRange>) -> Vec<ByteRange> {
    // All begin at a key that is in them.
    let start = |range: &ByteRange| match &range.0 {
        Bound::Included(from) | Bound::Excluded(from) => from.clone(),
        Bound::Unbounded => Vec::new(),
    };
    ranges.sort_by_cached_key(start);
    let mut merged: Vec<ByteRange> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(before) if reaches(&before.1, &start(&range)) => {
                if is_further(&range.1, &before.1) {
                    before.1 = range.1;
                }
            }
            _ => merged.push(range),
        }
    }
    merged
}

fn reaches(end: &Bound<Vec<u8>>, start: &[u8]) -> bool {
    match end {
        Bound::Included(end) | Bound::Excluded(end) => end.as_slice() >= start,
        Bound::Unbounded => true,
    }
}

fn is_further(end: &Bound<Vec<u8>>, than: &Bound<Vec<u8>>) -> bool {
    match (end, than) {
        (_, Bound::Unbounded) => false,
        (Bound::Unbounded, _) => true,
        (Bound::Included(end), Bound::Excluded(than)) => end >= than,
        (
            Bound::Included(end) | Bound::Excluded(end),
            Bound::Included(than) | Bound::Excluded(than),
        ) => end > than,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_operators::projection::TableKey;

    fn keys<K: TableKey>(keys: impl IntoIterator<Item = K>) -> Vec<Vec<u8>> {
        let keys = keys.into_iter().map(|key| {
            let mut bytes = Vec::new();
            key.write(&mut bytes);
            bytes
        });
        keys.collect()
    }

    fn guessed(keys: &[Vec<u8>]) -> KeyPart {
        guess(keys.iter().map(Vec::as_slice))[0]
    }

    #[test]
    fn plain_keys_are_told_and_others_stay_bytes() {
        assert_eq!(
            guessed(&keys(["ann".to_owned(), "bob".to_owned()])),
            KeyPart::Text
        );
        assert_eq!(guessed(&keys([1u64, 70_000])), KeyPart::Unsigned(8));
        assert_eq!(guessed(&keys([-5i64, 1_700_000_000])), KeyPart::Signed(8));
        assert_eq!(guessed(&keys([1u32, 9])), KeyPart::Unsigned(4));
        assert_eq!(guessed(&keys([(1u32, 2u32), (7, 8)])), KeyPart::Bytes);
        assert_eq!(guessed(&[]), KeyPart::Bytes);
    }
}
