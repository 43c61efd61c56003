//! Fail points of a change of a projection for another version of it.
//!
//! Two versions of a table run. They are compared, the second one is switched to, switched back from and switched to again,
//! and the first one is dropped. Whatever step is a process's last, one of them answers with all rows.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use millstream::RebuildError;
use millstream::prelude::*;
use millstream_engine::fail_points::Point;
use serde::{Deserialize, Serialize};

use super::{Act, End, order, process};
use crate::engine::{config, data_in, runtime, until, within};
use crate::rounds::{Folder, verify};

/// The test that is started as a process.
const VICTIM: &str = "points::versions::victim";
const STREAMS: u64 = 300;
const COUNTS: Table<String, u64> = Table::named("counts");

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Value(u64);

impl Event for Value {}

/// As version `N`.
struct Counts<const N: u32>;

impl<const N: u32> Projection for Counts<N> {
    const NAME: &'static str = "counts";
    const VERSION: u32 = N;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = "value";
    type Event = Value;
    type Tables = (Table<String, u64>,);
    type Error = Infallible;

    fn tables(&self) -> Self::Tables {
        (COUNTS,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Value>,
        (counts,): &mut (TableMut<String, u64>,),
    ) -> Result<(), Infallible> {
        counts.update(&event.id.to_owned(), |count| *count += event.payload.0);
        Ok(())
    }
}

async fn open(folder: &Path) -> Engine {
    let topology = Topology::named("versions")
        .projection(Counts::<1>)
        .candidate(Counts::<2>)
        .build()
        .unwrap();
    let builder = Engine::open(data_in(folder)).config(config(3));
    builder.run(topology).await.unwrap()
}

/// Appends what is missing.
async fn append(engine: &Engine) {
    for n in 0..STREAMS {
        let stream = StreamId::new("value", &n.to_string()).unwrap();
        let stored = engine.events::<Value>(&stream, 0, 1).unwrap();
        if stored.is_empty() {
            process::append(engine, &stream, 0, Expected::NoStream, Value(n)).await;
        }
    }
}

/// All that is done with versions, from wherever an earlier process has come to.
async fn change(engine: &Engine) {
    let rebuild = engine.rebuild("counts").unwrap();
    let is_whole = rebuild.versions().len() == 2;
    if is_whole && rebuild.active() == 1 {
        within(rebuild.caught_up()).await.unwrap();
        assert!(within(rebuild.compare()).await.unwrap().is_same());
        assert_eq!(within(rebuild.switch()).await.unwrap(), 2);
        assert_eq!(within(rebuild.switch_back()).await.unwrap(), 1);
        assert_eq!(within(rebuild.switch()).await.unwrap(), 2);
    }
    assert_eq!(rebuild.active(), 2);
    match within(rebuild.drop_version(1)).await {
        Ok(()) => {}
        // Dropped by an earlier process.
        Err(RebuildError::UnknownVersion { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

async fn check(engine: &Engine) {
    let token = engine.durable();
    let shown = engine.projected(&token, Duration::from_secs(300)).await;
    shown.unwrap();
    let mut rows = engine.table(&COUNTS).unwrap().rows().unwrap();
    rows.sort_unstable_by_key(|(_, count)| *count);
    let expected: Vec<_> = (0..STREAMS).map(|n| (n.to_string(), n)).collect();
    assert_eq!(rows, expected);
}

/// Does nothing by itself.
#[test]
fn victim() {
    let Some(folder) = process::begin() else {
        return;
    };
    runtime().block_on(async {
        let engine = open(&folder).await;
        append(&engine).await;
        change(&engine).await;
        check(&engine).await;
        within(engine.shutdown()).await.unwrap();
        process::finish();
    });
}

pub(super) fn dies(point: Point, passing: u64) -> bool {
    let folder = Folder::new();
    let orders = order(point, Act::Die, passing);
    // One of the two answers, with all rows, before anything else is done.
    let one_answers = || {
        runtime().block_on(async {
            let engine = open(folder.path()).await;
            append(&engine).await;
            check(&engine).await;
            within(engine.shutdown()).await.unwrap();
        });
    };
    let end = process::run(VICTIM, folder.path(), (point, &orders), one_answers);
    runtime().block_on(async {
        let engine = open(folder.path()).await;
        check(&engine).await;
        let rebuild = engine.rebuild("counts").unwrap();
        assert_eq!(rebuild.active(), 2);
        assert_eq!(rebuild.versions().len(), 1, "the first one was dropped");
        drop(rebuild);
        let store = engine.state().clone();
        until(|| async { store.projections().unwrap().len() == 1 }).await;
        within(engine.shutdown()).await.unwrap();
    });
    verify(&data_in(folder.path()));
    end == End::Died
}
