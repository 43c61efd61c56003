//! Danger: a comparison of large tables takes minutes, and a rollback waited for it.

use std::sync::{Arc, Mutex};

use millstream::RebuildError;
use millstream_operators::projection::QueryError;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::*;

/// What holds the next row up that is written, once.
type Hold = Arc<Mutex<Option<Gate>>>;

/// A sum whose writing can be held up, for as long as it was not read from the store.
#[derive(Clone, Default)]
struct Slow {
    sum: i64,
    hold: Hold,
}

impl Serialize for Slow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let gate = self.hold.lock().unwrap().take();
        if let Some(gate) = gate {
            let _ = gate.entered.send(());
            // Until it is let go, or the test has failed.
            let _ = gate.leave.recv();
        }
        self.sum.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Slow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let sum = i64::deserialize(deserializer)?;
        Ok(Self {
            sum,
            hold: Hold::default(),
        })
    }
}

const SLOW: Table<String, Slow> = Table::named("slow");

struct SlowSums<const VERSION: u32>(Hold);

impl<const VERSION: u32> Projection for SlowSums<VERSION> {
    const NAME: &'static str = "slow";
    const VERSION: u32 = VERSION;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<String, Slow>,);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (SLOW,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (slow,): &mut (TableMut<String, Slow>,),
    ) -> Result<(), Self::Error> {
        if let Happened::Added { by } = event.payload {
            slow.update(&event.id.to_owned(), |row| {
                row.sum += by;
                row.hold = Arc::clone(&self.0);
            });
        }
        Ok(())
    }
}

/// Holds the comparison up in the middle of its rows.
fn held(hold: &Hold) -> (tokio::task::JoinHandle<()>, std::sync::mpsc::SyncSender<()>) {
    let (entered, seen) = std::sync::mpsc::sync_channel(1);
    let (open, leave) = std::sync::mpsc::sync_channel(1);
    *hold.lock().unwrap() = Some(Gate { entered, leave });
    let seen = tokio::task::spawn_blocking(move || {
        let wait = std::time::Duration::from_secs(60);
        seen.recv_timeout(wait).expect("rows are compared");
    });
    (seen, open)
}

/// Goal: switching back and dropping end while rows are compared, and the comparison is of the rows that were there, or says that they
/// are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_does_not_wait_for_a_comparison() {
    let (folder, hold) = (tempfile::tempdir().unwrap(), Hold::default());
    // Rows are read from memory.
    let unstored = ProjectionConfig {
        store_every_ms: 3_600_000,
        ..ProjectionConfig::default()
    };
    let topology = Topology::named("slow")
        .aggregate::<Tally>()
        .projection_with(SlowSums::<1>(Arc::clone(&hold)), unstored.clone())
        .candidate_with(SlowSums::<2>(Arc::clone(&hold)), unstored);
    let engine = start(folder.path(), topology.build().unwrap()).await;
    fill(&engine, 10).await;
    let rebuild = engine.rebuild("slow").unwrap();
    within(rebuild.caught_up()).await.unwrap();
    assert_eq!(within(rebuild.switch()).await.unwrap(), 2);

    let (entered, open) = held(&hold);
    let comparing = tokio::spawn({
        let rebuild = rebuild.clone();
        async move { rebuild.compare().await }
    });
    within(entered).await.unwrap();
    assert_eq!(within(rebuild.switch_back()).await.unwrap(), 1);
    open.send(()).unwrap();
    let compared = within(comparing).await.unwrap().unwrap();
    assert_eq!((compared.active, compared.candidate), (2, 1));
    assert!(compared.is_same() && compared.tables[0].equal == 10);

    let (entered, open) = held(&hold);
    let comparing = tokio::spawn({
        let rebuild = rebuild.clone();
        async move { rebuild.compare().await }
    });
    within(entered).await.unwrap();
    within(rebuild.drop_version(2)).await.unwrap();
    open.send(()).unwrap();
    let gone = within(comparing).await.unwrap().unwrap_err();
    let is_told = matches!(
        gone,
        RebuildError::Query(QueryError::Dropped { version: 2, .. })
    );
    assert!(is_told, "{gone}");
    drop(rebuild);
    close(engine).await;
}
