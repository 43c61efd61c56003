//! Bytes that a released program wrote. They must be read for ever: a test here that fails is never
//! mended by changing the bytes.

use super::super::*;

/// Version 1 of an account's events, as it stood when the bytes below were written.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum AccountEvent {
    Opened {
        owner: String,
        limit: i64,
    },
    Deposited {
        amount: u64,
        reference: Option<String>,
    },
    Moved(u32, [u8; 2]),
    Noted(Vec<String>),
    Closed,
}

impl Event for AccountEvent {}

const DICTIONARY: &str = "0105\
    040c4163636f756e744576656e74064f70656e6564\
    02056f776e6572056c696d6974\
    040c4163636f756e744576656e74094465706f7369746564\
    0206616d6f756e74097265666572656e6365\
    030c4163636f756e744576656e74054d6f76656402\
    020c4163636f756e744576656e74054e6f74656401\
    010c4163636f756e744576656e7406436c6f73656400";
const OPENED: &str = "a083416461c4e707";
const DEPOSITED: &str = "a1c3b9608a696e766f696365203432";
const DEPOSITED_BARE: &str = "a105c0";
const MOVED: &str = "a22bc9020102";
const NOTED: &str = "a3c902816180";
const CLOSED: &str = "a4";

/// `Deposited` of version 1 in JSON.
const DEPOSITED_JSON: &str = r#"{"Deposited":{"amount":12345,"reference":"invoice 42"}}"#;
/// A snapshot: the value of `DEPOSITED` with a dictionary of its own.
const STANDALONE: &str = "012c\
    0101040c4163636f756e744576656e74094465706f7369746564\
    0206616d6f756e74097265666572656e6365\
    a0c3b9608a696e766f696365203432";

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn events() -> [(AccountEvent, &'static str); 6] {
    [
        (
            AccountEvent::Opened {
                owner: "Ada".to_owned(),
                limit: -1_000,
            },
            OPENED,
        ),
        (deposited(), DEPOSITED),
        (
            AccountEvent::Deposited {
                amount: 5,
                reference: None,
            },
            DEPOSITED_BARE,
        ),
        (AccountEvent::Moved(43, [1, 2]), MOVED),
        (
            AccountEvent::Noted(vec!["a".to_owned(), String::new()]),
            NOTED,
        ),
        (AccountEvent::Closed, CLOSED),
    ]
}

fn deposited() -> AccountEvent {
    AccountEvent::Deposited {
        amount: 12_345,
        reference: Some("invoice 42".to_owned()),
    }
}

#[test]
fn the_format_is_what_it_was() {
    let mut encoder = EventEncoder::new();
    for (event, expected) in events() {
        let mut payload = Vec::new();
        encoder.encode(&event, &mut payload).unwrap();
        assert_eq!(payload, bytes(expected), "{event:?}");
    }
    let mut dictionary = Vec::new();
    encoder.dictionary(&mut dictionary);
    assert_eq!(dictionary, bytes(DICTIONARY));
    assert_eq!(to_vec(&deposited()).unwrap(), bytes(STANDALONE));
}

#[test]
fn version_1_is_read_by_its_own_type() {
    let shapes = Shapes::parse(&bytes(DICTIONARY)).unwrap();
    for (event, payload) in events() {
        let decoded = Decoder::new().decode::<AccountEvent>(&shapes, &bytes(payload));
        assert_eq!(decoded.unwrap(), event);
    }
    let alone = from_slice::<AccountEvent>(&bytes(STANDALONE)).unwrap();
    assert_eq!(alone, deposited());
}

/// Version 3: amounts in cents with a currency (since 2), deposits called credits and told apart by
/// channel (since 3), moves with names.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum AccountEventNow {
    Opened { owner: String, limit: i64 },
    Credited { money: Money, channel: Channel },
    Moved { to: u32, by: Vec<u8> },
    Noted(Vec<String>),
    Closed { reason: Option<String> },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Money {
    cents: u64,
    currency: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Channel {
    Unknown,
    Invoice(String),
}

impl Event for AccountEventNow {
    const VERSION: u32 = 3;

    fn upcasters() -> Upcasters {
        Upcasters::none()
            .step("Deposited", 1, |mut event| {
                let euros = event.remove("amount").and_then(|amount| amount.as_u64());
                let euros = euros.ok_or_else(|| UpcastError::refused("no amount"))?;
                let fields = [
                    ("cents", Value::from(euros * 100)),
                    ("currency", Value::from("EUR")),
                ];
                event.set("money", Value::structure("Money", fields))?;
                Ok(event)
            })
            .unchanged(1)
            .step("Deposited", 2, |mut event| {
                event.rename("Credited")?;
                event.rename_field("reference", "channel");
                let channel = event.get("channel").and_then(Value::as_str);
                let channel = match channel {
                    Some(text) => Channel::Invoice(text.to_owned()),
                    None => Channel::Unknown,
                };
                let channel = Value::of(&channel).map_err(UpcastError::New)?;
                event.set("channel", channel)?;
                Ok(event)
            })
            .step("Moved", 2, |event| {
                let [to, by] = event.items().unwrap_or_default() else {
                    return Err(UpcastError::refused("not two items"));
                };
                let fields = [("to", to.clone()), ("by", by.clone())];
                Ok(Value::variant("AccountEvent", "Moved", fields))
            })
            .unchanged(2)
    }
}

fn credited() -> AccountEventNow {
    AccountEventNow::Credited {
        money: Money {
            cents: 1_234_500,
            currency: "EUR".to_owned(),
        },
        channel: Channel::Invoice("invoice 42".to_owned()),
    }
}

#[test]
fn version_1_is_read_as_version_3() {
    let now = [
        AccountEventNow::Opened {
            owner: "Ada".to_owned(),
            limit: -1_000,
        },
        credited(),
        AccountEventNow::Credited {
            money: Money {
                cents: 500,
                currency: "EUR".to_owned(),
            },
            channel: Channel::Unknown,
        },
        AccountEventNow::Moved {
            to: 43,
            by: vec![1, 2],
        },
        AccountEventNow::Noted(vec!["a".to_owned(), String::new()]),
        AccountEventNow::Closed { reason: None },
    ];
    let mut reader = EventReader::<AccountEventNow>::new();
    reader.begin_frame(&bytes(DICTIONARY)).unwrap();
    for ((_, payload), expected) in events().into_iter().zip(now) {
        let payload = bytes(payload);
        let shapes = Shapes::parse(&bytes(DICTIONARY)).unwrap();
        let kind = kind(shapes.event_type(&payload).unwrap(), 1, Encoding::Binary);
        assert_eq!(reader.decode(&kind, &payload).unwrap(), expected);
    }
    // The same reader takes JSON, whatever its type writes today.
    let kind = kind("Deposited", 1, Encoding::Json);
    let decoded = reader.decode(&kind, DEPOSITED_JSON.as_bytes());
    assert_eq!(decoded.unwrap(), credited());
}

#[test]
fn version_1_is_shown_as_json() {
    let shown = |payload: &str| {
        payload_to_json(Encoding::Binary, &bytes(DICTIONARY), &bytes(payload)).unwrap()
    };
    let expected = json!({"Opened": {"owner": "Ada", "limit": -1000}});
    assert_eq!(shown(OPENED), expected);
    let text: serde_json::Value = serde_json::from_str(DEPOSITED_JSON).unwrap();
    assert_eq!(shown(DEPOSITED), text);
    assert_eq!(shown(MOVED), json!({"Moved": [43, [1, 2]]}));
    assert_eq!(shown(NOTED), json!({"Noted": ["a", ""]}));
    assert_eq!(shown(CLOSED), json!("Closed"));
}
