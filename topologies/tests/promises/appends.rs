//! Promise: raw appends are versioned and repeatable, and are read back as they were given, from anywhere.

use std::collections::BTreeMap;

use millstream::StoredEvent;
use millstream::prelude::*;
use millstream_engine::codec::Event;
use millstream_engine::event::{EventId, Offset, PartitionId};
use millstream_engine::log::Direction;
use millstream_engine::log::frame::Encoding;
use millstream_engine::partition::{AppendError, Appended, NewEvent, Payload};
use proptest::prelude::*;
use uuid::Uuid;

use crate::support::*;

fn stream(text: &str) -> StreamId {
    text.parse().unwrap()
}

fn json(n: u64) -> NewEvent {
    NewEvent::json("Noted", format!("{{\"n\":{n}}}"))
}

fn json_with_id(n: u64) -> NewEvent {
    json(n).with_id(EventId(Uuid::from_u128(u128::from(n) + 1)))
}

fn number(event: &StoredEvent) -> u64 {
    event.to_json().unwrap().unwrap()["n"].as_u64().unwrap()
}

async fn append(
    engine: &Engine,
    to: &str,
    expected: Expected,
    events: Vec<NewEvent>,
) -> Result<Appended, AppendError> {
    engine.appender().append(stream(to), expected, events).await
}

/// What an append refuses: typed, and nothing stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    let owned = append(&engine, "tally-1", Expected::Any, vec![json(1)]).await;
    assert!(matches!(owned, Err(AppendError::OwnedCategory { category }) if category == "tally"));
    let empty = append(&engine, "note-1", Expected::Any, Vec::new()).await;
    assert!(matches!(empty, Err(AppendError::Empty)));
    let binary = NewEvent {
        payload: Payload::Bytes {
            encoding: Encoding::Binary,
            event_type: "Noted".into(),
            bytes: vec![1, 2, 3],
        },
        ..json(1)
    };
    // The first of both is fine, and must not be stored either.
    let binary = append(&engine, "note-1", Expected::Any, vec![json(1), binary]).await;
    assert!(matches!(binary, Err(AppendError::BinaryBytes)));
    let odd = NewEvent::typed(Happened::Odd { what: Odd::Fails });
    let odd = append(&engine, "note-1", Expected::Any, vec![json(1), odd]).await;
    assert!(matches!(odd, Err(AppendError::Event(_))), "{odd:?}");
    for expected in [Expected::Exists, Expected::Exact(0)] {
        let conflict = append(&engine, "note-1", expected, vec![json(1)]).await;
        assert!(
            matches!(conflict, Err(AppendError::Conflict(conflict)) if conflict.actual.is_none())
        );
    }
    assert!((0..PARTITIONS).all(|n| partition(&engine, n).is_empty()));
    // A good one behind all that.
    let first = append(
        &engine,
        "note-1",
        Expected::NoStream,
        vec![json(1), json(2)],
    )
    .await
    .unwrap();
    assert_eq!((first.first_version, first.last_version), (0, 1));
    let conflict = append(&engine, "note-1", Expected::Exact(0), vec![json(1)]).await;
    assert!(matches!(conflict, Err(AppendError::Conflict(conflict)) if conflict.actual == Some(1)));
    close(engine).await;
}

/// Goal: a typed event whose writing panics is one caller's error; the partition and its neighbours go on, however
/// often it happens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_while_writing_is_one_callers_error() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    for n in 0..20 {
        let odd = NewEvent::typed(Happened::Odd { what: Odd::Panics });
        let odd = append(&engine, "note-1", Expected::Any, vec![json(1), odd]).await;
        assert!(matches!(odd, Err(AppendError::Panicked { .. })), "{odd:?}");
        let good = append(&engine, "note-1", Expected::Any, vec![json(n)])
            .await
            .unwrap();
        assert_eq!(good.first_version, n);
    }
    close(engine).await;
}

/// Goal: an append that is repeated with the same event ids and expectation succeeds with the same answer and
/// stores nothing: in flight, later, behind other events and across a restart. Others conflict.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeats() {
    let folder = tempfile::tempdir().unwrap();
    let mut engine = open(folder.path()).await;
    let events = || vec![json_with_id(1), json_with_id(2)];
    // Two at once, many times: the second finds the first in the same batch, in flight or durable.
    for n in 0..100 {
        let name = format!("pair-{n}");
        let both = tokio::join!(
            append(&engine, &name, Expected::NoStream, events()),
            append(&engine, &name, Expected::NoStream, events()),
        );
        assert_eq!(both.0.unwrap(), both.1.unwrap());
    }
    let first = append(&engine, "note-a", Expected::NoStream, events())
        .await
        .unwrap();
    let third = append(&engine, "note-a", Expected::Exact(1), vec![json_with_id(3)])
        .await
        .unwrap();
    for _ in 0..2 {
        assert_eq!(
            append(&engine, "note-a", Expected::NoStream, events())
                .await
                .unwrap(),
            first
        );
        let again = append(&engine, "note-a", Expected::Exact(1), vec![json_with_id(3)]).await;
        assert_eq!(again.unwrap(), third);
        let others = [
            (Expected::NoStream, vec![json_with_id(1), json_with_id(9)]),
            (Expected::NoStream, vec![json_with_id(2), json_with_id(1)]),
            (Expected::NoStream, vec![json(1), json(2)]),
            (Expected::Exact(0), vec![json_with_id(3)]),
            (Expected::Exact(1), vec![json_with_id(3), json_with_id(4)]),
            (Expected::Exact(u64::MAX), vec![json_with_id(1)]),
        ];
        for (expected, events) in others {
            let sent = append(&engine, "note-a", expected, events).await;
            assert!(
                matches!(sent, Err(AppendError::Conflict(_))),
                "{expected}: {sent:?}"
            );
        }
        close(engine).await;
        engine = open(folder.path()).await;
    }
    let stored: usize = (0..PARTITIONS).map(|n| partition(&engine, n).len()).sum();
    assert_eq!(stored, 203);
    close(engine).await;
}

/// Goal: what is appended typed is read back typed, with its id, metadata and event time, beside JSON and opaque
/// events of the same stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kinds_of_payloads() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    let id = EventId(Uuid::from_u128(77));
    let mut typed = NewEvent::typed(added(5)).with_id(id);
    typed.event_time = Some(Timestamp::from_seconds(-5));
    typed.metadata.user = Some("ada".into());
    append(&engine, "note-a", Expected::NoStream, vec![typed])
        .await
        .unwrap();
    append(
        &engine,
        "note-a",
        Expected::Any,
        vec![json(1), NewEvent::opaque("Blob", [0, 159, 146])],
    )
    .await
    .unwrap();
    let events = engine
        .read_stream(&stream("note-a"), 0, 10, Direction::Forwards)
        .unwrap();
    assert_eq!(events[0].id, id);
    assert_eq!(events[0].event_time, Timestamp::from_seconds(-5));
    assert_eq!(events[0].metadata.user.as_deref(), Some("ada"));
    assert_eq!(events[0].event_type, "Added");
    assert_eq!(number(&events[1]), 1);
    assert_eq!(
        (events[2].encoding, &events[2].payload[..]),
        (Encoding::Opaque, &[0, 159, 146][..])
    );
    let typed = engine.events::<Happened>(&stream("note-a"), 0, 1).unwrap();
    assert_eq!(typed[0].payload, added(5));
    assert!(engine.events::<Happened>(&stream("note-a"), 0, 3).is_err());
    assert_eq!(Happened::VERSION, 1);
    close(engine).await;
}

#[derive(Clone, Debug)]
enum Step {
    Append {
        stream: u8,
        events: u8,
        expected: u8,
    },
    Many(Vec<u8>),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0u8..5, 1u8..40, 0u8..5).prop_map(|(stream, events, expected)| Step::Append { stream, events, expected }),
        3 => prop::collection::vec(0u8..5, 1..60).prop_map(Step::Many),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..20)
}

/// Two categories; two of the streams lie together by their key.
const NAMES: [&str; 5] = ["note-a", "note-b@k", "memo-a", "memo-b@k", "note-c"];

/// What was accepted, by stream, and the number of the next event.
struct Model {
    streams: Vec<Vec<u64>>,
    next: u64,
}

async fn run(steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let mut engine = open(folder.path()).await;
    let mut model = Model {
        streams: vec![Vec::new(); NAMES.len()],
        next: 0,
    };
    for step in steps {
        match step {
            Step::Append {
                stream,
                events,
                expected,
            } => {
                let (stream, events) = (usize::from(stream), u64::from(events));
                append_one(&engine, &mut model, stream, events, expected).await;
            }
            Step::Many(streams) => append_many(&engine, &mut model, &streams).await,
            Step::Restart => {
                close(engine).await;
                engine = open(folder.path()).await;
            }
        }
    }
    compare_streams(&engine, &model.streams);
    compare_partitions(&engine, &model.streams);
    close(engine).await;
}

/// So many events, with an expectation that holds or does not.
async fn append_one(engine: &Engine, model: &mut Model, stream: usize, events: u64, expected: u8) {
    let held = &mut model.streams[stream];
    let length = held.len() as u64;
    let expected = match expected {
        0 => Expected::Any,
        1 => Expected::NoStream,
        2 => Expected::Exists,
        3 => Expected::unchanged_since(length.checked_sub(1)),
        _ => Expected::Exact(length),
    };
    let numbers: Vec<_> = (model.next..model.next + events).collect();
    model.next += events;
    let sent = append(
        engine,
        NAMES[stream],
        expected,
        numbers.iter().map(|n| json(*n)).collect(),
    )
    .await;
    match expected.check(length) {
        Ok(()) => {
            assert_eq!(sent.unwrap().first_version, length);
            held.extend(numbers);
        }
        Err(expected) => {
            assert!(matches!(sent, Err(AppendError::Conflict(found)) if found == expected));
        }
    }
}

/// An event to each of these streams, all under way at once.
async fn append_many(engine: &Engine, model: &mut Model, streams: &[u8]) {
    let appends = streams.iter().map(|&stream| {
        let n = model.next;
        model.next += 1;
        model.streams[usize::from(stream)].push(n);
        append(
            engine,
            NAMES[usize::from(stream)],
            Expected::Any,
            vec![json(n)],
        )
    });
    // Taken in this order, answered in any.
    let sent: Vec<_> = appends.map(Box::pin).collect();
    let mut waiting = sent;
    std::future::poll_fn(|context| {
        waiting.retain_mut(|append| match append.as_mut().poll(context) {
            std::task::Poll::Ready(answer) => {
                answer.unwrap();
                false
            }
            std::task::Poll::Pending => true,
        });
        if waiting.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

/// Each stream from anywhere, both ways.
fn compare_streams(engine: &Engine, model: &[Vec<u64>]) {
    for (name, held) in NAMES.iter().zip(model) {
        let id = stream(name);
        let length = held.len() as u64;
        for from in [0, 1, length / 2, length.saturating_sub(1), length, u64::MAX] {
            for limit in [0, 1, 7, usize::MAX] {
                let read = |direction| {
                    let events = engine.read_stream(&id, from, limit, direction).unwrap();
                    assert!(events.iter().all(|event| event.stream == *name));
                    events
                        .iter()
                        .map(|event| (event.version, number(event)))
                        .collect::<Vec<_>>()
                };
                let numbered = (0u64..).zip(held.iter().copied());
                let forwards: Vec<_> = numbered
                    .clone()
                    .filter(|(version, _)| *version >= from)
                    .take(limit)
                    .collect();
                assert_eq!(
                    read(Direction::Forwards),
                    forwards,
                    "{name} from {from}, {limit}"
                );
                let mut backwards: Vec<_> =
                    numbered.filter(|(version, _)| *version <= from).collect();
                backwards.reverse();
                backwards.truncate(limit);
                assert_eq!(
                    read(Direction::Backwards),
                    backwards,
                    "{name} back from {from}, {limit}"
                );
            }
        }
    }
}

/// Each partition from anywhere, by category.
fn compare_partitions(engine: &Engine, model: &[Vec<u64>]) {
    let mut found = BTreeMap::<String, Vec<u64>>::new();
    for number_of in 0..PARTITIONS {
        let all = partition(engine, number_of);
        for category in ["note", "memo", "none"] {
            let of_category: Vec<_> = all
                .iter()
                .filter(|event| event.stream.starts_with(&format!("{category}-")))
                .cloned()
                .collect();
            for from in [0, all.len() as u64 / 2, all.len() as u64] {
                for limit in [0, 3, usize::MAX] {
                    let read = engine
                        .read_partition(PartitionId(number_of), Offset(from), limit, Some(category))
                        .unwrap();
                    let expected: Vec<_> = of_category
                        .iter()
                        .filter(|event| event.position.offset.0 >= from)
                        .take(limit)
                        .cloned()
                        .collect();
                    assert_eq!(read, expected);
                }
            }
        }
        for event in all {
            found
                .entry(event.stream.clone())
                .or_default()
                .push(number(&event));
        }
    }
    let expected: BTreeMap<_, _> = NAMES
        .iter()
        .map(|name| name.to_string())
        .zip(model.iter().cloned())
        .filter(|(_, held)| !held.is_empty())
        .collect();
    assert_eq!(found, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Against a vector per stream: whatever is appended, and however the engine is restarted, reads forwards,
    /// backwards, by partition and by category give what the model holds.
    #[test]
    fn a_vector_per_stream(steps in steps()) {
        runtime().block_on(within(run(steps)));
    }
}
