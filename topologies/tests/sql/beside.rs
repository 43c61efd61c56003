//! A running engine: asked itself, and beside it.

use std::time::Duration;

use millstream::prelude::*;
use millstream::sql::SqlOptions;

use crate::support::{ROOMS, Visit, ask_of, config, fill, run, topology};

async fn enter(engine: &Engine, room: &str, times: usize) {
    let events = (0..times).map(|_| {
        NewEvent::typed(Visit::Entered {
            room: room.to_owned(),
            fee: 1,
        })
    });
    let appender = engine.appender();
    let stream = "visit-500".parse().unwrap();
    appender
        .append(stream, Expected::Any, events.collect())
        .await
        .unwrap();
    engine
        .projected(&engine.durable(), Duration::from_secs(300))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_sees_one_moment_and_the_next_one_a_later() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(folder.path())
        .config(config())
        .run(topology())
        .await
        .unwrap();
    let none = engine.sql_session(SqlOptions::default()).await.unwrap();
    assert_eq!(
        ask_of(&none, "select count(*) from events").await.column(),
        ["0"]
    );
    assert!(
        ask_of(&none, "select * from streams")
            .await
            .texts()
            .is_empty()
    );

    enter(&engine, "attic", 3).await;
    let early = engine.sql_session(SqlOptions::default()).await.unwrap();
    let visits = "select visits from rooms where key = 'attic'";
    assert_eq!(ask_of(&early, visits).await.column(), ["3"]);
    enter(&engine, "attic", 4).await;
    enter(&engine, "cellar", 1).await;
    let count = "select count(*) from events";
    assert_eq!(ask_of(&early, visits).await.column(), ["3"]);
    assert_eq!(
        ask_of(&early, "select key from rooms").await.column(),
        ["attic"]
    );
    // Another table of the same projection, which is first named now, is of the same moment.
    assert_eq!(
        ask_of(&early, "select sum(value) from fees").await.column(),
        ["3"]
    );
    assert_eq!(ask_of(&early, count).await.column(), ["3"]);
    assert_eq!(ask_of(&none, count).await.column(), ["0"]);

    let late = engine.sql_session(SqlOptions::default()).await.unwrap();
    let both = "select r.key, r.visits, count(*) from rooms r join events e on json_text(e.payload, 'Entered', 'room') = r.key group by r.key, r.visits order by r.key";
    let rows = ask_of(&late, both).await.texts();
    assert_eq!(rows, [["attic", "7", "7"], ["cellar", "1", "1"]]);
    let tuple = ask_of(
        &late,
        "select key_1, sum(value) from \"by-hour\" where key_1 = 'attic' group by key_1",
    )
    .await;
    assert_eq!(tuple.texts(), [["attic", "7"]]);
    let frame = engine.sql("select * from rooms").await.unwrap();
    assert_eq!(frame.count().await.unwrap(), 2);
    assert_eq!(engine.query(&ROOMS).rows().await.unwrap().len(), 2);
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_asked_beside_the_engine_that_writes_it() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(folder.path())
        .config(config())
        .run(topology())
        .await
        .unwrap();
    let path = folder.path().to_path_buf();
    // Each time another process.
    let asked = tokio::task::spawn_blocking(move || {
        let query =
            "select sum(events), count(*) filter (where events <> last_version + 1) from streams";
        let mut last = 0;
        while last < 3_000 {
            let done = run(&path, &[query, "--format", "csv"]);
            assert!(done.status.success(), "{done:?}");
            let text = String::from_utf8_lossy(&done.stdout).into_owned();
            let (found, gaps) = text.lines().nth(1).unwrap().split_once(',').unwrap();
            // Whole appends, one after another: what was there stays, and versions have no gaps.
            let found = if found.is_empty() {
                0
            } else {
                found.parse().unwrap()
            };
            assert!(found >= last, "{found} after {last}");
            assert_eq!(gaps, "0");
            last = found;
        }
    });
    let ((), asked) = tokio::join!(fill(&engine, |_| {}), asked);
    asked.unwrap();
    engine.shutdown().await.unwrap();
}
