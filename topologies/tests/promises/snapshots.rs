//! Promise: an instance that is loaded replays what lies behind its snapshot, and no more.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream::prelude::*;
use serde::{Deserialize, Serialize};

use crate::activation::eager;
use crate::support::*;

/// Events by which an instance of [`Counted`] has evolved. Of the one test that has such.
static EVOLVED: AtomicU64 = AtomicU64::new(0);

/// A sum that tells how often it was changed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Counted {
    sum: i64,
}

impl Aggregate for Counted {
    const CATEGORY: &'static str = "counted";
    const VERSION: u32 = 1;
    type Command = Ask;
    type Event = Happened;
    type Rejection = Refused;

    fn decide(&self, ask: Ask, out: &mut Decision<'_, Self>) -> Result<(), Refused> {
        match ask {
            Ask::Add(by) => out.emit(added(by)),
            _ => return Err(Refused::Sum(self.sum)),
        }
        Ok(())
    }

    fn evolve(&mut self, event: &Happened) {
        EVOLVED.fetch_add(1, Ordering::SeqCst);
        if let Happened::Added { by } = event {
            self.sum += by;
        }
    }
}

async fn counting(folder: &Path) -> Engine {
    let topology = Topology::named("counting").aggregate_with::<Counted>(eager());
    open_with(folder, config(), topology.build().unwrap()).await
}

/// Loads the instance anew; gives the events behind its snapshot, of so many, and those that were replayed.
async fn loaded(folder: &Path, events: u64) -> (u64, u64) {
    let engine = counting(folder).await;
    let id = StreamId::new(Counted::CATEGORY, "one").unwrap();
    let snapshot = engine.state().snapshot(&id);
    let taken_at = snapshot.map_or(0, |snapshot| snapshot.stream_version);
    EVOLVED.store(0, Ordering::SeqCst);
    let refused = within(engine.send::<Counted>("one", Ask::Refuse)).await;
    let Err(CommandError::Rejected(Refused::Sum(sum))) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(sum, events as i64);
    let replayed = EVOLVED.load(Ordering::SeqCst);
    close(engine).await;
    (events - taken_at, replayed)
}

/// Story: all tests of activation asked what an instance decides on, which its events give as well: had no snapshot ever been used,
/// none would have failed. Method: what is replayed is counted, with a snapshot and, since the count must be seen to tell one from
/// the other, without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_replayed_than_what_lies_behind_the_snapshot() {
    const EVENTS: u64 = 205;
    let folder = tempfile::tempdir().unwrap();
    let engine = counting(folder.path()).await;
    for _ in 0..EVENTS {
        within(engine.send::<Counted>("one", Ask::Add(1)))
            .await
            .unwrap();
    }
    close(engine).await;
    let (behind, replayed) = loaded(folder.path(), EVENTS).await;
    assert!((1..EVENTS).contains(&behind), "{behind}");
    assert_eq!(replayed, behind);

    std::fs::remove_dir_all(folder.path().join("state")).unwrap();
    assert_eq!(loaded(folder.path(), EVENTS).await, (EVENTS, EVENTS));
}
