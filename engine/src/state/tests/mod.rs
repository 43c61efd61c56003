use std::path::Path;

use super::*;
use crate::event::{Offset, PartitionId, Position, StreamId};
use crate::log::frame::FrameHash;

mod catalog;
mod damage;
mod dead_letters;
mod layout;
mod letting_go;
mod progress;
mod room;
mod rows;
mod service;
mod snapshots;
mod versions;

fn options() -> StateOptions {
    StateOptions {
        map_bytes_max: 256 << 20,
        preallocate_step_bytes: 0,
        ..StateOptions::default()
    }
}

fn open(folder: &Path) -> (StateStore, StateWriter) {
    StateStore::open(folder, options()).unwrap()
}

fn put(table: TableId, key: &[u8], value: &[u8]) -> StateWrite {
    StateWrite::PutRow {
        table,
        key: key.to_vec(),
        value: value.to_vec(),
    }
}

fn commit(writer: &mut StateWriter, writes: Vec<StateWrite>) {
    writer.step(vec![StateBatch::new(writes)]).unwrap();
}

fn progress_at(next: u64) -> Progress {
    Progress {
        next: Offset(next),
        frame: Some((Offset(next.saturating_sub(1)), FrameHash([7; 32]))),
    }
}
