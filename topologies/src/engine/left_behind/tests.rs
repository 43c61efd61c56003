//! What is shown of those who show nothing themselves.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use millstream_engine::time::{ManualClock, Timestamp};
use millstream_operators::aggregate::Aggregate;
use millstream_operators::projection::{ProjectedEvent, Projection, Rows, Table, TableMut};

use super::*;
use crate::catalog::bank::{Account, AccountCommand, AccountEvent, Cents, Channel};
use crate::engine::{Engine, EngineConfig};
use crate::server::LocalMetrics;
use crate::topology::Topology;

const SERIES: &str = "{projection=\"hanging\",partition=\"0\",version=\"1\"}";
/// Of the last deposit, at which the projection hangs.
const LAST: u64 = 3;

/// What is looked at from within a step that takes long.
struct Hang {
    metrics: LocalMetrics,
    clock: Arc<ManualClock>,
    engine: OnceLock<Weak<Inner>>,
    /// Lag and age as they are shown then.
    seen: Mutex<Option<(f64, f64)>>,
}

impl Hang {
    fn look(&self) {
        self.clock.advance(SILENT_AFTER * 2);
        let engine = self.engine.get().and_then(Weak::upgrade).unwrap();
        engine.versions[0].show_left_behind(&engine);
        let text = self.metrics.render();
        let value = |name: &str| {
            let series = format!("millstream_projection_lag_{name}{SERIES} ");
            let mut lines = text.lines();
            let found = lines.find_map(|line| line.strip_prefix(&series)?.parse().ok());
            found.unwrap_or_default()
        };
        *self.seen.lock().unwrap() = Some((value("events"), value("seconds")));
    }
}

#[derive(Clone)]
struct Hanging(Arc<Hang>);

impl Projection for Hanging {
    const NAME: &'static str = "hanging";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = Account::CATEGORY;
    type Event = AccountEvent;
    type Tables = (Table<u64, u64>,);
    type Error = Infallible;

    fn tables(&self) -> Self::Tables {
        (Table::named("hanging"),)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, AccountEvent>,
        _: &mut (TableMut<u64, u64>,),
    ) -> Result<(), Infallible> {
        if event.version == LAST {
            self.0.look();
        }
        Ok(())
    }
}

/// Story: a projection shows its lag itself. One that hung in a handler showed what it had when it began there, which was next to
/// nothing, however far the log went on. Method: the look is made, and the clock moved, from within the handler, on the one thread
/// that there is, so that all is shown in these metrics.
#[test]
fn the_lag_of_one_that_hangs_grows() {
    let folder = tempfile::tempdir().unwrap();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    let hang = Arc::new(Hang {
        metrics: LocalMetrics::new(),
        clock: Arc::new(ManualClock::new(Timestamp::EPOCH)),
        engine: OnceLock::new(),
        seen: Mutex::default(),
    });
    let run = async {
        let topology = Topology::named("bank").aggregate::<Account>();
        let topology = topology.projection(Hanging(Arc::clone(&hang)));
        let config = EngineConfig {
            partitions: Some(1),
            ..EngineConfig::default()
        };
        let builder = Engine::open(folder.path()).config(config);
        let builder = builder.clock(Arc::<ManualClock>::clone(&hang.clock) as _);
        let engine = builder.run(topology.build().unwrap()).await.unwrap();
        hang.engine.set(Arc::downgrade(&engine.inner)).unwrap();
        let overdraft_limit = Cents::ZERO;
        let opening = AccountCommand::Open { overdraft_limit };
        engine.send::<Account>("42", opening).await.unwrap();
        for reference in 1..=LAST {
            let deposit = AccountCommand::Deposit {
                amount: Cents::new(100),
                channel: Channel::Cash,
                reference,
            };
            engine.send::<Account>("42", deposit).await.unwrap();
        }
        // Applies all of it.
        engine.shutdown().await.unwrap();
    };
    let bounded = async { tokio::time::timeout(Duration::from_secs(120), run).await };
    let ended = hang.metrics.during(|| runtime.block_on(bounded));
    ended.expect("this should have ended long ago");
    let seen = hang.seen.lock().unwrap().expect("it came to the event");
    let (events, seconds) = seen;
    assert!(
        events >= 1.0 && seconds > SILENT_AFTER.as_secs_f64(),
        "{seen:?}"
    );
}
