//! A value that a person has edited as JSON: read along the value that the JSON was made of.
//!
//! JSON does not tell bytes from text, a struct from a map or a number past 64 bits from its digits. The value as it was does,
//! so each part of the JSON is read as the part that stood there; one that reads as before is what it was, bit for bit. What is
//! new, such as another variant's fields, is read as plain JSON is.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::json::{event_from_json, plain_keys};
use super::{Fields, Record, Value};
use crate::codec::error::DecodeError;

impl Value {
    /// This event of type `event_type` with what `json` says, in the form of [`to_json`](Self::to_json). Names that are left
    /// out are left out.
    ///
    /// # Errors
    /// [`DecodeError::Json`] where it says what cannot stand there, such as another variant than the event's.
    pub(in crate::codec) fn edited(
        &self,
        json: &Json,
        event_type: &str,
    ) -> Result<Self, DecodeError> {
        let is_variant = matches!(self, Self::Record(record) if record.variant.is_some());
        if is_variant && variant_of(json) != Some(event_type) {
            return Err(not_variant(event_type));
        }
        match self {
            // It could not be read: all that is known of it is its type.
            Self::Nil => Ok(event_from_json(plain(json), event_type)),
            _ => along(self, json),
        }
    }
}

/// That JSON is not of the variant that an event is.
pub(in crate::codec) fn not_variant(event_type: &str) -> DecodeError {
    fault(&format!("an event of type `{event_type}` stays one"))
}

/// The variant of an enum that JSON shows, if it may show one.
pub(in crate::codec) fn variant_of(json: &Json) -> Option<&str> {
    match json {
        Json::String(name) => Some(name),
        Json::Object(entries) if entries.len() == 1 => entries.keys().next().map(String::as_str),
        _ => None,
    }
}

fn fault(message: &str) -> DecodeError {
    DecodeError::Json {
        message: message.to_owned(),
    }
}

fn along(before: &Value, json: &Json) -> Result<Value, DecodeError> {
    // An old value may have parts that JSON does not show, such as what is in `Some(None)`.
    if *json == before.to_json() {
        return Ok(before.clone());
    }
    Ok(match (before, json) {
        (Value::Some(inner), _) => Value::Some(Box::new(along(inner, json)?)),
        (Value::Unsigned(_) | Value::Signed(_), Json::String(digits)) => integer(digits)?,
        (Value::Float(_), Json::String(text)) => {
            let number = text.parse().map_err(|_| fault("a number is no number"))?;
            Value::Float(number)
        }
        (Value::Float(_), Json::Number(number)) => {
            Value::Float(number.as_f64().unwrap_or(f64::NAN))
        }
        (Value::Bytes(_), Json::String(text)) => Value::Bytes(bytes(text)?),
        (Value::Seq(items), Json::Array(new)) => Value::Seq(list(items, new)?),
        (Value::Map(entries), Json::Object(new)) => Value::Map(object(entries, new)?),
        (Value::Map(entries), Json::Array(new)) => Value::Map(pairs(entries, new)?),
        (Value::Record(record), _) => record_along(record, json)?,
        _ => plain(json),
    })
}

/// JSON of which nothing is known: an object is a struct or a map, and is read as either.
fn plain(json: &Json) -> Value {
    match json {
        Json::Array(items) => Value::Seq(items.iter().map(plain).collect()),
        Json::Object(entries) => {
            let entries = entries.iter();
            let entries = entries.map(|(name, value)| (Value::Text(name.clone()), plain(value)));
            Value::Map(entries.collect())
        }
        other => Value::from(other.clone()),
    }
}

fn list(before: &[Value], new: &[Json]) -> Result<Vec<Value>, DecodeError> {
    let items = new.iter().enumerate();
    // One more is of the kind that the others are of.
    let items = items.map(|(at, json)| match before.get(at).or(before.last()) {
        Some(before) => along(before, json),
        None => Ok(plain(json)),
    });
    items.collect()
}

fn object(
    before: &[(Value, Value)],
    new: &Map<String, Json>,
) -> Result<Vec<(Value, Value)>, DecodeError> {
    let keys =
        plain_keys(before).ok_or_else(|| fault("its keys are no names: it is a list of pairs"))?;
    let entries = new.iter().map(|(name, json)| {
        if let Some(at) = keys.iter().position(|key| key == name) {
            return Ok((before[at].0.clone(), along(&before[at].1, json)?));
        }
        let (key, value) = before
            .first()
            .ok_or_else(|| fault("nothing is known of its keys"))?;
        let key = match key {
            Value::Bool(_) => {
                Value::Bool(name.parse().map_err(|_| fault("a key is no truth value"))?)
            }
            _ => along(key, &Json::String(name.clone()))?,
        };
        Ok((key, along(value, json)?))
    });
    entries.collect()
}

fn pairs(before: &[(Value, Value)], new: &[Json]) -> Result<Vec<(Value, Value)>, DecodeError> {
    let entries = new.iter().enumerate().map(|(at, json)| {
        let Some([key, value]) = json.as_array().map(Vec::as_slice) else {
            return Err(fault("an entry is no pair"));
        };
        match before.get(at).or(before.last()) {
            Some((before, old)) => Ok((along(before, key)?, along(old, value)?)),
            None => Ok((plain(key), plain(value))),
        }
    });
    entries.collect()
}

fn record_along(record: &Record, json: &Json) -> Result<Value, DecodeError> {
    let Some(variant) = &record.variant else {
        let fields = fields(&record.fields, json)?;
        return Ok(Value::record(Arc::clone(&record.type_name), None, fields));
    };
    let name = variant_of(json).ok_or_else(|| fault("an enum is a name, or an object of one"))?;
    let content = json.as_object().and_then(|entries| entries.get(name));
    let fields = match content {
        None => Fields::Unit,
        Some(content) if name == &**variant => fields(&record.fields, content)?,
        Some(Json::Object(entries)) => named(&[], entries)?,
        Some(content) => Fields::Newtype(plain(content)),
    };
    Ok(Value::record(
        Arc::clone(&record.type_name),
        Some(name.into()),
        fields,
    ))
}

fn fields(before: &Fields, json: &Json) -> Result<Fields, DecodeError> {
    Ok(match (before, json) {
        (Fields::Unit, Json::Null) => Fields::Unit,
        (Fields::Newtype(inner), _) => Fields::Newtype(along(inner, json)?),
        (Fields::Positional(items), Json::Array(new)) => Fields::Positional(list(items, new)?),
        (Fields::Named(old), Json::Object(new)) => named(old, new)?,
        _ => return Err(fault("fields are given in another form than they had")),
    })
}

fn named(before: &[(Arc<str>, Value)], new: &Map<String, Json>) -> Result<Fields, DecodeError> {
    let entries = new.iter().map(|(name, json)| {
        let known = before.iter().find(|(old, _)| **old == **name);
        let value = known.map_or_else(|| Ok(plain(json)), |(_, value)| along(value, json));
        Ok((name.as_str().into(), value?))
    });
    Ok(Fields::Named(entries.collect::<Result<_, DecodeError>>()?))
}

fn integer(digits: &str) -> Result<Value, DecodeError> {
    if let Ok(number) = digits.parse() {
        return Ok(Value::Unsigned(number));
    }
    let number = digits
        .parse()
        .map_err(|_| fault("an integer is no integer"))?;
    Ok(Value::Signed(number))
}

fn bytes(text: &str) -> Result<Vec<u8>, DecodeError> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    match digits {
        Some(digits) if digits.len().is_multiple_of(2) => {
            let pairs = digits.chunks_exact(2);
            Ok(pairs.map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
        }
        _ => Err(fault("bytes are pairs of hexadecimal digits")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Kind {
        Cash,
        Card { number: u64 },
    }

    /// Text in JSON, numbers in the binary form.
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Odd(u64);

    impl Serialize for Odd {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if serializer.is_human_readable() {
                serializer.collect_str(&self.0)
            } else {
                serializer.serialize_u64(self.0)
            }
        }
    }

    impl<'de> Deserialize<'de> for Odd {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            if deserializer.is_human_readable() {
                let text = String::deserialize(deserializer)?;
                text.parse().map(Self).map_err(serde::de::Error::custom)
            } else {
                u64::deserialize(deserializer).map(Self)
            }
        }
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Event {
        Paid {
            odd: Odd,
            kind: Kind,
            #[serde(with = "serde_bytes_like")]
            bytes: Vec<u8>,
            wide: i128,
            share: f64,
            inner: Option<Option<u8>>,
            by_id: BTreeMap<u32, (i8, String)>,
            list: Vec<Odd>,
        },
        Closed,
    }

    mod serde_bytes_like {
        use serde::{Deserializer, Serializer, de::Visitor};

        pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
            to.serialize_bytes(bytes)
        }

        pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
            struct Bytes;
            impl Visitor<'_> for Bytes {
                type Value = Vec<u8>;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("bytes")
                }
                fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                    Ok(bytes.to_vec())
                }
            }
            from.deserialize_byte_buf(Bytes)
        }
    }

    fn event() -> impl Strategy<Value = Event> {
        let odd = || any::<u64>().prop_map(Odd);
        let kind = prop_oneof![
            Just(Kind::Cash),
            any::<u64>().prop_map(|number| Kind::Card { number })
        ];
        let inner = prop_oneof![
            Just(None),
            Just(Some(None)),
            any::<u8>().prop_map(|n| Some(Some(n)))
        ];
        let paid = (
            odd(),
            kind,
            any::<Vec<u8>>(),
            any::<i128>(),
            any::<f64>(),
            inner,
            prop::collection::btree_map(any::<u32>(), any::<(i8, String)>(), 0..3),
            prop::collection::vec(odd(), 0..3),
        );
        paid.prop_map(
            |(odd, kind, bytes, wide, share, inner, by_id, list)| Event::Paid {
                odd,
                kind,
                bytes,
                wide,
                share,
                inner,
                by_id,
                list,
            },
        )
    }

    fn edit(before: &Event, change: impl FnOnce(&mut Json)) -> Result<Event, DecodeError> {
        let value = Value::of(before).unwrap();
        let mut json = value.to_json();
        change(&mut json["Paid"]);
        value.edited(&json, "Paid")?.to()
    }

    proptest! {
        /// Goal: what is shown and not touched is what it was, also where one part was.
        #[test]
        fn what_is_not_touched_stays(mut event in event(), new in any::<u64>()) {
            let same = edit(&event, |_| {}).unwrap();
            prop_assert_eq!(format!("{same:?}"), format!("{event:?}"));
            let edited = edit(&event, |paid| paid["odd"] = json!(new)).unwrap();
            if let Event::Paid { odd, .. } = &mut event {
                *odd = Odd(new);
            }
            prop_assert_eq!(format!("{edited:?}"), format!("{event:?}"));
        }
    }

    #[test]
    fn each_part_is_read_as_what_stood_there() {
        let before = Event::Paid {
            odd: Odd(1),
            kind: Kind::Cash,
            bytes: vec![1, 2],
            wide: i128::MAX,
            share: f64::NAN,
            inner: Some(Some(1)),
            by_id: BTreeMap::from([(7, (1, "a".to_owned()))]),
            list: vec![Odd(3)],
        };
        let after = edit(&before, |paid| {
            paid["kind"] = json!({"Card": {"number": 9}});
            paid["bytes"] = json!("ff00");
            paid["wide"] = json!(i128::MIN.to_string());
            paid["share"] = json!(2);
            paid["inner"] = json!(null);
            paid["by_id"]["8"] = json!([-2, "b"]);
            paid["list"] = json!([4, 5]);
        });
        let Event::Paid {
            kind,
            bytes,
            wide,
            share,
            inner,
            by_id,
            list,
            ..
        } = after.unwrap()
        else {
            panic!("another variant");
        };
        assert_eq!(kind, Kind::Card { number: 9 });
        assert_eq!((bytes, wide, share), (vec![255, 0], i128::MIN, 2.0));
        assert!(inner.is_none_or(|inner| inner.is_none()));
        assert_eq!(by_id[&8], (-2, "b".to_owned()));
        assert_eq!(list, [Odd(4), Odd(5)]);
        for refused in [
            edit(&before, |paid| paid["bytes"] = json!("f")),
            edit(&before, |paid| paid["odd"] = json!("many")),
            edit(&before, |paid| *paid = json!([1])),
        ] {
            assert!(refused.is_err(), "{refused:?}");
        }
        let value = Value::of(&before).unwrap();
        let refused = value.edited(&json!("Closed"), "Paid").unwrap_err();
        assert!(refused.to_string().contains("`Paid` stays"), "{refused}");
    }
}
