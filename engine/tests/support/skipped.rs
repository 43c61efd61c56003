//! What a test says that cannot run where it is. The tests of `millstream` use it as well.

use std::fmt::Display;
use std::io::Write;

/// Says why a test passes without having looked. Not by a macro: what those print of tests that pass, nobody sees.
pub(crate) fn skipped(why: impl Display) {
    // Where nobody listens, nobody is to be told.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}
