//! Promise: a version of a projection that another one looks into is there for as long as it is, whichever version answers.

use std::path::Path;
use std::sync::{Arc, Mutex};

use millstream::prelude::*;
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::stage::StageStatus;
use millstream_engine::state::{StateOptions, StateStore};

use crate::support::*;

const KEPT: Table<String, SumRow> = Table::named("kept-sums").versioned(Retention::FOREVER);
const FOLLOWED: Table<String, Vec<i64>> = Table::named("followed");

/// What the first version is held up by at a note, once.
type Hold = Arc<Mutex<Option<Gate>>>;

/// The sum of each tally, with all that it was.
#[derive(Default)]
struct Kept<const VERSION: u32>(Hold);

impl<const VERSION: u32> Projection for Kept<VERSION> {
    const NAME: &'static str = "kept-sums";
    const VERSION: u32 = VERSION;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<String, SumRow>,);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (KEPT,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (kept,): &mut (TableMut<String, SumRow>,),
    ) -> Result<(), Self::Error> {
        let is_note = matches!(event.payload, Happened::Noted { .. });
        if let Some(gate) = is_note.then(|| self.0.lock().unwrap().take()).flatten() {
            let _ = gate.entered.send(());
            let _ = gate.leave.recv_timeout(std::time::Duration::from_secs(60));
        }
        kept.update(&event.id.to_owned(), |row| row.add(event.payload));
        Ok(())
    }
}

/// The sums that each tally had, one by one, from the version of the sums with its own number.
struct Follows<const VERSION: u32>;

impl<const VERSION: u32> Projection for Follows<VERSION> {
    const NAME: &'static str = "follows";
    const VERSION: u32 = VERSION;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<String, Vec<i64>>,);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (FOLLOWED,)
    }

    fn reads(&self) -> Reads {
        Reads::none().table(Kept::<VERSION>::default(), &KEPT)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (followed,): &mut (TableMut<String, Vec<i64>>,),
    ) -> Result<(), Self::Error> {
        let id = event.id.to_owned();
        let sum = event.look_up(&KEPT, &id).unwrap_or_default().sum;
        followed.update(&id, |sums| sums.push(sum));
        Ok(())
    }
}

async fn start(folder: &Path, hold: &Hold) -> Engine {
    let topology = Topology::named("read-versions")
        .aggregate::<Tally>()
        .projection(Kept::<1>(Arc::clone(hold)))
        .candidate(Kept::<2>::default())
        .projection(Follows::<1>)
        .candidate(Follows::<2>);
    open_with(folder, config(), topology.build().unwrap()).await
}

async fn add(engine: &Engine, ids: &[&str]) {
    for id in ids {
        engine.send::<Tally>(id, Ask::Add(1)).await.unwrap();
    }
}

async fn followed(engine: &Engine, id: &str) -> Vec<i64> {
    let everything = engine.durable();
    let row = engine.query(&FOLLOWED).at_least(&everything).get(id);
    within(row).await.unwrap().unwrap()
}

async fn switch(engine: &Engine, projection: &str) {
    let rebuild = engine.rebuild(projection).unwrap();
    within(rebuild.caught_up()).await.unwrap();
    assert_eq!(within(rebuild.switch()).await.unwrap(), 2);
}

/// As `projection drop` does where no engine runs.
fn drop_at_rest(folder: &Path, name: &str) {
    let options = StateOptions {
        preallocate_step_bytes: 0,
        ..config().state
    };
    let (store, mut writer) = StateStore::open(&folder.join("state"), options).unwrap();
    writer.drop_version(name, 1).unwrap();
    writer.sync().unwrap();
    assert!(store.projection(name, 1).unwrap().is_none());
}

fn versions(engine: &Engine, projection: &str) -> Vec<u32> {
    let all = engine.rebuild(projection).unwrap().versions();
    all.into_iter().map(|one| one.version).collect()
}

/// Danger: where no engine runs nobody knows who reads a version that is dropped, and the next start did not open. Goal: it is built
/// again, for as long as one that runs reads it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_is_read_is_built_again_after_a_drop_at_rest() {
    let (folder, hold) = (tempfile::tempdir().unwrap(), Hold::default());
    let engine = start(folder.path(), &hold).await;
    add(&engine, &["a", "b", "a"]).await;
    switch(&engine, "kept-sums").await;
    close(engine).await;
    drop_at_rest(folder.path(), "kept-sums");

    let engine = start(folder.path(), &hold).await;
    assert_eq!(versions(&engine, "kept-sums"), [1, 2]);
    let known = engine.state().versions("kept-sums").unwrap().unwrap();
    assert_eq!((known.active, known.dropped), (2, vec![]));
    add(&engine, &["a"]).await;
    assert_eq!(followed(&engine, "a").await, [1, 2, 3]);
    switch(&engine, "follows").await;
    close(engine).await;
    // Another version of the one that reads answers, and it runs still.
    drop_at_rest(folder.path(), "kept-sums");
    let engine = start(folder.path(), &hold).await;
    assert_eq!(versions(&engine, "kept-sums"), [1, 2]);
    assert_eq!(followed(&engine, "a").await, [1, 2, 3]);
    close(engine).await;

    drop_at_rest(folder.path(), "kept-sums");
    drop_at_rest(folder.path(), "follows");
    for _ in 0..2 {
        let engine = start(folder.path(), &hold).await;
        assert_eq!(versions(&engine, "kept-sums"), [2]);
        assert_eq!(versions(&engine, "follows"), [2]);
        add(&engine, &["b"]).await;
        followed(&engine, "b").await;
        close(engine).await;
    }
}

/// Danger: a version that does not answer left at once at a shutdown, and what reads it ended without the rest of the log. Method:
/// it is held up until the shutdown has come to it, with more before it than one turn applies.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_shutdown_waits_for_a_version_that_is_read() {
    let (folder, hold) = (tempfile::tempdir().unwrap(), Hold::default());
    let engine = start(folder.path(), &hold).await;
    let id = id_in(0, 0);
    add(&engine, &[&id]).await;
    switch(&engine, "kept-sums").await;
    let (gate, keeper) = gate();
    *hold.lock().unwrap() = Some(gate);
    let note = Ask::Note("hold".to_owned());
    engine.send::<Tally>(&id, note).await.unwrap();
    let entered = tokio::task::spawn_blocking(|| {
        keeper.wait();
        keeper
    });
    let keeper = entered.await.unwrap();
    for _ in 0..10 {
        let many = Ask::AddAll(vec![1; 500]);
        engine.send::<Tally>(&id, many).await.unwrap();
    }
    let ending = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.shutdown().await })
    };
    until("the version that answers has ended", || {
        let mut stages = engine.stages().into_iter();
        stages.any(|(name, status)| name == "kept-sums@2/0" && status == StageStatus::Stopped)
    })
    .await;
    keeper.open();
    within(ending).await.unwrap().unwrap();
    let follows = engine.state().projection("follows", 1).unwrap().unwrap();
    let progress = engine.state().progress(follows.id, PartitionId(0)).unwrap();
    assert_eq!(progress.unwrap().next, Offset(5_002));
    drop(engine);
}
