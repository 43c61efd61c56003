//! Danger: a program that reads beside the engine is killed while it reads. The engine lets go what it held; its files do not grow
//! by all that is written from then on.

use std::path::Path;

use millstream::prelude::*;
use millstream_engine::log::EmbeddedReader;
use millstream_engine::state::StateStore;

use crate::processes::{self, Victim};
use crate::support::*;

/// Names the folder to the process that is going to be killed.
const VICTIM: &str = "MILLSTREAM_READERS_VICTIM";

/// Reads the log and the state until it is killed. Does nothing by itself.
#[test]
fn victim() {
    let Ok(folder) = std::env::var(VICTIM) else {
        return;
    };
    let folder = Path::new(&folder);
    let log = EmbeddedReader::open_beside(&folder.join("log")).unwrap();
    let state = StateStore::open_beside(&folder.join("state")).unwrap();
    let stay = || {
        processes::acknowledge(1);
        loop {
            std::thread::park();
        }
    };
    let reading = state.view(|_| log.environment().read(|_| stay()).map_err(Into::into));
    reading.unwrap();
}

/// Commands of one look, one commit of the log each.
const COMMANDS: u64 = 100;
const PAGE_BYTES: u64 = 4_096;

/// Sends commands; gives the bytes by which the log grows.
async fn growth(engine: &Engine) -> u64 {
    let used = || engine.log().file_bytes().unwrap().0;
    let before = used();
    for n in 0..COMMANDS {
        let ask = Ask::AddAll(vec![1]);
        engine
            .send::<Tally>(&format!("t{}", n % 3), ask)
            .await
            .unwrap();
    }
    used() - before
}

/// Story: nobody looked for killed readers, and a log grew by four pages with each commit until the engine had been closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_engine_lets_go_what_a_killed_reader_held() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    let mut victim =
        Victim::of(processes::alone("killed_readers::victim").env(VICTIM, folder.path()));
    assert_eq!(victim.next(), Some(1), "it does not read");
    let held = growth(&engine).await;
    assert!(held > COMMANDS * PAGE_BYTES, "a reader lost its pages");
    drop(victim);
    // Once it is let go only the events themselves take new pages.
    within(async { while growth(&engine).await > COMMANDS * PAGE_BYTES / 2 {} }).await;
    // It looks at the state first.
    let left = engine.state().environment().clear_stale_readers();
    assert_eq!(left.unwrap(), 0, "the state is not looked at");
    check(&engine).await;
    close(engine).await;
}
