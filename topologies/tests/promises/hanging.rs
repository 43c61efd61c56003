//! A projection whose code does not return: it keeps one thread, and nobody beside it waits.

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use millstream::prelude::*;
use millstream::{Runtime, RuntimeConfig};

use super::support::*;

/// Closed until somebody opens it.
#[derive(Default)]
struct Gate {
    is_reached: AtomicBool,
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        self.is_reached.store(true, Ordering::SeqCst);
        let is_open = self.is_open.lock().unwrap();
        let waited = self.opened.wait_while(is_open, |is_open| !*is_open);
        drop(waited.unwrap());
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

/// Opened also when the test fails: the runtime waits for what hangs.
struct Held(Arc<Gate>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// Hangs at each event until the gate is open.
struct Hanging(Arc<Gate>);

impl Projection for Hanging {
    const NAME: &'static str = "hanging";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::Global;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<String, u64>,);
    type Error = Infallible;

    fn tables(&self) -> Self::Tables {
        (SEEN,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (seen,): &mut (TableMut<String, u64>,),
    ) -> Result<(), Infallible> {
        self.0.pass();
        seen.update(&event.id.to_owned(), |count| *count += 1);
        Ok(())
    }
}

const SEEN: Table<String, u64> = Table::named("seen");

/// Goal: while one projection hangs, commands are answered and the others show them; once it goes on it has missed nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_projection_that_hangs_keeps_nobody_else_waiting() {
    hang_beside_others().await;
}

/// Goal: the same where the one thread that works is the one that is kept.
#[test]
fn the_only_thread_that_hangs_is_replaced() {
    let config = RuntimeConfig {
        threads: NonZeroUsize::MIN,
        spares: 1,
    };
    let runtime = Runtime::with(config).unwrap();
    runtime.block_on(hang_beside_others());
}

async fn hang_beside_others() {
    let folder = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let _held = Held(Arc::clone(&gate));
    let topology = Topology::named("tallies")
        .aggregate::<Tally>()
        .projection(Hanging(Arc::clone(&gate)))
        .projection(Sums)
        .build()
        .unwrap();
    let engine = open_with(folder.path(), config(), topology).await;
    let add = async |number: u64| {
        let id = (number % 10).to_string();
        within(engine.send::<Tally>(&id, Ask::Add(1)))
            .await
            .unwrap();
    };
    add(0).await;
    until("it hangs", || gate.is_reached.load(Ordering::SeqCst)).await;
    for number in 1..500 {
        add(number).await;
    }
    let sums = within(async {
        let query = engine
            .query(&SUMS)
            .at_least(&engine.durable())
            .deadline(PATIENCE);
        query.get("7").await.unwrap()
    });
    assert_eq!(sums.await.unwrap().events, 50);
    assert!(engine.table(&SEEN).unwrap().rows().unwrap().is_empty());
    gate.open();
    let token = engine.durable();
    let projected = engine.projected(&token, std::time::Duration::from_secs(300));
    within(projected).await.unwrap();
    let seen = engine.table(&SEEN).unwrap().rows().unwrap();
    assert_eq!(seen.iter().map(|(_, count)| count).sum::<u64>(), 500);
    close(engine).await;
}
