//! What is encoded can be decoded again, whatever its shape.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use millstream_engine::codec::{Decoder, ShapeWriter, Shapes};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Newtype(Option<u32>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pair(i8, String);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Key {
    Red,
    Number(i16),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Bytes(#[serde(with = "raw")] Vec<u8>);

/// Bytes as bytes rather than as a sequence of numbers.
mod raw {
    use std::fmt;

    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        struct Raw;
        impl Visitor<'_> for Raw {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        deserializer.deserialize_bytes(Raw)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Internal {
    Empty,
    Sized { width: u64, height: Option<i64> },
    Wrapped(Inner),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Empty,
    One(i32),
    Two(i32, String),
    Fields { a: bool },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(i64),
    Text(String),
    Fields { x: i32, y: i32 },
    Enum(Key),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Inner {
    a: u8,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    b: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    c: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Flat {
    id: u32,
    #[serde(flatten)]
    inner: Inner,
    #[serde(flatten)]
    rest: BTreeMap<String, i32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Rich {
    Nothing,
    Unit(Unit),
    Newtype(Newtype),
    Pair(Pair),
    Tuple(u64, Option<Option<i32>>, char),
    Wide(i128, u128, i64, u64),
    Fractions {
        single: f32,
        double: f64,
    },
    Collections {
        list: Vec<Option<Rich>>,
        map: BTreeMap<Key, Vec<u8>>,
        words: BTreeMap<String, Rich>,
    },
    Options {
        a: Option<()>,
        b: Option<Unit>,
        c: Option<Option<Option<bool>>>,
        d: Option<Newtype>,
        e: (),
    },
    Tagged {
        internal: Internal,
        adjacent: Adjacent,
        untagged: Untagged,
        flat: Flat,
    },
    Bytes(Bytes),
    Recursive(Box<Rich>),
    Inner(Inner),
    Array([i16; 3], (), ((), u8)),
}

fn inner() -> impl Strategy<Value = Inner> {
    (any::<u8>(), any::<Option<String>>(), any::<Option<bool>>()).prop_map(|(a, b, c)| Inner {
        a,
        b,
        c,
    })
}

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![Just(Key::Red), any::<i16>().prop_map(Key::Number)]
}

fn tagged() -> impl Strategy<Value = Rich> {
    let internal = prop_oneof![
        Just(Internal::Empty),
        any::<(u64, Option<i64>)>().prop_map(|(width, height)| Internal::Sized { width, height }),
        inner().prop_map(Internal::Wrapped),
    ];
    let adjacent = prop_oneof![
        Just(Adjacent::Empty),
        any::<i32>().prop_map(Adjacent::One),
        any::<(i32, String)>().prop_map(|(a, b)| Adjacent::Two(a, b)),
        any::<bool>().prop_map(|a| Adjacent::Fields { a }),
    ];
    let untagged = prop_oneof![
        any::<i64>().prop_map(Untagged::Number),
        any::<String>().prop_map(Untagged::Text),
        any::<(i32, i32)>().prop_map(|(x, y)| Untagged::Fields { x, y }),
        any::<i16>().prop_map(|n| Untagged::Enum(Key::Number(n))),
    ];
    let rest = prop::collection::btree_map(
        "[d-h][a-z]{0,3}".prop_filter("no clash", |s| s != "id"),
        any::<i32>(),
        0..3,
    );
    let flat = (any::<u32>(), inner(), rest).prop_map(|(id, inner, rest)| Flat { id, inner, rest });
    (internal, adjacent, untagged, flat).prop_map(|(internal, adjacent, untagged, flat)| {
        Rich::Tagged {
            internal,
            adjacent,
            untagged,
            flat,
        }
    })
}

fn options() -> impl Strategy<Value = Rich> {
    (
        any::<Option<()>>(),
        any::<bool>(),
        any::<Option<Option<Option<bool>>>>(),
        any::<Option<Option<u32>>>(),
    )
        .prop_map(|(a, b, c, d)| Rich::Options {
            a,
            b: b.then_some(Unit),
            c,
            d: d.flatten().map(|n| Newtype(Some(n))),
            e: (),
        })
}

fn rich() -> impl Strategy<Value = Rich> {
    let leaf = prop_oneof![
        Just(Rich::Nothing),
        Just(Rich::Unit(Unit)),
        any::<Option<u32>>().prop_map(|n| Rich::Newtype(Newtype(n))),
        any::<(i8, String)>().prop_map(|(a, b)| Rich::Pair(Pair(a, b))),
        any::<(u64, Option<Option<i32>>, char)>().prop_map(|(a, b, c)| Rich::Tuple(a, b, c)),
        any::<(i128, u128, i64, u64)>().prop_map(|(a, b, c, d)| Rich::Wide(a, b, c, d)),
        any::<(f32, f64)>().prop_map(|(single, double)| Rich::Fractions { single, double }),
        options(),
        tagged(),
        any::<Vec<u8>>().prop_map(|bytes| Rich::Bytes(Bytes(bytes))),
        inner().prop_map(Rich::Inner),
        any::<([i16; 3], u8)>().prop_map(|(a, b)| Rich::Array(a, (), ((), b))),
    ];
    leaf.prop_recursive(4, 32, 4, |deeper| {
        let list = prop::collection::vec(prop::option::of(deeper.clone()), 0..4);
        let map = prop::collection::btree_map(key(), any::<Vec<u8>>(), 0..4);
        let words = prop::collection::btree_map(any::<String>(), deeper.clone(), 0..3);
        prop_oneof![
            (list, map, words).prop_map(|(list, map, words)| Rich::Collections {
                list,
                map,
                words
            }),
            deeper.prop_map(|inner| Rich::Recursive(Box::new(inner))),
        ]
    })
}

fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(values: &[T]) {
    let mut writer = ShapeWriter::new();
    let mut decoder = Decoder::new();
    // The second frame meets a writer and a decoder that have learned.
    for _ in 0..2 {
        writer.clear();
        let mut payloads = Vec::new();
        for value in values {
            let mut bytes = Vec::new();
            writer.encode(value, &mut bytes).unwrap();
            payloads.push(bytes);
        }
        let mut dictionary = Vec::new();
        writer.dictionary(&mut dictionary);
        let shapes = Shapes::parse(&dictionary).unwrap();
        for (value, bytes) in values.iter().zip(&payloads) {
            assert_eq!(&decoder.decode::<T>(&shapes, bytes).unwrap(), value);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rich_values_come_back(values in prop::collection::vec(rich(), 1..6)) {
        check(&values);
    }

    #[test]
    fn numbers_come_back(values in any::<Vec<(i8, u8, i16, u16, i32, u32, i64, u64, i128, u128)>>()) {
        check(&values);
    }

    #[test]
    fn strings_come_back(values in any::<Vec<(String, char, Option<String>)>>()) {
        check(&values);
    }
}

#[test]
fn limits_of_numbers_come_back() {
    check(&[i64::MIN, -1, 0, 127, 128, i64::MAX]);
    check(&[u64::MAX, 0]);
    check(&[
        i128::MIN,
        i128::MAX,
        i128::from(i64::MIN) - 1,
        i128::from(u64::MAX),
    ]);
    check(&[u128::MAX, u128::from(u64::MAX) + 1]);
    check(&[f64::MIN, f64::INFINITY, -0.0]);
}
