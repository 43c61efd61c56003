//! Frames against what was put into them, and against bytes that nobody wrote.

mod apart;

use proptest::prelude::*;
use uuid::Uuid;

use super::bytes::Cursor;
use super::record::Stored;
use super::*;
use crate::event::{EventId, Metadata, Offset, PartitionId};
use crate::time::Timestamp;

#[derive(Clone, Debug)]
struct Planned {
    kind: usize,
    stream: String,
    version: u64,
    now: i64,
    event_time: Option<i64>,
    id: Option<u128>,
    metadata: Metadata,
    payload: Vec<u8>,
}

fn kinds() -> Vec<Kind> {
    let kind = |category: &str, event_type: &str, schema_version, encoding| Kind {
        category: category.into(),
        event_type: event_type.into(),
        schema_version,
        encoding,
    };
    vec![
        kind("account", "Deposited", 1, Encoding::Binary),
        kind("account", "Deposited", 2, Encoding::Binary),
        kind("order", "Placed", 1, Encoding::Json),
    ]
}

fn planned() -> impl Strategy<Value = Planned> {
    let ids = (
        any::<Option<u128>>(),
        any::<Option<u128>>(),
        any::<Option<u128>>(),
        any::<Option<String>>(),
    );
    let body = (
        0usize..3,
        "[a-z0-9]{1,12}",
        any::<u64>(),
        any::<i64>(),
        any::<Option<i64>>(),
    );
    // Some are long, so that frames of both formats come about.
    let payload = prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..60),
        1 => (any::<u8>(), 0usize..1_000).prop_map(|(byte, length)| vec![byte; length]),
    ];
    (body, ids, payload).prop_map(|(body, ids, payload)| Planned {
        kind: body.0,
        stream: body.1,
        version: body.2,
        now: body.3,
        event_time: body.4,
        id: ids.0,
        metadata: Metadata {
            correlation: ids.1.map(Uuid::from_u128),
            causation: ids.2.map(Uuid::from_u128),
            user: ids.3.map(Into::into),
        },
        payload,
    })
}

/// An event as a record, alone.
fn stored(event: &Planned) -> Vec<u8> {
    let mut bytes = Vec::new();
    let record = Stored {
        kind: event.kind as u32,
        stream: &event.stream,
        version: event.version,
        recorded_after: event.now as u64,
        event_time: event.event_time,
        id: event.id.map(Uuid::from_u128),
        metadata: event.metadata.clone(),
        payload: &event.payload,
    };
    record.write(&mut bytes);
    bytes
}

/// A kind that shares its place in a set with others is found, and they with it.
#[test]
fn more_kinds_than_a_set_tells_apart() {
    let mut builder = FrameBuilder::new();
    let name = |number: u64| format!("Kind{number}");
    for number in 0..100 {
        let kind = builder.kind(&Kind {
            category: "many".into(),
            event_type: name(number).into(),
            schema_version: 1,
            encoding: Encoding::Opaque,
        });
        let draft = Draft {
            kind,
            stream: "1",
            hash: 1,
            version: number,
            event_time: None,
            id: None,
            metadata: Metadata::default(),
            payload: b"",
        };
        builder.push(Timestamp(0), &draft).unwrap();
    }
    let sealed = builder.seal(
        PartitionId(0),
        Offset(0),
        Uuid::nil(),
        FrameHash::default(),
        &[],
    );
    let frame = Frame::parse(&sealed.unwrap().bytes).unwrap();
    let found = |wanted: u64| {
        let set = KindSet::of(frame.kinds(), |kind| *kind.event_type == *name(wanted));
        let found = frame.records_of(0, set).map(|record| record.version);
        found.collect::<Vec<_>>()
    };
    assert_eq!(found(62), [62]);
    assert_eq!(found(63), (63..100).collect::<Vec<_>>());
    assert_eq!(found(99), found(63));
}

fn seal(events: &[Planned]) -> SealedFrame {
    let mut builder = FrameBuilder::new();
    push(&mut builder, events);
    finish(&mut builder)
}

fn push(builder: &mut FrameBuilder, events: &[Planned]) {
    for event in events {
        let kind = builder.kind(&kinds()[event.kind]);
        let draft = Draft {
            kind,
            stream: &event.stream,
            hash: crate::event::stream_hash(&event.stream),
            version: event.version,
            event_time: event.event_time.map(Timestamp),
            id: event.id.map(|id| EventId(Uuid::from_u128(id))),
            metadata: event.metadata.clone(),
            payload: &event.payload,
        };
        builder.push(Timestamp(event.now), &draft).unwrap();
    }
}

fn finish(builder: &mut FrameBuilder) -> SealedFrame {
    finish_with(builder, &[(9, b"extra")])
}

fn finish_with(builder: &mut FrameBuilder, attachments: &[(u8, &[u8])]) -> SealedFrame {
    let ids = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
    let previous = FrameHash([7; 32]);
    builder
        .seal(PartitionId(3), Offset(100), ids, previous, attachments)
        .unwrap()
}

proptest! {
    #[test]
    fn what_is_sealed_is_read_back(events in prop::collection::vec(planned(), 1..70)) {
        let sealed = seal(&events);
        let frame = Frame::parse_verified(&sealed.bytes).unwrap();
        prop_assert_eq!(frame.header().hash, sealed.hash);
        prop_assert_eq!(frame.header().previous, FrameHash([7; 32]));
        prop_assert_eq!(frame.header().end(), Offset(100 + events.len() as u64));
        prop_assert_eq!(frame.attachment(9), Some(&b"extra"[..]));
        prop_assert_eq!(frame.attachment(8), None);
        let kinds = kinds();
        let mut recorded = i64::MIN;
        for (slot, (record, event)) in frame.records().zip(&events).enumerate() {
            recorded = recorded.max(event.now);
            prop_assert_eq!(record.kind, &kinds[event.kind]);
            prop_assert_eq!(record.stream, &event.stream);
            prop_assert_eq!(record.version, event.version);
            prop_assert_eq!(record.offset, Offset(100 + slot as u64));
            prop_assert_eq!(record.recorded_at, Timestamp(recorded));
            prop_assert_eq!(record.event_time, Timestamp(event.event_time.unwrap_or(recorded)));
            prop_assert_eq!(&record.metadata, &event.metadata);
            prop_assert_eq!(record.payload, &event.payload);
            if let Some(id) = event.id {
                prop_assert_eq!(record.id.0.as_u128(), id);
            }
        }
        prop_assert_eq!(frame.records().count(), events.len());
        // What live subscribers get without unpacking is the same frame.
        prop_assert!(sealed.frame.records().eq(frame.records()));
        for slot in 0..=events.len() as u32 + 20 {
            prop_assert!(frame.records_from(slot).eq(frame.records().skip(slot as usize)));
            prop_assert!(sealed.frame.records_from(slot).eq(frame.records_from(slot)));
        }
        for wanted in 0..8 {
            let is_wanted = |kind: &Kind| wanted & (1 << kinds.iter().position(|own| own == kind).unwrap()) != 0;
            let set = KindSet::of(frame.kinds(), is_wanted);
            let part = Frame::parse_part(&sealed.bytes, FramePart::Kinds(&is_wanted)).unwrap();
            prop_assert_eq!(part.header(), frame.header());
            prop_assert_eq!(part.kinds(), frame.kinds());
            let is_apart = sealed.bytes[0] == APART;
            prop_assert_eq!(part.attachment(9), frame.attachment(9).filter(|_| !is_apart));
            prop_assert!(part.records().eq(frame.records().filter(|record| !is_apart || is_wanted(record.kind))));
            for slot in [0, 1, 15, 16, 17, 40, events.len() as u32] {
                let expected = || frame.records().skip(slot as usize).filter(|record| is_wanted(record.kind));
                prop_assert!(frame.records_of(slot, set).eq(expected()));
                prop_assert!(sealed.frame.records_of(slot, set).eq(expected()));
                prop_assert!(part.records_of(slot, set).eq(expected()));
                let rest = part.records().filter(|record| record.offset >= Offset(100 + u64::from(slot)));
                prop_assert!(part.records_from(slot).eq(rest));
            }
        }
        prop_assert_eq!(sealed.frame.attachment(9), Some(&b"extra"[..]));
        prop_assert_eq!(sealed.frame.header(), frame.header());
        let entries: Vec<_> = sealed.entries.iter().map(|e| (e.version, e.offset)).collect();
        let expected: Vec<_> = frame.records().map(|r| (r.version, r.offset.0)).collect();
        prop_assert_eq!(entries, expected);
    }

    /// Events that were taken back leave no trace: the frame has the bytes it would have had without them.
    #[test]
    fn a_rewound_frame_is_as_it_was(
        kept in prop::collection::vec(planned(), 1..20),
        undone in prop::collection::vec(planned(), 0..20),
        more in prop::collection::vec(planned(), 0..20),
    ) {
        let mut builder = FrameBuilder::new();
        push(&mut builder, &kept);
        let mark = builder.mark();
        push(&mut builder, &undone);
        builder.rewind(mark);
        push(&mut builder, &more);
        let expected: Vec<_> = kept.iter().chain(&more).cloned().collect();
        prop_assert_eq!(finish(&mut builder).bytes, seal(&expected).bytes);
    }

    /// CRC32C finds every change of one bit, wherever it is.
    #[test]
    fn a_flipped_bit_is_found(events in prop::collection::vec(planned(), 1..20), at: prop::sample::Index, bit in 0u8..8) {
        let mut bytes = seal(&events).bytes;
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(Frame::parse(&bytes).is_err());
    }

    #[test]
    fn a_cut_frame_is_found(events in prop::collection::vec(planned(), 1..20), at: prop::sample::Index) {
        let bytes = seal(&events).bytes;
        prop_assert!(Frame::parse(&bytes[..at.index(bytes.len())]).is_err());
    }

    /// An attacker can make the checksum fit: the content must still never panic or reserve without bound.
    #[test]
    fn hostile_content_under_a_valid_checksum(
        events in prop::collection::vec(planned(), 1..20),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = seal(&events).bytes;
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let bytes = with_checksum(bytes);
        if let Ok(frame) = Frame::parse(&bytes) {
            prop_assert_eq!(frame.records().count(), frame.header().count as usize);
        }
        for wanted in 0..3 {
            if let Ok(part) = Frame::parse_part(&bytes, FramePart::Kinds(&|kind| *kind == kinds()[wanted])) {
                prop_assert!(part.records().count() <= part.header().count as usize);
            }
        }
    }

    /// A record is checked without being read: that must come to the same.
    #[test]
    fn passing_is_reading(
        (mut bytes, changes) in (planned(), prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4))
            .prop_map(|(event, changes)| (stored(&event), changes)),
    ) {
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let cursor = Cursor::new(&bytes, 0);
        let (mut reading, mut passing) = (cursor.clone(), cursor);
        let read = Stored::read(&mut reading);
        let passed = Stored::pass(&mut passing);
        prop_assert_eq!(read.as_ref().map(|read| (read.kind, read.stream.len())), passed);
        if read.is_some() {
            prop_assert_eq!(reading.at, passing.at);
        }
    }

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Frame::parse(&bytes).is_err());
    }
}

#[test]
fn a_change_on_purpose_is_found_by_the_hash_alone() {
    let event = Planned {
        kind: 0,
        stream: "42".into(),
        version: 0,
        now: 5,
        event_time: None,
        id: None,
        metadata: Metadata::default(),
        payload: b"amount=100".to_vec(),
    };
    let mut bytes = seal(&[event]).bytes;
    let last = bytes.len() - 1;
    bytes[last] = b'9';
    let bytes = with_checksum(bytes);
    assert!(Frame::parse(&bytes).is_ok());
    assert_eq!(Frame::parse_verified(&bytes).unwrap_err(), FrameError::Hash);
}

#[test]
fn an_event_that_does_not_fit_leaves_the_frame_as_it_was() {
    let mut builder = FrameBuilder::new();
    let kind = builder.kind(&kinds()[0]);
    let payload = vec![0; BODY_BYTES_MAX];
    let draft = |payload| Draft {
        kind,
        stream: "42",
        hash: 42,
        version: 0,
        event_time: None,
        id: None,
        metadata: Metadata::default(),
        payload,
    };
    assert!(matches!(
        builder.push(Timestamp(1), &draft(&payload)),
        Err(DraftError::TooLarge { .. })
    ));
    assert!(builder.is_empty());
    builder.push(Timestamp(1), &draft(b"x")).unwrap();
    let frame = builder
        .seal(
            PartitionId(0),
            Offset(0),
            Uuid::nil(),
            FrameHash::default(),
            &[],
        )
        .unwrap();
    assert_eq!(Frame::parse(&frame.bytes).unwrap().records().count(), 1);
}

fn event(kind: usize, number: u64, payload: Vec<u8>) -> Planned {
    Planned {
        kind,
        stream: number.to_string(),
        version: number,
        now: 5,
        event_time: None,
        id: None,
        metadata: Metadata::default(),
        payload,
    }
}
