//! Danger: events that cannot be read, or whose reading panics. They are parked with their cause; others go on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream::prelude::*;
use millstream_engine::partition::NewEvent;
use millstream_engine::state::DeadLetterStatus;
use millstream_operators::projection::{QueryError, UnreadablePolicy};
use serde::{Deserialize, Deserializer, Serialize};

use crate::failing_events::{letters, projected, quick};
use crate::support::*;

/// A note; reading one with the number 13 panics.
#[derive(Debug, Serialize)]
struct Note {
    n: u64,
}

impl<'de> Deserialize<'de> for Note {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Plain {
            n: u64,
        }
        let Plain { n } = Plain::deserialize(from)?;
        if n == 13 {
            panics("reading panics");
        }
        Ok(Self { n })
    }
}

impl Event for Note {
    const ENCODING: millstream_engine::log::frame::Encoding =
        millstream_engine::log::frame::Encoding::Json;
}

const NOTES: Table<String, u64> = Table::named("notes");
const KEYS: Table<String, u64> = Table::named("keys");

/// Sums the notes of a stream; writes a row whose key has as many bytes as a note says, into the second table.
struct Notes;

impl Projection for Notes {
    const NAME: &'static str = "notes";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::Global;
    const CATEGORY: &'static str = "note";
    type Event = Note;
    type Tables = (Table<String, u64>, Table<String, u64>);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (NOTES, KEYS)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Note>,
        (notes, keys): &mut (TableMut<String, u64>, TableMut<String, u64>),
    ) -> Result<(), Self::Error> {
        let n = event.payload.n;
        notes.update(&event.id.to_owned(), |sum| *sum += n);
        keys.update(&"k".repeat(n as usize), |count| *count += 1);
        Ok(())
    }
}

async fn notes(folder: &Path) -> Engine {
    let topology = Topology::named("notes")
        .projection_with(Notes, quick(2))
        .build()
        .unwrap();
    open_with(folder, config(), topology).await
}

async fn note(engine: &Engine, stream: &str, text: &str) {
    let events = vec![NewEvent::json("Note", text)];
    let stream = stream.parse().unwrap();
    engine
        .appender()
        .append(stream, Expected::Any, events)
        .await
        .unwrap();
}

/// Goal: what cannot be read as the projection's event is parked with its cause, whether reading says so or panics;
/// more of them than the supervisor takes. Others go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undecodable_events() {
    let folder = tempfile::tempdir().unwrap();
    let mut engine = notes(folder.path()).await;
    note(&engine, "note-a", r#"{"n":1}"#).await;
    note(&engine, "note-b", r#"{"m":1}"#).await;
    note(&engine, "note-c", "no json at all").await;
    for n in 0..20 {
        note(&engine, &format!("note-p{n}"), r#"{"n":13}"#).await;
    }
    note(&engine, "note-b", r#"{"n":2}"#).await;
    note(&engine, "note-a", r#"{"n":4}"#).await;
    for _ in 0..2 {
        projected(&engine).await;
        let sums = engine.query(&NOTES).rows().await.unwrap();
        assert_eq!(sums, [("a".to_owned(), 5)]);
        // A letter with a new follower is stored after readers see the position behind it.
        until("all are dead, and one has a follower", || {
            let letters = letters(&engine);
            letters.len() == 22
                && letters.iter().all(|l| l.status == DeadLetterStatus::Dead)
                && letters.iter().map(|l| l.followers).sum::<u64>() == 1
        })
        .await;
        let causes: BTreeMap<_, _> = letters(&engine)
            .into_iter()
            .map(|l| (l.key.to_string(), (l.cause, l.followers)))
            .collect();
        let (cause, followers) = &causes["note-b"];
        assert!(
            cause.iter().any(|cause| cause.contains('n')) && *followers == 1,
            "{cause:?}"
        );
        assert!(
            causes["note-p7"].0[0].contains("reading panics"),
            "{causes:?}"
        );
        assert!(engine.stages().iter().all(|(_, status)| !status.is_ended()));
        close(engine).await;
        engine = notes(folder.path()).await;
    }
    close(engine).await;
}

/// Story: when a row of one table could not be written, the changes of the event's other tables were kept; and a
/// second event that wrote the same impossible key was taken for applied, while its row was never stored.
/// Method: keys of 600 bytes, which no store takes, from two streams at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_cannot_be_stored() {
    let folder = tempfile::tempdir().unwrap();
    let mut engine = notes(folder.path()).await;
    note(&engine, "note-a", r#"{"n":3}"#).await;
    let both = ["note-a", "note-b", "note-c"].map(|stream| {
        let events = vec![NewEvent::json("Note", r#"{"n":600}"#)];
        let appender = engine.appender();
        async move {
            appender
                .append(stream.parse().unwrap(), Expected::Any, events)
                .await
                .unwrap()
        }
    });
    let [a, b, c] = both;
    tokio::join!(a, b, c);
    note(&engine, "note-d", r#"{"n":3}"#).await;
    for _ in 0..2 {
        projected(&engine).await;
        until("all are dead", || {
            let letters = letters(&engine);
            letters.len() == 3 && letters.iter().all(|l| l.status == DeadLetterStatus::Dead)
        })
        .await;
        assert!(
            letters(&engine)[0].cause[0].contains("600 bytes"),
            "{:?}",
            letters(&engine)
        );
        let sums = engine.query(&NOTES).rows().await.unwrap();
        assert_eq!(sums, [("a".to_owned(), 3), ("d".to_owned(), 3)]);
        let keys = engine.query(&KEYS).rows().await.unwrap();
        assert_eq!(keys, [("kkk".to_owned(), 2)]);
        close(engine).await;
        engine = notes(folder.path()).await;
    }
    close(engine).await;
}

/// A row that could be written when its event was applied (see `unwritable_rows` for others) and cannot be when it is
/// stored ends its projection with a typed answer; nothing hangs, the write side goes on. Method: every second try
/// to write the only row fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_change_their_mind() {
    #[derive(Clone, Debug)]
    struct OddRow;
    impl Serialize for OddRow {
        fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            static FAILS: AtomicBool = AtomicBool::new(false);
            if FAILS.fetch_not(Ordering::Relaxed) {
                return Odd::Fails.serialize(to);
            }
            to.serialize_unit()
        }
    }
    impl<'de> Deserialize<'de> for OddRow {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Self)
        }
    }
    struct OddRows;
    impl Projection for OddRows {
        const NAME: &'static str = "odd";
        const VERSION: u32 = 1;
        const ROWS: Rows = Rows::Global;
        const CATEGORY: &'static str = "tally";
        type Event = Happened;
        type Tables = (Table<String, OddRow>,);
        type Error = std::convert::Infallible;
        fn tables(&self) -> Self::Tables {
            (Table::named("odd"),)
        }
        fn project(
            &self,
            event: &ProjectedEvent<'_, Happened>,
            (rows,): &mut (TableMut<String, OddRow>,),
        ) -> Result<(), Self::Error> {
            rows.put(&event.id.to_owned(), OddRow);
            Ok(())
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let topology = Topology::named("odd")
        .aggregate::<Tally>()
        .projection_with(OddRows, quick(2))
        .projection(Sums)
        .build()
        .unwrap();
    let mut config = config();
    config.restart.backoff_first = Duration::from_millis(1);
    let engine = open_with(folder.path(), config, topology).await;
    engine.send::<Tally>("a", Ask::Add(1)).await.unwrap();
    let board = Arc::clone(
        engine
            .table::<String, OddRow>(&Table::named("odd"))
            .unwrap()
            .board(),
    );
    until("it is given up", || {
        engine
            .stages()
            .iter()
            .any(|(name, status)| name == "odd" && status.is_ended())
    })
    .await;
    let ack = engine.send::<Tally>("a", Ask::Add(1)).await.unwrap();
    let reached = within(board.reached(&ack.token(), Duration::from_secs(300))).await;
    assert!(
        matches!(&reached, Err(QueryError::Stopped { cause, .. }) if cause.contains("cannot be")),
        "{reached:?}"
    );
    let row = engine
        .query(&SUMS)
        .at_least(&ack.token())
        .deadline(PATIENCE)
        .get("a")
        .await
        .unwrap();
    assert_eq!(row.unwrap().sum, 2);
    assert!(within(engine.shutdown()).await.is_err());
}

/// Sums of numbers that are read as `E`.
struct Numbers<E>(std::marker::PhantomData<fn(E)>);

/// What has a number.
trait Number: Event {
    fn number(&self) -> u64;
}

impl Number for Note {
    fn number(&self) -> u64 {
        self.n
    }
}

/// A note as a later program reads it: it knows other numbers, too.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum LaterNote {
    Plain { n: u64 },
    Other { m: u64 },
}

impl Event for LaterNote {
    const ENCODING: millstream_engine::log::frame::Encoding =
        millstream_engine::log::frame::Encoding::Json;
}

impl Number for LaterNote {
    fn number(&self) -> u64 {
        match self {
            Self::Plain { n } => *n,
            Self::Other { m } => 1_000 * m,
        }
    }
}

impl<E: Number> Projection for Numbers<E> {
    const NAME: &'static str = "numbers";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::Global;
    const CATEGORY: &'static str = "note";
    type Event = E;
    type Tables = (Table<String, u64>,);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (NOTES,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, E>,
        (notes,): &mut (TableMut<String, u64>,),
    ) -> Result<(), Self::Error> {
        let number = event.payload.number();
        notes.update(&event.id.to_owned(), |sum| *sum += number);
        Ok(())
    }
}

async fn numbers<E: Number>(folder: &Path, unreadable: UnreadablePolicy) -> Engine {
    let projection = ProjectionConfig {
        unreadable,
        ..quick(1)
    };
    let topology = Topology::named("numbers")
        .projection_with(Numbers::<E>(std::marker::PhantomData), projection)
        .build()
        .unwrap();
    let mut config = config();
    config.restart.backoff_first = Duration::from_millis(1);
    open_with(folder, config, topology).await
}

async fn sums(engine: &Engine) -> Vec<(String, u64)> {
    engine.query(&NOTES).rows().await.unwrap()
}

/// Goal: an event that only a later program can read waits as a letter with its bytes, and all that came behind it; the later
/// program applies them in order once it is redriven.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_a_later_program_is_redriven_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let engine = numbers::<Note>(folder.path(), UnreadablePolicy::DeadLetter).await;
    note(&engine, "note-a", r#"{"n":1}"#).await;
    note(&engine, "note-a", r#"{"m":2}"#).await;
    note(&engine, "note-a", r#"{"n":3}"#).await;
    projected(&engine).await;
    until("it is dead", || letters(&engine).len() == 1).await;
    let letter = letters(&engine).remove(0);
    assert_eq!(
        (&*letter.class, &letter.payload[..]),
        ("unreadable", &br#"{"m":2}"#[..])
    );
    assert_eq!(sums(&engine).await, [("a".to_owned(), 1)]);
    close(engine).await;

    let engine = numbers::<LaterNote>(folder.path(), UnreadablePolicy::DeadLetter).await;
    assert_eq!(letters(&engine)[0].id(), letter.id());
    let decisions = engine.dead_letters();
    let token = decisions.redrive(&[letter.id()], "ann", "upgraded").await;
    let minute = Duration::from_secs(60);
    engine.projected(&token.unwrap(), minute).await.unwrap();
    until("it is applied", || letters(&engine).is_empty()).await;
    projected(&engine).await;
    assert_eq!(sums(&engine).await, [("a".to_owned(), 2_004)]);
    close(engine).await;
}

/// Goal: events that cannot be read are passed over for good, or halt their projection by name, as they are told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreadable_events_are_skipped_or_halt() {
    let folder = tempfile::tempdir().unwrap();
    let engine = numbers::<Note>(folder.path(), UnreadablePolicy::Skip).await;
    note(&engine, "note-a", r#"{"n":1}"#).await;
    note(&engine, "note-a", r#"{"m":2}"#).await;
    note(&engine, "note-a", r#"{"n":3}"#).await;
    // Whether reading panics is not the event's fault for sure: a letter.
    note(&engine, "note-b", r#"{"n":13}"#).await;
    for _ in 0..2 {
        projected(&engine).await;
        assert_eq!(sums(&engine).await, [("a".to_owned(), 4)]);
    }
    until("one is dead", || letters(&engine).len() == 1).await;
    assert_eq!(&*letters(&engine)[0].class, "panic");
    close(engine).await;

    let folder = tempfile::tempdir().unwrap();
    let engine = numbers::<Note>(folder.path(), UnreadablePolicy::Halt).await;
    let board = Arc::clone(engine.table(&NOTES).unwrap().board());
    note(&engine, "note-a", r#"{"m":2}"#).await;
    let token = engine.durable();
    let reached = within(board.reached(&token, Duration::from_secs(300))).await;
    assert!(
        matches!(&reached, Err(QueryError::Stopped { cause, .. }) if cause.contains("note-a cannot be read")),
        "{reached:?}"
    );
    assert!(within(engine.shutdown()).await.is_err());
}
