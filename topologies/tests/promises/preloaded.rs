//! What tests share whose victims have a library in C between them and the disk.

use std::path::{Path, PathBuf};
use std::process::Command;

use millstream::prelude::*;
use millstream_engine::log::Direction;

/// The library whose source here has this name, compiled into `folder`.
pub(crate) fn compile(name: &str, folder: &Path) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promises");
    let source = sources.join(name).with_extension("c");
    let library = folder.join(name).with_extension("so");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let compiled = Command::new(compiler)
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-o"])
        .args([library.as_path(), source.as_path()])
        .args(["-ldl", "-lpthread"])
        .status();
    assert!(compiled.unwrap().success(), "the library was not compiled");
    library
}

/// How many events a stream has to which pairs were appended, each with its number: whole or not at all, and in order.
pub(crate) fn events_of_pairs(engine: &Engine, stream: &StreamId) -> u64 {
    let stored = engine
        .read_stream(stream, 0, usize::MAX, Direction::Forwards)
        .unwrap();
    assert!(stored.len().is_multiple_of(2), "half of an append");
    for (version, event) in (0u64..).zip(&stored) {
        let n = event.to_json().unwrap().unwrap()["n"].as_u64().unwrap();
        assert_eq!(n, version / 2);
    }
    stored.len() as u64
}
