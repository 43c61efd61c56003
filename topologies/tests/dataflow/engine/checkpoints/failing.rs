//! Checkpoints of which the dataflow fails.

use millstream::dataflow::{SourcePlan, TakeCheckpointError};
use millstream_engine::flow::{Emit, Fault, Pulled, SeekError, Source, Wiring};

use super::*;

/// A source without items, whose state cannot be saved so often.
#[derive(Clone)]
struct Unsaved(Arc<AtomicU64>);

impl SourcePlan for Unsaved {
    type Source = Self;

    fn split_count(&self, _wiring: &Wiring) -> Result<usize, Fault> {
        Ok(1)
    }

    fn split(&self, _number: usize, _wiring: &Wiring) -> Result<Self, Fault> {
        Ok(self.clone())
    }
}

impl Source for Unsaved {
    type Item = u64;

    fn pull<E: Emit<u64>>(&mut self, _items_max: usize, _out: &mut E) -> Result<Pulled, Fault> {
        Ok(Pulled::PendingFor(Duration::from_millis(1)))
    }

    fn position(&self) -> Result<Option<Vec<u8>>, Fault> {
        let less = |left: u64| left.checked_sub(1);
        let order = Ordering::Relaxed;
        match self.0.fetch_update(order, order, less) {
            Ok(_) => Err(Fault("it is too much to be saved".to_owned())),
            Err(_) => Ok(None),
        }
    }

    fn seek(&mut self, _position: &[u8]) -> Result<(), SeekError> {
        Ok(())
    }
}

/// Story: a savepoint of which the dataflow failed was asked of each next run, until it had failed too often and was dead. One that
/// fails of something else meanwhile has its savepoint from the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_savepoint_of_which_the_dataflow_fails_is_asked_for_once_more() {
    let folder = tempfile::tempdir().unwrap();
    let fails = Arc::new(AtomicU64::new(0));
    let plan = Unsaved(Arc::clone(&fails));
    let topology =
        Topology::named("shop").dataflow_with("rows", checkpointed(3_600_000), move |flow| {
            let numbers = flow.source("numbers", plan).partitions(1).stream();
            numbers.to_table(&NUMBERS, |number| (number, Some(number)));
        });
    let mut config = config();
    config.restart.attempts_max = 4;
    config.restart.backoff_first = Duration::from_millis(1);
    let opened = Engine::open(folder.path()).config(config);
    let engine = opened.run(topology.build().unwrap()).await.unwrap();
    let rows = engine.dataflow("rows");
    fails.store(1, Ordering::Relaxed);
    within(rows.savepoint()).await.unwrap();
    fails.store(1_000, Ordering::Relaxed);
    let error = within(rows.savepoint()).await.unwrap_err();
    let TakeCheckpointError::GivenUp { cause } = error else {
        panic!("{error:?}");
    };
    assert!(cause.contains("failed 2 times meanwhile"), "{cause}");
    assert!(cause.contains("it is too much to be saved"), "{cause}");
    assert_eq!(rows.status(), DataflowStatus::Running);
    fails.store(0, Ordering::Relaxed);
    within(rows.savepoint()).await.unwrap();
    close(engine).await;
}
