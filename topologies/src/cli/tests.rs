//! The command line as a whole.

use clap::CommandFactory;

use super::*;

#[test]
fn the_arguments_fit_together() {
    Arguments::command().debug_assert();
}

#[test]
fn a_closed_pipe_is_known_behind_its_context() {
    let closed = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    assert!(is_closed_pipe(&anyhow::Error::from(closed())));
    assert!(is_closed_pipe(
        &anyhow::Error::from(closed()).context("printing")
    ));
    assert!(!is_closed_pipe(&anyhow::anyhow!("broken pipe")));
}
