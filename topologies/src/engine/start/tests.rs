//! Starts that fail.

use std::convert::Infallible;
use std::path::Path;

use millstream_engine::state::StateError;
use millstream_operators::aggregate::Aggregate;
use millstream_operators::projection::{
    OpenProjectionError, ProjectedEvent, Projection, Rows, Table, TableMut,
};

use super::*;
use crate::catalog::bank::{Account, AccountEvent};

/// A projection that has this table, under one version all the same.
#[derive(Clone)]
struct Renamed(&'static str);

impl Projection for Renamed {
    const NAME: &'static str = "renamed";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = Account::CATEGORY;
    type Event = AccountEvent;
    type Tables = (Table<u64, u64>,);
    type Error = Infallible;

    fn tables(&self) -> Self::Tables {
        (Table::named(self.0),)
    }

    fn project(
        &self,
        _: &ProjectedEvent<'_, AccountEvent>,
        _: &mut (TableMut<u64, u64>,),
    ) -> Result<(), Infallible> {
        Ok(())
    }
}

async fn open(folder: &Path, table: &'static str) -> Result<Engine, OpenError> {
    let topology = Topology::named("bank").aggregate::<Account>();
    let topology = topology.projection(Renamed(table)).build();
    let mut config = EngineConfig {
        partitions: Some(1),
        ..EngineConfig::default()
    };
    config.log.map_bytes_max = 1 << 30;
    config.log.preallocate_step_bytes = 1 << 20;
    let builder = Engine::open(folder).config(config);
    builder.run(topology.expect("a sound topology")).await
}

/// Story: a start that failed after its stores were opened came back while the thread of the log's writer still held the folder, so that
/// the next one right behind it found it in use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_fails_leaves_the_folder_free() {
    const STARTS: usize = 40;
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), "first").await.unwrap();
    engine.shutdown().await.unwrap();
    drop(engine);
    for _ in 0..STARTS {
        let refused = open(folder.path(), "second").await;
        let refused = refused.expect_err("the tables are others");
        let is_for_tables = matches!(
            refused,
            OpenError::Projection {
                cause: OpenProjectionError::State(StateError::Tables { .. }),
                ..
            }
        );
        assert!(is_for_tables, "{refused}");
    }
    let engine = open(folder.path(), "first").await.unwrap();
    engine.shutdown().await.unwrap();
}
