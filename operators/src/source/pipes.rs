//! Pipes that were opened: each by one reader only, in the life of a process.
//!
//! What was read of a pipe cannot be read again. A stage that begins anew before anything of it is in a checkpoint would
//! open the pipe as if it began there, and miss what the run before had read, or what its reader, which may still wait for
//! the pipe, takes yet. So the second reader is refused.
//! Bounds: an entry per pipe that was ever read.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::SystemTime;

use super::file_mark::FileNumber;

/// A pipe: its number, and when it was made, since numbers are given again.
type Pipe = (FileNumber, Option<SystemTime>);

static OPENED: LazyLock<Mutex<HashSet<Pipe>>> = LazyLock::new(Mutex::default);

/// To be asked before a reader opens a file for the first time; opening a pipe may wait for whoever writes to it. Gives
/// whether it is a pipe.
pub(super) fn take(path: &Path) -> Result<bool, String> {
    // What is not there is told by whoever opens it.
    let Ok(metadata) = fs::metadata(path) else {
        return Ok(false);
    };
    if !is_pipe(&metadata) {
        return Ok(false);
    }
    let Some(number) = FileNumber::of(&metadata) else {
        return Ok(true);
    };
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if opened.insert((number, metadata.created().ok())) {
        return Ok(true);
    }
    Err(format!(
        "{}: this process has opened this pipe before, and what was read of it cannot be read again: a dataflow that went \
         on here would miss it. Start the process again with the whole input, or read it from a file",
        path.display()
    ))
}

#[cfg(unix)]
fn is_pipe(file: &Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let kind = file.file_type();
    // Of devices, such as a terminal or `/dev/null`, nobody expects what was read before.
    kind.is_fifo() || kind.is_socket()
}

#[cfg(not(unix))]
fn is_pipe(_file: &Metadata) -> bool {
    false
}
