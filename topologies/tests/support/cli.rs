//! The program, and what is seen of it from outside.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::Path;
use std::process::{Child, Command};

use millstream_engine::event::PartitionId;
use millstream_engine::log::{EmbeddedReader, LogReader};

/// The program with these words.
pub(crate) fn millstream(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    command.args(words).env_remove("RUST_LOG");
    command
}

/// The same for a folder, which stands where a word is `DATA`.
pub(crate) fn millstream_on(words: &[&str], data: &Path) -> Command {
    let data = data.to_str().unwrap();
    let words = words.iter();
    let words: Vec<_> = words
        .map(|&word| if word == "DATA" { data } else { word })
        .collect();
    millstream(&words)
}

/// Its status, output and error.
pub(crate) fn outcome(words: &[&str], data: &Path) -> (i32, String, String) {
    let output = millstream_on(words, data).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let status = output.status.code().unwrap();
    (status, text(output.stdout), text(output.stderr))
}

/// What it prints, which must be all right.
pub(crate) fn printed(words: &[&str], data: &Path) -> String {
    let (status, out, error) = outcome(words, data);
    assert_eq!((status, error.as_str()), (0, ""), "{words:?}");
    out
}

/// Events in a log beside the process that writes it; none while it is being made.
pub(crate) fn events(data: &Path) -> u64 {
    let Ok(reader) = EmbeddedReader::open_beside(&data.join("log")) else {
        return 0;
    };
    let partitions = (0..reader.partitions()).map(PartitionId);
    let heads = partitions.map(|partition| reader.head(partition).map_or(0, |head| head.next.0));
    heads.sum()
}

/// Ctrl-C, for a process that was not waited for: its id is nobody else's.
pub(crate) fn interrupt(child: &Child) {
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status();
    assert!(sent.unwrap().success());
}
