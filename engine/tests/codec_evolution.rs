//! What an old program wrote, today's program reads; what nobody can read is refused, by name.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use evolution::generations::binary;
use millstream_engine::codec::{
    DecodeError, Decoder, EncodeError, Event, EventEncoder, EventReader, Shapes, StandaloneReader,
    StandaloneWriter, UpcastError, Upcasters, Value, from_slice, payload_to_json, to_vec,
};
use millstream_engine::log::frame::{Encoding, Kind};
use serde::{Deserialize, Serialize};
use serde_json::json;

mod evolution {
    pub(super) mod generations;
    pub(super) mod golden;
    pub(super) mod standalone;
    pub(super) mod values;
    pub(super) mod wide_numbers;
}

/// The kind of a record.
fn kind(event_type: &str, schema_version: u32, encoding: Encoding) -> Kind {
    Kind {
        category: "account".into(),
        event_type: event_type.into(),
        schema_version,
        encoding,
    }
}

/// One event as a frame would hold it.
struct Stored {
    kind: Kind,
    dictionary: Vec<u8>,
    payload: Vec<u8>,
}

fn store<E: Event>(event: &E) -> Stored {
    let mut encoder = EventEncoder::new();
    let (mut dictionary, mut payload) = (Vec::new(), Vec::new());
    let event_type = encoder.encode(event, &mut payload).unwrap();
    if encoder.has_shapes() {
        encoder.dictionary(&mut dictionary);
    }
    Stored {
        kind: kind(event_type, E::VERSION, E::ENCODING),
        dictionary,
        payload,
    }
}

fn load<E: Event>(stored: &Stored) -> Result<E, DecodeError> {
    let mut reader = EventReader::new();
    reader.begin_frame(&stored.dictionary)?;
    reader.decode(&stored.kind, &stored.payload)
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Plain(u64);

impl Event for Plain {
    const VERSION: u32 = 2;

    fn upcasters() -> Upcasters {
        Upcasters::none().step("Plain", 1, |value| match value.as_u64() {
            Some(number) => Ok(Value::from(number + 1)),
            None => Err(UpcastError::refused("no number")),
        })
    }
}

#[test]
fn an_event_that_is_no_record_needs_no_dictionary_and_has_steps_too() {
    let mut stored = store(&Plain(7));
    assert!(stored.dictionary.is_empty());
    assert_eq!(load::<Plain>(&stored).unwrap(), Plain(7));
    stored.kind.schema_version = 1;
    assert_eq!(load::<Plain>(&stored).unwrap(), Plain(8));
    stored.kind.schema_version = 0;
    let error = load::<Plain>(&stored).unwrap_err();
    assert!(matches!(
        error,
        DecodeError::MissingUpcaster { missing: 0, .. }
    ));
}

/// Goal: an edit is in the shape of the version that the record has, and goes through the same steps; what is damaged may be
/// edited; a version that the program does not know may not.
#[test]
fn an_edit_is_of_the_version_that_was_written() {
    let edit = |stored: &Stored, edited: &str| {
        let mut reader = EventReader::<Plain>::new();
        reader.begin_frame(&stored.dictionary).unwrap();
        reader.decode_edited(&stored.kind, &stored.payload, edited)
    };
    let mut stored = store(&Plain(7));
    assert_eq!(edit(&stored, "9").unwrap(), Plain(9));
    stored.kind.schema_version = 1;
    assert_eq!(edit(&stored, "9").unwrap(), Plain(10));
    assert!(edit(&stored, r#""nine""#).is_err());
    stored.payload = vec![0xff; 3];
    assert!(load::<Plain>(&stored).is_err());
    assert_eq!(edit(&stored, "9").unwrap(), Plain(10));
    stored.kind.schema_version = 3;
    let error = edit(&stored, "9").unwrap_err();
    assert!(matches!(
        error,
        DecodeError::UnknownVersion { found: 3, .. }
    ));
    stored.kind.encoding = Encoding::Json;
    stored.kind.schema_version = 1;
    assert_eq!(edit(&stored, "9").unwrap(), Plain(10));
}

#[test]
fn opaque_records_are_refused_in_every_version() {
    for version in 1..=2 {
        let stored = Stored {
            kind: kind("Plain", version, Encoding::Opaque),
            dictionary: Vec::new(),
            payload: vec![7],
        };
        assert_eq!(load::<Plain>(&stored).unwrap_err(), DecodeError::Opaque);
    }
    let shown = payload_to_json(Encoding::Opaque, &[], &[7]);
    assert_eq!(shown.unwrap_err(), DecodeError::Opaque);
}

#[test]
fn an_event_keeps_its_name_when_the_encoding_changes() {
    #[derive(Serialize, Deserialize)]
    #[serde(tag = "type")]
    enum Tagged {
        Empty,
        Sized { width: u8 },
        Wrapped(Inner),
    }
    #[derive(Serialize, Deserialize)]
    struct Inner {
        id: u8,
    }
    #[derive(Serialize, Deserialize)]
    struct Pair(u8, u8);
    #[derive(Serialize, Deserialize)]
    struct Unit;

    /// An event of the same type, as JSON.
    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    struct Binary<T>(T);
    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    struct Text<T>(T);
    impl<T: Serialize + for<'a> Deserialize<'a> + Send + Sync + 'static> Event for Binary<T> {}
    impl<T: Serialize + for<'a> Deserialize<'a> + Send + Sync + 'static> Event for Text<T> {
        const ENCODING: Encoding = Encoding::Json;
    }

    fn check<T: Serialize + for<'a> Deserialize<'a> + Send + Sync + 'static>(
        make: impl Fn() -> T,
        expected: &str,
    ) {
        let mut encoder = EventEncoder::new();
        let mut out = Vec::new();
        assert_eq!(encoder.encode(&Text(make()), &mut out).unwrap(), expected);
        assert!(!encoder.has_shapes());
        assert_eq!(encoder.encode(&Binary(make()), &mut out).unwrap(), expected);
    }

    check(|| binary::First::Closed, "Closed");
    check(|| binary::First::Deposited { amount: 1 }, "Deposited");
    check(|| binary::First::Moved(1, String::new()), "Moved");
    check(|| binary::First::Renamed(String::new()), "Renamed");
    check(|| Plain(1), "Plain");
    check(|| Some(Plain(1)), "Plain");
    check(|| Inner { id: 1 }, "Inner");
    check(|| Pair(1, 2), "Pair");
    check(|| Unit, "Unit");
    check(|| Tagged::Empty, "Tagged");
    check(|| Tagged::Sized { width: 1 }, "Tagged");
    check(|| Tagged::Wrapped(Inner { id: 1 }), "Inner");
    check(|| vec![Plain(1)], "value");
    check(|| (1_u8, "x".to_owned()), "value");
    check(|| 'x', "value");
}

#[test]
fn a_refused_json_event_leaves_the_output_as_it_was() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Bad {
        first: String,
        #[serde(serialize_with = "refuse")]
        second: u8,
    }
    fn refuse<S: serde::Serializer>(_: &u8, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no"))
    }
    impl Event for Bad {
        const ENCODING: Encoding = Encoding::Json;
    }
    let mut out = b"before".to_vec();
    let bad = Bad {
        first: "x".to_owned(),
        second: 1,
    };
    let error = EventEncoder::new().encode(&bad, &mut out).unwrap_err();
    assert!(matches!(error, EncodeError::Json { .. }), "{error}");
    assert_eq!(out, b"before");
}

#[test]
fn a_damaged_dictionary_is_not_followed_by_the_one_before() {
    let stored = store(&binary::First::Deposited { amount: 7 });
    let mut reader = EventReader::<binary::First>::new();
    reader.begin_frame(&stored.dictionary).unwrap();
    reader.begin_frame(&[1, 9]).unwrap_err();
    let error = reader.decode(&stored.kind, &stored.payload).unwrap_err();
    assert!(matches!(error, DecodeError::UnknownShape { .. }), "{error}");
}
