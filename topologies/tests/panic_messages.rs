//! What is printed of panics where their messages are limited. A program of its own: the hook is one for the process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/small_files.rs"]
mod small_files;

use std::collections::BTreeMap;
use std::panic;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream::prelude::*;
use millstream_engine::codec::Event;
use millstream_operators::aggregate::{BulkCommand, CommandResult};
use millstream_operators::failing::limit_panic_messages;
use millstream_operators::projection::FailurePolicy;
use serde::{Deserialize, Serialize};

use small_files::small_files;

/// So many of a kind that not all could be told of, at ten in each second.
const PANICS: usize = 300;

#[derive(Clone, Default, Serialize, Deserialize)]
struct Fuse;

#[derive(Clone, Serialize, Deserialize)]
struct Lit;

impl Event for Lit {}

/// Blows, or is lit.
#[derive(Clone, Copy)]
enum Ask {
    Blow,
    Light,
}

impl Aggregate for Fuse {
    const CATEGORY: &'static str = "fuse";
    const VERSION: u32 = 1;
    type Command = Ask;
    type Event = Lit;
    type Rejection = std::convert::Infallible;

    fn decide(&self, ask: Ask, out: &mut Decision<'_, Self>) -> Result<(), Self::Rejection> {
        match ask {
            Ask::Blow => panic!("a command blows"),
            Ask::Light => out.emit(Lit),
        }
        Ok(())
    }

    fn evolve(&mut self, _: &Lit) {}
}

/// Panics on all events.
struct Blowing;

impl Projection for Blowing {
    const NAME: &'static str = "blowing";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = "fuse";
    type Event = Lit;
    type Tables = (Table<String, u64>,);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (Table::named("blown"),)
    }

    fn project(
        &self,
        _: &ProjectedEvent<'_, Lit>,
        _: &mut (TableMut<String, u64>,),
    ) -> Result<(), Self::Error> {
        panic!("an event blows")
    }
}

fn topology() -> Topology {
    let failing_at_once = ProjectionConfig {
        failures: FailurePolicy {
            attempts_max: 1,
            ..FailurePolicy::default()
        },
        // Letters are there once all is projected.
        store_every_ms: 0,
        ..ProjectionConfig::default()
    };
    Topology::named("fuses")
        .aggregate::<Fuse>()
        .projection_with(Blowing, failing_at_once)
        .build()
        .unwrap()
}

async fn send(engine: &Engine, ask: Ask) -> Vec<CommandResult<Fuse>> {
    let bulk = (0..PANICS).map(|n| BulkCommand {
        id: n.to_string().into(),
        command: ask,
        options: CommandOptions::default(),
    });
    engine.aggregate::<Fuse>().send_bulk(bulk.collect()).await
}

/// Story: the hook limited all panics of the process, so a task or thread of the program's own could end without a word while
/// many items failed.
#[tokio::test]
async fn only_what_is_caught_is_limited() {
    let said = Arc::new(Mutex::new(BTreeMap::<String, usize>::new()));
    let saying = Arc::clone(&said);
    panic::set_hook(Box::new(move |info| {
        let message = info.payload_as_str().unwrap().to_owned();
        *saying.lock().unwrap().entry(message).or_default() += 1;
    }));
    limit_panic_messages();
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(folder.path())
        .config(small_files(1))
        .run(topology())
        .await
        .unwrap();
    for answer in send(&engine, Ask::Blow).await {
        let blown = answer.unwrap_err().to_string();
        assert!(blown.contains("a command blows"), "{blown}");
    }
    assert!(send(&engine, Ask::Light).await.iter().all(Result::is_ok));
    let all = engine.durable();
    engine
        .projected(&all, Duration::from_secs(300))
        .await
        .unwrap();
    let verified = engine.verify(Blowing).await.unwrap();
    assert!(verified.is_good());
    for _ in 0..PANICS {
        let thread = std::thread::spawn(|| panic!("a thread blows"));
        assert!(thread.join().is_err());
        let task = tokio::spawn(async { panic!("a task blows") });
        assert!(task.await.is_err());
    }
    // All that is shown is stored then.
    engine.shutdown().await.unwrap();
    let letters = engine.state().dead_letters(None, None, 2 * PANICS).unwrap();
    // Of the process's test harness again: a failed assertion is to be read.
    drop(panic::take_hook());
    assert_eq!(letters.len(), PANICS);
    let mut said = said.lock().unwrap();
    for uncaught in ["a thread blows", "a task blows"] {
        assert_eq!(said.remove(uncaught), Some(PANICS));
    }
    let caught: usize = said.values().sum();
    assert!((1..PANICS).contains(&caught), "{said:?}");
}
