//! Cost of one small enum event with a string, encoded and decoded by five formats.
//!
//! How to read it: nanoseconds per event, buffers reused, so that what is measured is the format and
//! the one string that decoding allocates. The bytes per event are printed first; for `millstream` the
//! dictionary is shared by all events of a frame and printed apart. `evolved` reads an event whose
//! reader has a new field, a removed one and another order: by name instead of by position. `events` is
//! the same through the encoder and reader of events: present versions must cost what the codec costs;
//! `upcast` passes one step from an older version. `standalone` carries its dictionary along.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use millstream_engine::codec::{
    Decoder, Event, EventEncoder, EventReader, ShapeWriter, Shapes, StandaloneReader,
    StandaloneWriter, Upcasters, Value, from_slice, payload_to_json, to_vec,
};
use millstream_engine::log::frame::{Encoding, Kind};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum AccountEvent {
    Opened {
        owner: String,
        at: u64,
    },
    Deposited {
        amount: u64,
        reference: String,
        at: u64,
    },
    Closed,
}

impl Event for AccountEvent {
    const VERSION: u32 = 2;

    fn upcasters() -> Upcasters {
        Upcasters::none().step("Deposited", 1, |mut event| {
            let amount = event.get("amount").and_then(Value::as_u64);
            event.set("amount", amount.unwrap_or(0) * 100)?;
            Ok(event)
        })
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum AccountEventLater {
    Closed,
    Deposited {
        at: u64,
        amount: u64,
        #[serde(default)]
        channel: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum AccountEventTagged {
    Opened {
        owner: String,
        at: u64,
    },
    Deposited {
        amount: u64,
        reference: String,
        at: u64,
    },
}

fn event() -> AccountEvent {
    AccountEvent::Deposited {
        amount: 12_345,
        reference: "invoice 42".to_owned(),
        at: 1_700_000_000_000,
    }
}

fn tagged() -> AccountEventTagged {
    AccountEventTagged::Deposited {
        amount: 12_345,
        reference: "invoice 42".to_owned(),
        at: 1_700_000_000_000,
    }
}

fn millstream<T: Serialize>(event: &T) -> (Vec<u8>, Vec<u8>) {
    let mut writer = ShapeWriter::new();
    let (mut bytes, mut dictionary) = (Vec::new(), Vec::new());
    writer
        .encode(event, &mut bytes)
        .expect("the event can be encoded");
    writer.dictionary(&mut dictionary);
    (bytes, dictionary)
}

fn encode(c: &mut Criterion) {
    let event = event();
    let mut group = c.benchmark_group("encode");
    let mut out = Vec::with_capacity(256);
    let mut writer = ShapeWriter::new();
    group.bench_function("millstream", |b| {
        b.iter(|| {
            out.clear();
            writer.encode(black_box(&event), &mut out).expect("encodes");
            black_box(&out);
        });
    });
    let tagged = tagged();
    group.bench_function("millstream internally tagged", |b| {
        b.iter(|| {
            out.clear();
            writer
                .encode(black_box(&tagged), &mut out)
                .expect("encodes");
            black_box(&out);
        });
    });
    group.bench_function("rmp array", |b| {
        b.iter(|| {
            out.clear();
            black_box(&event)
                .serialize(&mut rmp_serde::Serializer::new(&mut out))
                .expect("encodes");
            black_box(&out);
        });
    });
    group.bench_function("rmp named", |b| {
        b.iter(|| {
            out.clear();
            let mut serializer = rmp_serde::Serializer::new(&mut out).with_struct_map();
            black_box(&event)
                .serialize(&mut serializer)
                .expect("encodes");
            black_box(&out);
        });
    });
    group.bench_function("postcard", |b| {
        b.iter(|| {
            out.clear();
            out =
                postcard::to_extend(black_box(&event), std::mem::take(&mut out)).expect("encodes");
            black_box(&out);
        });
    });
    group.bench_function("serde_json", |b| {
        b.iter(|| {
            out.clear();
            serde_json::to_writer(&mut out, black_box(&event)).expect("encodes");
            black_box(&out);
        });
    });
    group.finish();
}

fn decode(c: &mut Criterion) {
    let event = event();
    let (bytes, dictionary) = millstream(&event);
    let (tagged_bytes, tagged_dictionary) = millstream(&tagged());
    let array = rmp_serde::to_vec(&event).expect("encodes");
    let named = rmp_serde::to_vec_named(&event).expect("encodes");
    let postcard = postcard::to_stdvec(&event).expect("encodes");
    let json = serde_json::to_vec(&event).expect("encodes");
    println!(
        "bytes per event: millstream {} (dictionary {} per frame), rmp array {}, rmp named {}, postcard {}, serde_json {}",
        bytes.len(),
        dictionary.len(),
        array.len(),
        named.len(),
        postcard.len(),
        json.len()
    );
    let shapes = Shapes::parse(&dictionary).expect("parses");
    let tagged_shapes = Shapes::parse(&tagged_dictionary).expect("parses");
    let mut group = c.benchmark_group("decode");
    let mut decoder = Decoder::new();
    group.bench_function("millstream", |b| {
        b.iter(|| {
            decoder
                .decode::<AccountEvent>(&shapes, black_box(&bytes))
                .expect("decodes")
        });
    });
    group.bench_function("millstream evolved", |b| {
        b.iter(|| {
            decoder
                .decode::<AccountEventLater>(&shapes, black_box(&bytes))
                .expect("decodes")
        });
    });
    group.bench_function("millstream internally tagged", |b| {
        b.iter(|| {
            decoder
                .decode::<AccountEventTagged>(&tagged_shapes, black_box(&tagged_bytes))
                .expect("decodes")
        });
    });
    group.bench_function("rmp array", |b| {
        b.iter(|| rmp_serde::from_slice::<AccountEvent>(black_box(&array)).expect("decodes"));
    });
    group.bench_function("rmp named", |b| {
        b.iter(|| rmp_serde::from_slice::<AccountEvent>(black_box(&named)).expect("decodes"));
    });
    group.bench_function("postcard", |b| {
        b.iter(|| postcard::from_bytes::<AccountEvent>(black_box(&postcard)).expect("decodes"));
    });
    group.bench_function("serde_json", |b| {
        b.iter(|| serde_json::from_slice::<AccountEvent>(black_box(&json)).expect("decodes"));
    });
    group.finish();
}

/// Events through their encoder and reader.
fn events(c: &mut Criterion) {
    let event = event();
    let mut group = c.benchmark_group("events");
    let (mut encoder, mut out) = (EventEncoder::new(), Vec::with_capacity(256));
    group.bench_function("encode", |b| {
        b.iter(|| {
            out.clear();
            encoder
                .encode(black_box(&event), &mut out)
                .expect("encodes");
            black_box(&out);
        });
    });
    let (bytes, dictionary) = millstream(&event);
    let json = serde_json::to_vec(&event).expect("encodes");
    let mut reader = EventReader::<AccountEvent>::new();
    reader.begin_frame(&dictionary).expect("parses");
    for (name, schema_version, encoding, payload) in [
        ("decode", 2, Encoding::Binary, &bytes),
        ("upcast", 1, Encoding::Binary, &bytes),
        ("upcast JSON", 1, Encoding::Json, &json),
    ] {
        let kind = Kind {
            category: "account".into(),
            event_type: "Deposited".into(),
            schema_version,
            encoding,
        };
        group.bench_function(name, |b| {
            b.iter(|| {
                reader
                    .decode(black_box(&kind), black_box(payload))
                    .expect("decodes")
            });
        });
    }
    group.bench_function("show as JSON", |b| {
        b.iter(|| payload_to_json(Encoding::Binary, &dictionary, black_box(&bytes)).expect("reads"))
    });
    group.finish();
}

/// Snapshots and table rows.
fn standalone(c: &mut Criterion) {
    let event = event();
    let bytes = to_vec(&event).expect("encodes");
    let mut group = c.benchmark_group("standalone");
    let (mut writer, mut out) = (StandaloneWriter::new(), Vec::with_capacity(256));
    group.bench_function("append", |b| {
        b.iter(|| {
            out.clear();
            writer.append(black_box(&event), &mut out).expect("encodes");
            black_box(&out);
        });
    });
    group.bench_function("to_vec", |b| {
        b.iter(|| to_vec(black_box(&event)).expect("encodes"));
    });
    let mut reader = StandaloneReader::new();
    group.bench_function("decode", |b| {
        b.iter(|| {
            reader
                .decode::<AccountEvent>(black_box(&bytes))
                .expect("decodes")
        });
    });
    group.bench_function("from_slice", |b| {
        b.iter(|| from_slice::<AccountEvent>(black_box(&bytes)).expect("decodes"));
    });
    group.finish();
}

/// What a frame costs beside its events.
fn dictionary(c: &mut Criterion) {
    let (_, dictionary) = millstream(&event());
    let mut group = c.benchmark_group("dictionary");
    group.bench_function("parse", |b| {
        b.iter(|| Shapes::parse(black_box(&dictionary)).expect("parses"))
    });
    let mut decoder = Decoder::new();
    group.bench_function("seen before", |b| {
        b.iter(|| decoder.shapes(black_box(&dictionary)).expect("parses"))
    });
    let mut writer = ShapeWriter::new();
    let event = event();
    let mut out = Vec::with_capacity(256);
    group.bench_function("frame of one event", |b| {
        b.iter(|| {
            out.clear();
            writer.clear();
            writer.encode(black_box(&event), &mut out).expect("encodes");
            writer.dictionary(&mut out);
            black_box(&out);
        });
    });
    group.finish();
}

criterion_group!(benches, encode, decode, events, standalone, dictionary);
criterion_main!(benches);
