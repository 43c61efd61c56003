//! Story: a JSON event of an older version passed through `serde_json::Value`, which holds an integer past 64 bits as a
//! float: its last digits were lost without a word. Now it comes through whole, or is refused by name.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::*;

/// An event with wide numbers wherever one may stand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Counted {
    Many {
        total: u128,
        lowest: i128,
        each: Vec<u128>,
        named: BTreeMap<String, i128>,
        maybe: Option<u128>,
        pair: (u64, i128),
        share: f64,
        text: String,
    },
    One(u128),
    None,
}

impl Event for Counted {
    const VERSION: u32 = 2;
    const ENCODING: Encoding = Encoding::Json;

    fn upcasters() -> Upcasters {
        Upcasters::none().unchanged(1)
    }
}

/// The event as an older program would have stored it.
fn older(event: &Counted) -> Stored {
    let mut stored = store(event);
    stored.kind.schema_version = 1;
    stored
}

fn many() -> impl Strategy<Value = Counted> {
    let text = "[\"\\\\{}0-9:,a ]{0,30}";
    let wide = || prop_oneof![any::<u128>(), (0..100_u128), Just(u128::from(u64::MAX) + 1)];
    let signed = || prop_oneof![any::<i128>(), (-9..9_i128), Just(i128::from(i64::MIN) - 1)];
    let share = any::<f64>().prop_filter("JSON has no word for others", |share| share.is_finite());
    (
        (wide(), signed(), proptest::collection::vec(wide(), 0..4)),
        proptest::collection::btree_map(text, signed(), 0..4),
        (proptest::option::of(wide()), any::<u64>(), signed()),
        (share, text),
    )
        .prop_map(
            |((total, lowest, each), named, (maybe, first, second), (share, text))| Counted::Many {
                total,
                lowest,
                each,
                named,
                maybe,
                pair: (first, second),
                share,
                text,
            },
        )
}

proptest! {
    #[test]
    fn older_events_come_through_whole(event in many(), one: u128) {
        for event in [event, Counted::One(one), Counted::None] {
            prop_assert_eq!(load::<Counted>(&older(&event)).unwrap(), event);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[-+0-9.eE\"\\\\{}\\[\\]:, a]{0,60}", digits in "[0-9]{19,60}") {
        for payload in [text.clone(), format!("{text}{digits}"), format!("[{digits},{text}]")] {
            let kind = kind("Many", 1, Encoding::Json);
            let _ = EventReader::<Counted>::new().decode(&kind, payload.as_bytes());
            let shown = payload_to_json(Encoding::Json, &[], payload.as_bytes());
            let parsed = serde_json::from_str::<serde_json::Value>(&payload);
            prop_assert_eq!(shown.is_ok(), parsed.is_ok(), "{}", payload);
        }
    }
}

/// A number that has become text, by a step that looks into the event, or that is given to a type.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Named {
    One { id: String, next: u128 },
}

impl Event for Named {
    const VERSION: u32 = 3;
    const ENCODING: Encoding = Encoding::Json;

    fn upcasters() -> Upcasters {
        #[derive(Deserialize)]
        struct Old {
            id: u128,
        }
        #[derive(Serialize)]
        struct New {
            id: String,
            next: u128,
        }
        Upcasters::none()
            .step("One", 1, |mut value| match value.get("id") {
                Some(Value::Unsigned(id)) => {
                    let id = Value::from(id - 1);
                    value.set("id", id)?;
                    Ok(value)
                }
                other => Err(UpcastError::refused(format!("no number: {other:?}"))),
            })
            .typed("One", 2, |old: Old| {
                Ok(New {
                    id: old.id.to_string(),
                    next: old.id + 1,
                })
            })
    }
}

fn read<E: Event>(payload: &str) -> Result<E, DecodeError> {
    EventReader::new().decode(&kind("One", 1, Encoding::Json), payload.as_bytes())
}

#[test]
fn steps_see_the_whole_number() {
    let found: Named = read(r#"{"One":{"id":340282366920938463463374607431768211455}}"#).unwrap();
    let expected = Named::One {
        id: (u128::MAX - 1).to_string(),
        next: u128::MAX,
    };
    assert_eq!(found, expected);
}

#[test]
fn more_than_128_bits_are_refused_by_their_place() {
    let payload = r#"{"One":{"x":"1e9\"7","id":340282366920938463463374607431768211456}}"#;
    let error = read::<Named>(payload).unwrap_err();
    let offset = payload.find("3402").unwrap();
    assert!(
        matches!(error, DecodeError::NumberTooLarge { offset: at } if at == offset),
        "{error}"
    );
    // People can look at it all the same.
    let shown = payload_to_json(Encoding::Json, &[], payload.as_bytes()).unwrap();
    let digits = "340282366920938463463374607431768211456";
    assert_eq!(shown, json!({"One": {"x": "1e9\"7", "id": digits}}));
}

/// Some programs write a large float without a point: 1e20 is 100000000000000000000 in JavaScript.
#[test]
fn a_float_without_a_point_stays_one() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct One {
        share: f64,
        count: u64,
    }
    impl Event for One {
        const VERSION: u32 = 2;
        const ENCODING: Encoding = Encoding::Json;
        fn upcasters() -> Upcasters {
            Upcasters::none().unchanged(1)
        }
    }
    let found: One = read(r#"{"share":100000000000000000000,"count":7}"#).unwrap();
    let (share, count) = (1e20, 7);
    assert_eq!(found, One { share, count });
    // The last of two keys counts, in the text as elsewhere.
    let found = payload_to_json(
        Encoding::Json,
        &[],
        br#"{"a":18446744073709551616,"b":1,"a":-9223372036854775809}"#,
    );
    assert_eq!(
        found.unwrap().to_string(),
        r#"{"a":"-9223372036854775809","b":1}"#
    );
}
