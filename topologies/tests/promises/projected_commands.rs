//! Promise: a command that is answered once its effect is in a table is not told so while the effect is not there.

use std::sync::Arc;
use std::time::Duration;

use millstream::ProjectedError;
use millstream::prelude::*;
use millstream_engine::state::DeadLetterStatus;
use millstream_operators::projection::QueryError;

use crate::failing_events::{LISTS, Switch, fragile, quick};
use crate::support::*;

type Sent = Result<Ack, ProjectedError<Refused>>;

async fn add(engine: &Engine, id: &str, by: i64, options: CommandOptions) -> Sent {
    let sent =
        engine.send_projected_with::<Tally, _, _>(id, Ask::Add(by), options, &LISTS, PATIENCE);
    within(sent).await
}

fn list(engine: &Engine, id: &str) -> Vec<i64> {
    let reader = engine.table(&LISTS).unwrap();
    reader.get(&id.to_owned()).unwrap().unwrap_or_default()
}

/// The answer to a command that was accepted and whose stream is parked, and the offset of the event that failed.
fn parked(sent: Sent) -> (Ack, u64) {
    match sent {
        Err(ProjectedError::Parked { ack, parked }) => (ack, parked.letter.offset.0),
        other => panic!("{other:?}"),
    }
}

/// Story: what failed in the projection was passed over by its position, and the command was told that the table had it.
/// Goal: neither the failed one is told so nor those behind it, nor who asks for them again under the same id; those of before it
/// and of other streams are. Once it recovers all are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_parked_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let switch = Arc::new(Switch::default());
    switch.failing.lock().unwrap().insert(666);
    let engine = fragile::<true>(folder.path(), &switch, quick(1)).await;

    let before = add(&engine, "bad", 1, named(1)).await.unwrap();
    let (failed, offset) = parked(add(&engine, "bad", 666, named(2)).await);
    assert_eq!(failed.position.unwrap().offset.0, offset);
    assert_eq!(failed.version, Some(1));
    let (behind, cause) = parked(add(&engine, "bad", 2, named(3)).await);
    assert_eq!((behind.version, cause), (Some(2), offset));
    let sent = engine.send_projected::<Tally, _, _>("bad", Ask::Add(3), &LISTS);
    let (behind, cause) = parked(within(sent).await);
    assert_eq!((behind.version, cause), (Some(3), offset));

    add(&engine, "good", 4, named(1)).await.unwrap();
    assert_eq!(list(&engine, "good"), [4]);
    let again = add(&engine, "bad", 1, named(1)).await.unwrap();
    assert!(again.is_repeat);
    assert_eq!(again.position, before.position);
    for (number, by) in [(2, 666), (3, 2)] {
        let (again, cause) = parked(add(&engine, "bad", by, named(number)).await);
        assert!(again.is_repeat);
        assert_eq!(cause, offset);
    }
    assert_eq!(list(&engine, "bad"), [1]);

    until("it is dead", || {
        let letters = crate::failing_events::letters(&engine);
        letters.len() == 1 && letters[0].status == DeadLetterStatus::Dead
    })
    .await;
    switch.failing.lock().unwrap().clear();
    let letters = engine.dead_letters();
    let id = crate::failing_events::letters(&engine)[0].id();
    letters.redrive(&[id], "ann", "mended").await.unwrap();
    let table = engine.table(&LISTS).unwrap();
    until("it is freed", || table.parked("bad").is_none()).await;
    let again = add(&engine, "bad", 666, named(2)).await.unwrap();
    assert!(again.is_repeat);
    assert_eq!(list(&engine, "bad"), [1, 666, 2, 3]);
    close(engine).await;
}

/// What a caller expects and how long it waits are its own to say. Method: a handler is held, so that nothing is shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expectations_and_deadlines_hold() {
    let folder = tempfile::tempdir().unwrap();
    let switch = Arc::new(Switch::default());
    let engine = fragile::<true>(folder.path(), &switch, quick(1)).await;
    let conflict = add(&engine, "a", 1, expecting(Expected::Exact(7))).await;
    assert!(
        matches!(
            conflict,
            Err(ProjectedError::Command(CommandError::Conflict(_)))
        ),
        "{conflict:?}"
    );
    let (gate, keeper) = gate();
    *switch.gate.lock().unwrap() = Some((7, gate));
    let asked = engine.clone();
    // A runtime of its own tells the time: the handler may hold the worker that would.
    let sent = tokio::task::spawn_blocking(move || {
        let (command, deadline) = (Ask::Add(7), Duration::from_millis(1));
        let sent =
            asked.send_projected_with::<Tally, _, _>("a", command, named(1), &LISTS, deadline);
        runtime().block_on(sent)
    });
    let sent = within(sent).await.unwrap();
    assert!(
        matches!(
            sent,
            Err(ProjectedError::Query(QueryError::Behind { behind: 1, .. }))
        ),
        "{sent:?}"
    );
    keeper.open();
    // It was accepted: who asks again waits for the effect of the first.
    assert!(add(&engine, "a", 7, named(1)).await.unwrap().is_repeat);
    assert_eq!(list(&engine, "a"), [7]);
    close(engine).await;
}

const NOTES: Table<String, u64> = Table::named("notes");

/// Fails on each note.
struct Unwilling;

impl Projection for Unwilling {
    const NAME: &'static str = "unwilling";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::Global;
    const CATEGORY: &'static str = "note";
    type Event = Happened;
    type Tables = (Table<String, u64>,);
    type Error = std::fmt::Error;

    fn tables(&self) -> Self::Tables {
        (NOTES,)
    }

    fn project(
        &self,
        _: &ProjectedEvent<'_, Happened>,
        _: &mut (TableMut<String, u64>,),
    ) -> Result<(), std::fmt::Error> {
        Err(std::fmt::Error)
    }
}

/// Danger: streams are parked by their ids without the category, and another category may have the same ids. Method: a projection of
/// the other one fails on a stream of the same id in the same partition.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_category_is_not_mistaken_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let topology = Topology::named("notes")
        .aggregate::<Tally>()
        .projection_with(Unwilling, quick(1))
        .build()
        .unwrap();
    let engine = open_with(folder.path(), config(), topology).await;
    let stream = |category, id: &str| StreamId::new(category, id).unwrap();
    let id = (0..).map(|n| format!("t{n}")).find(|id| {
        let [tally, note] = ["tally", "note"].map(|category| stream(category, id));
        tally.partition(PARTITIONS) == note.partition(PARTITIONS)
    });
    let id = id.unwrap();
    let (note, events) = (stream("note", &id), vec![NewEvent::typed(added(1))]);
    let appended = engine.appender().append(note, Expected::Any, events).await;
    let asked = engine.query(&NOTES).at_least(&appended.unwrap().token());
    let asked = asked.deadline(PATIENCE).parked(&id).await.unwrap();
    assert!(asked.is_some(), "the note is parked");
    let sent = engine.send_projected::<Tally, _, _>(&id, Ask::Add(1), &NOTES);
    within(sent).await.unwrap();
    close(engine).await;
}
