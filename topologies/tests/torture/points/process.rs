//! A process of a scenario that comes to fail points, and whoever goes on after it.

use std::path::{Path, PathBuf};

use millstream::prelude::*;
use millstream_engine::event::EventId;
use millstream_engine::fail_points::Point;

use super::{End, POINTS, end_of, set, tell_failures};
use crate::engine::within;
use crate::processes::{self, Victim};
use crate::victim::FINISHED;

/// Tells the process which folder is meant.
const FOLDER: &str = "MILLSTREAM_TORTURE_POINTS_FOLDER";

/// Runs a victim, which is a test, with these orders, and then another one without any, which has to finish. What is `between` is
/// done before that one. Gives how the first one ended.
pub(super) fn run(
    victim: &str,
    folder: &Path,
    (point, orders): (Point, &str),
    between: impl FnOnce(),
) -> End {
    let end = end_of(start(victim, folder, orders), point.name);
    between();
    let last = end_of(start(victim, folder, ""), "the last process");
    assert_eq!(last, End::Finished(0), "after {}", point.name);
    end
}

fn start(victim: &str, folder: &Path, orders: &str) -> Victim {
    let mut command = processes::alone(victim);
    command.env(FOLDER, folder).env(POINTS, orders);
    Victim::of(&mut command)
}

/// In a victim: does as it was told, and gives the folder. `None` where nobody has started it as one.
pub(super) fn begin() -> Option<PathBuf> {
    let folder = std::env::var_os(FOLDER)?;
    set();
    Some(folder.into())
}

/// In a victim that ends well.
pub(super) fn finish() {
    tell_failures();
    processes::acknowledge(FINISHED);
}

/// Appends the event with this number of a stream. The same event has the same id, whichever process appends it.
pub(super) async fn append(
    engine: &Engine,
    stream: &StreamId,
    number: u64,
    expected: Expected,
    payload: impl Event,
) {
    let event = NewEvent {
        id: Some(EventId::derived("points", stream.as_str(), number)),
        ..NewEvent::typed(payload)
    };
    let appender = engine.appender();
    let appended = appender.append(stream.clone(), expected, vec![event]);
    within(appended).await.unwrap();
}
