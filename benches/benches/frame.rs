//! A frame of typed events: encoded and sealed, parsed, and its events decoded.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use millstream::catalog::bank::{AccountEvent, Cents, Channel};
use millstream_engine::codec::{Event, EventEncoder, EventReader};
use millstream_engine::event::{Metadata, Offset, PartitionId, stream_hash};
use millstream_engine::log::frame::{
    Draft, Frame, FrameBuilder, FrameHash, Kind, SHAPES, SealedFrame,
};
use millstream_engine::time::Timestamp;
use uuid::Uuid;

/// Events of a frame.
const SIZES: [u64; 2] = [64, 4_096];

fn sealed(builder: &mut FrameBuilder, encoder: &mut EventEncoder, events: u64) -> SealedFrame {
    let (mut payload, mut dictionary) = (Vec::new(), Vec::new());
    let mut kind = None;
    for version in 0..events {
        let event = AccountEvent::Deposited {
            amount: Cents::new(version as i64 % 10_000 + 1),
            channel: Channel::Cash,
            reference: version,
        };
        payload.clear();
        let event_type = encoder.encode(&event, &mut payload).expect("it encodes");
        let kind = *kind.get_or_insert_with(|| {
            builder.kind(&Kind {
                category: "account".into(),
                event_type: event_type.into(),
                schema_version: AccountEvent::VERSION,
                encoding: AccountEvent::ENCODING,
            })
        });
        let draft = Draft {
            kind,
            stream: "4711",
            hash: version,
            version,
            event_time: None,
            id: None,
            metadata: Metadata::default(),
            payload: &payload,
        };
        builder.push(Timestamp::EPOCH, &draft).expect("it fits");
    }
    encoder.dictionary(&mut dictionary);
    encoder.clear();
    let ids = Uuid::from_u128(u128::from(stream_hash("account-4711")));
    let (first, previous) = (Offset(0), FrameHash::default());
    builder
        .seal(
            PartitionId(0),
            first,
            ids,
            previous,
            &[(SHAPES, &dictionary)],
        )
        .expect("it fits")
}

fn frame(criterion: &mut Criterion) {
    let (mut builder, mut encoder) = (FrameBuilder::new(), EventEncoder::new());
    let mut group = criterion.benchmark_group("frame");
    for events in SIZES {
        group.throughput(Throughput::Elements(events));
        group.bench_function(BenchmarkId::new("encode-and-seal", events), |bencher| {
            bencher.iter(|| black_box(sealed(&mut builder, &mut encoder, events)));
        });
        let bytes = sealed(&mut builder, &mut encoder, events).bytes;
        group.bench_function(BenchmarkId::new("parse", events), |bencher| {
            bencher.iter(|| Frame::parse(black_box(&bytes)).expect("it was sealed"));
        });
        let frame = Frame::parse(&bytes).expect("it was sealed");
        let mut reader = EventReader::<AccountEvent>::new();
        group.bench_function(BenchmarkId::new("decode", events), |bencher| {
            bencher.iter(|| {
                let shapes = frame.attachment(SHAPES).unwrap_or_default();
                reader.begin_frame(shapes).expect("its shapes");
                let decode = |record: millstream_engine::log::frame::Record<'_>| {
                    let event = reader.decode(record.kind, record.payload);
                    event.expect("it was encoded").change().hundredths()
                };
                frame.records().map(decode).sum::<i64>()
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(2)).sample_size(20);
    targets = frame
}
criterion_main!(benches);
