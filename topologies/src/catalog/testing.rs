//! `given(events).when(command)` for the domains' unit tests, and where test data lies.

#[path = "../../../engine/tests/support/skipped.rs"]
mod skipped;

use std::path::PathBuf;

use millstream_operators::aggregate::{Aggregate, Decision};

use self::skipped::skipped;

/// Decides `command` and applies what it emits.
pub(crate) fn send<A: Aggregate>(
    state: &mut A,
    command: A::Command,
) -> Result<Vec<A::Event>, A::Rejection> {
    let mut events = Vec::new();
    state.decide(
        command,
        &mut Decision::at(&mut events, millstream_engine::time::Timestamp::EPOCH),
    )?;
    events.iter().for_each(|event| state.evolve(event));
    Ok(events)
}

/// The state after `events`.
pub(crate) fn given<A: Aggregate>(events: &[A::Event]) -> Given<A> {
    let mut state = A::default();
    events.iter().for_each(|event| state.evolve(event));
    Given(state)
}

/// See [`given`].
pub(crate) struct Given<A>(A);

impl<A: Aggregate> Given<A> {
    /// What `command` gives on this state.
    pub(crate) fn when(mut self, command: A::Command) -> Result<Vec<A::Event>, A::Rejection> {
        send(&mut self.0, command)
    }
}

/// A file beside the repository that its licence keeps out of it; `None`, said on the console, when it
/// is not there. `MILLSTREAM_SHARED_DATA` names another folder than `../shared/data`.
pub(crate) fn shared_data(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("MILLSTREAM_SHARED_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        PathBuf::from,
    );
    let path = folder.join(name);
    if !path.exists() {
        skipped(format_args!(
            "{name} is not in ../shared/data beside the repository"
        ));
        return None;
    }
    Some(path)
}

/// A file of the examples' own data, which the repository holds.
pub(crate) fn example_data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/data")
        .join(name)
}
