//! Tables against maps: what readers, ranges, indexes and snapshots give, whatever is stored and whatever is not.

mod derived;
mod handlers;
mod letting_go;
mod model;
mod taking_back;
mod together;

use std::path::Path;
use std::sync::Arc;

use millstream_engine::state::{StateOptions, StateStore, StateWriter, TableId};
use serde::{Deserialize, Serialize};

use super::writer::Place;
use super::{HotRows, Index, ProgressBoard, Table, TableMut, TableReader};

type Key = (u8, String);

impl super::TableKey for u8 {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }
    fn read(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [byte] => Some(*byte),
            _ => None,
        }
    }
    fn write_part(&self, out: &mut Vec<u8>) {
        self.write(out);
    }
    fn read_part(bytes: &mut &[u8]) -> Option<Self> {
        let (own, rest) = bytes.split_first()?;
        *bytes = rest;
        Some(*own)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Row {
    tag: Option<u8>,
    code: Option<u8>,
}

const BY_TAG: Index<Key, Row, (u8, String)> =
    Index::named("by-tag", |key, row| Some((row.tag?, key.1.clone())));
const BY_CODE: Index<Key, Row, u8> = Index::named("by-code", |_, row: &Row| row.code).unique();
const ROWS: Table<Key, Row> = Table::named("rows").indexed(&[&BY_TAG, &BY_CODE]);

/// A table in a store.
struct Stored {
    ids: Vec<TableId>,
    store: StateStore,
    writer: StateWriter,
    hot: Arc<HotRows<Key, Row>>,
    reader: TableReader<Key, Row>,
    board: Arc<ProgressBoard>,
}

impl Stored {
    fn new(folder: &Path) -> Self {
        let options = StateOptions {
            map_bytes_max: 64 << 20,
            preallocate_step_bytes: 1 << 20,
            ..StateOptions::default()
        };
        let (store, mut writer) = StateStore::open(folder, options).unwrap();
        let names = ["rows", "rows#by-tag", "rows#by-code"];
        let ids = writer.register_projection("p", 1, &names).unwrap().tables;
        let hot = Arc::new(HotRows::of(&ROWS));
        let board = ProgressBoard::new("p", 1);
        let reader = TableReader::new(
            &ROWS,
            ids[0],
            &ids[1..],
            store.clone(),
            Arc::clone(&hot),
            Arc::clone(&board),
        );
        Self {
            ids,
            store,
            writer,
            hot,
            reader,
            board,
        }
    }

    fn open(&self, is_complete: bool, actor: u16) -> TableMut<Key, Row> {
        TableMut::new(Place {
            table: &ROWS,
            id: self.ids[0],
            beside: &self.ids[1..],
            store: Some(self.store.clone()),
            hot: Arc::clone(&self.hot),
            is_complete,
            actor,
        })
    }
}
