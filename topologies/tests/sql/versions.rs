//! Of a projection with several versions the one that answers is asked, in an engine and in a folder.

use millstream::Engine;
use millstream::prelude::*;

use crate::support::{ROOMS, RoomRow, Visit, Visits, config, fill, run};

/// The next version: counts each visit ten times.
struct Tenfold;

impl Projection for Tenfold {
    const NAME: &'static str = Visits::NAME;
    const VERSION: u32 = 2;
    const ROWS: Rows = Rows::Global;
    const CATEGORY: &'static str = Visits::CATEGORY;
    type Event = Visit;
    type Tables = (Table<String, RoomRow>,);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (ROOMS,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Visit>,
        (rooms,): &mut (TableMut<String, RoomRow>,),
    ) -> Result<(), Self::Error> {
        if let Visit::Entered { room, .. } = event.payload {
            rooms.update(room, |row| row.visits += 10);
        }
        Ok(())
    }
}

const SUM: &str = "select sum(visits) from rooms";

async fn of_engine(engine: &Engine) -> i64 {
    let frame = engine.sql(SUM).await.unwrap();
    let batches = frame.collect().await.unwrap();
    let sums = batches[0].column(0).as_any().downcast_ref();
    let sums: &millstream::sql::datafusion::arrow::array::Int64Array = sums.unwrap();
    sums.value(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_that_answers_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let topology = Topology::named("rooms").projection(Visits);
    let topology = topology.candidate(Tenfold).build().unwrap();
    let builder = Engine::open(folder.path()).config(config());
    let engine = builder.run(topology).await.unwrap();
    fill(&engine, |_| {}).await;
    let rebuild = engine.rebuild(Visits::NAME).unwrap();
    rebuild.caught_up().await.unwrap();
    let deadline = std::time::Duration::from_secs(300);
    engine.projected(&engine.durable(), deadline).await.unwrap();
    let path = folder.path().to_path_buf();
    let of_folder = || {
        let path = path.clone();
        async {
            let done = tokio::task::spawn_blocking(move || run(&path, &[SUM, "--format", "csv"]));
            let done = done.await.unwrap();
            assert!(done.status.success(), "{done:?}");
            let text = String::from_utf8(done.stdout).unwrap();
            text.lines().nth(1).unwrap().parse::<i64>().unwrap()
        }
    };
    let single = of_engine(&engine).await;
    assert!(single > 0);
    rebuild.switch().await.unwrap();
    assert_eq!(of_engine(&engine).await, single * 10);
    rebuild.switch_back().await.unwrap();
    assert_eq!(of_engine(&engine).await, single);
    // Both are stored whole; the record says which one answers.
    engine.shutdown().await.unwrap();
    drop((engine, rebuild));
    assert_eq!(of_folder().await, single);

    let topology = Topology::named("rooms").projection(Visits);
    let topology = topology.candidate(Tenfold).build().unwrap();
    let builder = Engine::open(folder.path()).config(config());
    let engine = builder.run(topology).await.unwrap();
    engine
        .rebuild(Visits::NAME)
        .unwrap()
        .switch()
        .await
        .unwrap();
    engine.shutdown().await.unwrap();
    assert_eq!(of_folder().await, single * 10);
}
