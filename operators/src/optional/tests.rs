//! A minimum over optional values forgot at a restart that it had seen a `None`, since MessagePack writes nothing of something as
//! nothing.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::IpAddr;

use serde_json::Value;

use super::*;

/// Comes back as it was, and also from what was written as an option, except where it is itself nothing.
fn comes_back<T>(value: Option<T>)
where
    T: Serialize + DeserializeOwned + Clone + PartialEq + Debug,
{
    let value = Optional(value);
    // Something stands behind it.
    let bytes = rmp_serde::to_vec_named(&(&value, 7)).unwrap();
    let read: (Optional<T>, u8) = rmp_serde::from_slice(&bytes).unwrap();
    assert_eq!(read, (value.clone(), 7));
    let before = rmp_serde::to_vec_named(&value.0).unwrap();
    if value.0.is_none() || before != [nil::NIL] {
        assert_eq!(rmp_serde::to_vec_named(&value).unwrap(), before);
        let read: Optional<T> = rmp_serde::from_slice(&before).unwrap();
        assert_eq!(read, value);
    } else {
        let read: Optional<T> = rmp_serde::from_slice(&before).unwrap();
        assert_eq!(read, Optional(None));
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Nested(Option<u8>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Nothing;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Line(u8),
    Area { wide: i128, high: f64 },
}

#[test]
fn something_of_nothing_is_not_nothing() {
    comes_back::<Option<u8>>(None);
    comes_back::<Option<u8>>(Some(None));
    comes_back(Some(Some(7u8)));
    comes_back::<()>(None);
    comes_back(Some(()));
    comes_back(Some(Nested(None)));
    comes_back(Some(Nested(Some(3))));
    comes_back(Some(Nothing));
    comes_back(Some(Value::Null));
    comes_back(Some(Some(String::from("a"))));
    comes_back(Some(7u64));
    comes_back::<u64>(None);
}

/// What is in an option is written in any way, and may be a list, as the mark of other places is.
#[test]
fn what_was_written_as_an_option_is_read() {
    comes_back(Some(Some(vec![Some(1u8), None])));
    comes_back(Some(Some(Vec::<()>::new())));
    comes_back(Some(Some(vec![(); 20])));
    comes_back(Some(Some(BTreeMap::from(
        [(1i64, "one"), (-70_000, "two")].map(|(key, value)| (key, value.to_owned())),
    ))));
    comes_back(Some(Some(BTreeMap::from([((), None::<u8>)]))));
    comes_back(Some(Some(Shape::Point)));
    comes_back(Some(Some(Shape::Line(3))));
    comes_back(Some(Some(Shape::Area {
        wide: i128::MIN,
        high: -0.5,
    })));
    comes_back(Some(Some([f32::MAX, f32::MIN_POSITIVE])));
    comes_back(Some(Some((u64::MAX, i64::MIN, true, 'ä'))));
    // Written otherwise for people.
    comes_back(Some(Some(IpAddr::from([127, 0, 0, 1]))));
    comes_back(Some(Some(uuid::Uuid::from_u128(5))));
    comes_back(Some(serde_json::json!({"a": [1, null, {"b": 2.5}]})));
}

/// It is in checkpoints.
#[test]
fn the_mark_is_these_bytes() {
    let bytes = rmp_serde::to_vec(&Optional(Some(()))).unwrap();
    assert_eq!(bytes, [0xd4, 1, 0xc0]);
    assert_eq!(bytes, MARK_BYTES);
}

/// An extension of another meaning is a value as any other.
#[test]
fn other_extensions_are_values() {
    let of = |meaning| Extension::new(meaning, &[1, 2, 3]);
    let bytes = rmp_serde::to_vec(&of(9)).unwrap();
    let copy = copied(&mut rmp_serde::Deserializer::new(bytes.as_slice())).unwrap();
    assert_eq!(copy, bytes);
    assert_ne!(copy, rmp_serde::to_vec(&of(8)).unwrap());
}

#[test]
fn types_that_are_never_nil_are_not_looked_at() {
    assert!(!nil::may_be::<u64>());
    assert!(!nil::may_be::<Vec<Option<u8>>>());
    assert!(!nil::may_be::<(Option<u8>,)>());
    assert!(!nil::may_be::<Shape>());
    assert!(nil::may_be::<Nested>());
    assert!(nil::may_be::<Option<Shape>>());
}
