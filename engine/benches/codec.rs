//! Cost of one small enum event with a string, encoded and decoded by five formats.
//!
//! How to read it: nanoseconds per event, buffers reused, so that what is measured is the format and
//! the one string that decoding allocates. The bytes per event are printed first; for `millstream` the
//! dictionary is shared by all events of a frame and printed apart. `evolved` reads an event whose
//! reader has a new field, a removed one and another order: by name instead of by position.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use millstream_engine::codec::{Decoder, ShapeWriter, Shapes};
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

criterion_group!(benches, encode, decode, dictionary);
criterion_main!(benches);
