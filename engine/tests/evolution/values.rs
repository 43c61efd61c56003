//! Dynamic values: all that was encoded passes through them, and no bytes harm them.

use std::collections::BTreeMap;

use millstream_engine::codec::{Fields, ShapeWriter};
use proptest::prelude::*;

use super::super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Any {
    Nothing,
    Numbers(i128, u128, i8, u64),
    Floats {
        single: f32,
        double: f64,
    },
    Options(Option<Option<()>>, Option<u8>, Option<Option<Option<bool>>>),
    Text(String, char),
    Bare(Box<Any>),
    Fields {
        list: Vec<Any>,
        map: BTreeMap<i16, Any>,
        inner: Inner,
        unit: (),
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Inner {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    id: Option<[u8; 3]>,
    name: String,
}

fn any_value() -> impl Strategy<Value = Any> {
    let leaf = prop_oneof![
        Just(Any::Nothing),
        any::<(i128, u128, i8, u64)>().prop_map(|(a, b, c, d)| Any::Numbers(a, b, c, d)),
        any::<(f32, f64)>().prop_map(|(single, double)| Any::Floats { single, double }),
        any::<(Option<Option<()>>, Option<u8>, Option<Option<Option<bool>>>)>()
            .prop_map(|(a, b, c)| Any::Options(a, b, c)),
        any::<(String, char)>().prop_map(|(a, b)| Any::Text(a, b)),
    ];
    leaf.prop_recursive(4, 24, 4, |deeper| {
        let list = prop::collection::vec(deeper.clone(), 0..4);
        let map = prop::collection::btree_map(any::<i16>(), deeper.clone(), 0..3);
        let inner = any::<(Option<[u8; 3]>, String)>().prop_map(|(id, name)| Inner { id, name });
        prop_oneof![
            (list, map, inner).prop_map(|(list, map, inner)| Any::Fields {
                list,
                map,
                inner,
                unit: ()
            }),
            deeper.prop_map(|inner| Any::Bare(Box::new(inner))),
        ]
    })
}

/// A dictionary with a shape of every kind, so that random payloads go somewhere.
fn rich_dictionary() -> Vec<u8> {
    let mut writer = ShapeWriter::new();
    let mut scrap = Vec::new();
    let inner = Inner {
        id: Some([1, 2, 3]),
        name: String::new(),
    };
    let fields = Any::Fields {
        list: vec![Any::Nothing, Any::Bare(Box::new(Any::Numbers(1, 1, 1, 1)))],
        map: BTreeMap::new(),
        inner,
        unit: (),
    };
    writer.encode(&fields, &mut scrap).unwrap();
    let mut dictionary = Vec::new();
    writer.dictionary(&mut dictionary);
    dictionary
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn values_come_back_through_dynamic_ones(value in any_value()) {
        let dynamic = Value::of(&value).unwrap();
        prop_assert_eq!(&dynamic.to::<Any>().unwrap(), &value);
        dynamic.to_json();
    }

    #[test]
    fn random_payloads_never_panic(payload in any::<Vec<u8>>()) {
        let _ = payload_to_json(Encoding::Binary, &rich_dictionary(), &payload);
        let _ = payload_to_json(Encoding::Json, &[], &payload);
    }

    /// Mostly tags that hold something, to get deep.
    #[test]
    fn nested_payloads_never_panic(
        payload in prop::collection::vec(
            prop_oneof![0xA0..=0xA5_u8, 0xC0..=0xCD_u8, 0..4_u8, any::<u8>()], 0..400,
        ),
    ) {
        let _ = payload_to_json(Encoding::Binary, &rich_dictionary(), &payload);
        let shapes = Shapes::parse(&rich_dictionary()).unwrap();
        if let Ok(value) = Value::decode(&shapes, &payload) {
            let _ = value.to_json();
            let _ = value.to::<Any>();
        }
    }

    #[test]
    fn random_dictionaries_never_panic(dictionary in any::<Vec<u8>>(), payload in any::<Vec<u8>>()) {
        let _ = payload_to_json(Encoding::Binary, &dictionary, &payload);
        let _ = payload_to_json(Encoding::Binary, &[&[1], &dictionary[..]].concat(), &payload);
        let _ = from_slice::<Any>(&payload);
        let _ = from_slice::<Any>(&[&[1], &payload[..]].concat());
    }

    #[test]
    fn damaged_payloads_never_panic(value in any_value(), at in any::<usize>(), byte in any::<u8>()) {
        let mut bytes = to_vec(&value).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = from_slice::<Any>(&bytes);
    }
}

#[test]
fn hostile_nesting_and_names_are_refused() {
    for tag in [vec![0xCB], vec![0xC9, 1], vec![0xCA, 1, 0]] {
        let mut payload = tag.repeat(200);
        payload.push(0);
        let error = payload_to_json(Encoding::Binary, &[], &payload).unwrap_err();
        assert!(matches!(error, DecodeError::TooDeep { .. }), "{error}");
    }
    // A count that promises far more than there is.
    let error = payload_to_json(Encoding::Binary, &[], &[0xC9, 0xFF, 0xFF, 0xFF, 0x7F, 0]);
    assert!(matches!(error, Err(DecodeError::Truncated { .. })));

    // One shape with a name of 1,024 bytes, used at each byte of the payload.
    let mut dictionary = vec![1, 1, 1, 0, 0x80, 8];
    dictionary.extend([b'x'; 1_024]);
    dictionary.push(0);
    let count = 70_000_u32;
    let mut payload = vec![0xC9, 0xF0, 0xA2, 4];
    payload.extend(std::iter::repeat_n(0xA0, count as usize));
    let error = payload_to_json(Encoding::Binary, &dictionary, &payload).unwrap_err();
    assert!(matches!(error, DecodeError::TooLarge { .. }), "{error}");
}

#[test]
fn fields_are_found_changed_and_removed() {
    let mut value = Value::variant("E", "Opened", [("a", Value::from(1_u8))]);
    assert_eq!(value.event_type(), Some("Opened"));
    assert_eq!(value.set("b", "x").unwrap(), None);
    assert_eq!(value.set("a", -2_i32).unwrap(), Some(Value::Unsigned(1)));
    assert_eq!(value.get("a").and_then(Value::as_i64), Some(-2));
    assert!(value.rename_field("a", "c"));
    assert!(!value.rename_field("a", "d"));
    assert_eq!(value.remove("a"), None);
    value.rename("Begun").unwrap();
    assert_eq!(value.to_json(), json!({"Begun": {"c": -2, "b": "x"}}));
    assert!(value.rename_field("b", "c"));
    assert_eq!(value.to_json(), json!({"Begun": {"c": "x"}}));

    // A variant around a struct counts as the struct.
    #[derive(Serialize)]
    enum Outer {
        Wrapped(Inner),
    }
    let mut value = Value::of(&Outer::Wrapped(Inner {
        id: None,
        name: "n".to_owned(),
    }))
    .unwrap();
    value.set("id", Value::Nil).unwrap();
    assert!(value.rename_field("name", "title"));
    assert_eq!(
        value.to_json(),
        json!({"Wrapped": {"title": "n", "id": null}})
    );

    // What has no names refuses, and stays as it was.
    let mut number = Value::from(7_u8);
    number.set("a", true).unwrap_err();
    number.rename("X").unwrap_err();
    assert_eq!(number, Value::Unsigned(7));
}

#[test]
fn json_keeps_what_it_has_no_word_for_as_text() {
    let cases = [
        (Value::Unsigned(u128::MAX), json!(u128::MAX.to_string())),
        (Value::Signed(i128::MIN), json!(i128::MIN.to_string())),
        (Value::Float(f64::NAN), json!("NaN")),
        (Value::Float(f64::NEG_INFINITY), json!("-inf")),
        (Value::Bytes(vec![0, 255]), json!("00ff")),
        (Value::Some(Box::new(Value::Nil)), json!(null)),
        (
            Value::Map(vec![(Value::from(1_u8), Value::Bool(true))]),
            json!({"1": true}),
        ),
        (
            Value::Map(vec![
                (Value::from(1_u8), Value::Nil),
                (Value::from("1"), Value::Nil),
            ]),
            json!([[1, null], ["1", null]]),
        ),
        (
            Value::Map(vec![(Value::Seq(Vec::new()), Value::Nil)]),
            json!([[[], null]]),
        ),
    ];
    for (value, expected) in cases {
        assert_eq!(value.to_json(), expected, "{value:?}");
    }
}

#[test]
fn options_become_values_as_the_codec_writes_them() {
    assert_eq!(Value::from(Some(1_u8)), Value::Unsigned(1));
    assert_eq!(Value::from(None::<u8>), Value::Nil);
    let nested = Value::from(Some(None::<u8>));
    assert_eq!(nested, Value::of(&Some(None::<u8>)).unwrap());
    assert_eq!(nested.to::<Option<Option<u8>>>().unwrap(), Some(None));
}

#[test]
fn a_reader_that_meets_many_shapes_forgets_some() {
    // Field names made up by an upcaster must not fill the reader's memory, nor mislead it.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Open {
        kept: u64,
    }
    impl Event for Open {
        const VERSION: u32 = 2;
        fn upcasters() -> Upcasters {
            Upcasters::none().step("Open", 1, |mut event| {
                let kept = event
                    .get("kept")
                    .and_then(Value::as_u64)
                    .unwrap_or_default();
                event.set(&format!("made up {kept}"), kept)?;
                Ok(event)
            })
        }
    }
    let mut reader = EventReader::<Open>::new();
    let mut stored = store(&Open { kept: 0 });
    stored.kind.schema_version = 1;
    for kept in 0..3_000 {
        let fresh = store(&Open { kept });
        reader.begin_frame(&fresh.dictionary).unwrap();
        let decoded = reader.decode(&stored.kind, &fresh.payload).unwrap();
        assert_eq!(decoded, Open { kept });
    }
    let value = Value::of(&Open { kept: 1 }).unwrap();
    let Value::Record(record) = value else {
        panic!("a struct is a record");
    };
    assert!(matches!(record.fields, Fields::Named(fields) if fields.len() == 1));
}
