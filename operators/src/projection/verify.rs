//! Whether the rows of a projection are what its code makes of the log.
//!
//! A row has bytes that do not depend on how its maps are held: its JSON, with keys in order. The checksum of a table is the
//! sum of XXH3 over keys and these bytes, so it does not depend on the order of rows either; two tables with the same rows
//! have the same one wherever they are. That is not so of rows with sets, or maps under other keys than texts, whose order is
//! the process's: keep those in order (`BTreeSet`, `BTreeMap`). What JSON has no word for (a number that is none, the
//! infinite) is null in it.
//! Not here: why two tables differ. A projection that does not commute over the partitions of [`Rows::Global`](super::Rows),
//! or asks anything but its events, may have other rows each time that it is made anew.

use std::iter::Peekable;
use std::ops::Bound;

use millstream_engine::codec::{StandaloneReader, StandaloneWriter, to_vec};
use millstream_engine::event::Token;
use millstream_engine::state::{StateStore, TableId};
use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;

use super::{PastTables, QueryError, Row, Snapshot, Table, TableKey};

/// Rows that are told one by one; the others are counted.
const SAMPLES_MAX: usize = 10;
/// Stored rows that one read looks at.
const PAGE_ROWS: usize = 1_024;

/// What a comparison of a projection with a replay of its code came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Verification {
    /// Name of the projection.
    pub projection: &'static str,
    /// Its version.
    pub version: u32,
    /// The events whose effects were compared.
    pub token: Token,
    /// Events that the replay applied.
    pub events: u64,
    /// Events that the replay could not apply, and those that waited behind them.
    pub failed: u64,
    /// Its tables, in order.
    pub tables: Vec<TableCheck>,
}

/// One table beside the same one made anew.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableCheck {
    /// Its name.
    pub table: &'static str,
    /// Rows that it has.
    pub rows: u64,
    /// Their checksum.
    pub checksum: u64,
    /// Rows that the replay made.
    pub replayed_rows: u64,
    /// Their checksum.
    pub replayed_checksum: u64,
    /// Rows that the replay made and the table has not.
    pub missing: u64,
    /// Rows that the table has and the replay did not make.
    pub extra: u64,
    /// Rows that both have, of other content.
    pub different: u64,
    /// The first of those that are not the same.
    pub samples: Vec<RowSample>,
}

/// A row that is not as the replay made it.
#[derive(Clone, Debug, PartialEq)]
pub struct RowSample {
    /// Bytes of its key.
    pub key: Vec<u8>,
    /// What the table has; `None`: no such row.
    pub found: Option<Value>,
    /// What the replay made.
    pub replayed: Option<Value>,
}

impl Verification {
    /// Whether all rows are the same.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.tables.iter().all(TableCheck::is_good)
    }
}

impl TableCheck {
    /// Whether all rows are the same.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.missing == 0 && self.extra == 0 && self.different == 0
    }
}

/// Where the rows are that are looked at.
#[doc(hidden)]
#[derive(Debug)]
pub enum Looked<'l> {
    /// As readers see them.
    Shown(&'l Snapshot),
    /// As they are stored, under these ids.
    Stored(&'l StateStore, &'l [TableId]),
}

/// Compares one table, the `at`th of its projection.
pub(super) fn check<K: TableKey, R: Row>(
    table: &Table<K, R>,
    at: usize,
    looked: &Looked<'_>,
    past: &PastTables,
) -> Result<TableCheck, QueryError> {
    let rows = past.encoded(table)?;
    let mut checking = Checking::<K, R, _> {
        check: TableCheck {
            table: table.name(),
            ..TableCheck::default()
        },
        replayed: rows.iter().peekable(),
        reader: StandaloneReader::new(),
        writer: StandaloneWriter::new(),
        encoded: Vec::new(),
        rows: std::marker::PhantomData,
    };
    match looked {
        Looked::Shown(snapshot) => {
            let mut outcome = Ok(());
            snapshot.table(table)?.scan().for_each(|key, row| {
                if outcome.is_ok() {
                    outcome = checking.look(&super::range::key_bytes(&key), &row);
                }
            })?;
            outcome?;
        }
        Looked::Stored(store, ids) => {
            let id = *ids.get(at).ok_or(QueryError::UnknownTable {
                table: table.name(),
            })?;
            let (mut behind, mut reader) = (None::<Vec<u8>>, StandaloneReader::new());
            loop {
                let from = behind.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                let page = store.scan(id, from, PAGE_ROWS)?;
                for (key, value) in &page {
                    checking.look(key, &reader.decode::<R>(value)?)?;
                }
                match page.into_iter().next_back() {
                    Some((last, _)) => behind = Some(last),
                    None => break,
                }
            }
        }
    }
    checking.finish()
}

struct Checking<'r, K, R, I: Iterator<Item = (&'r Vec<u8>, &'r Vec<u8>)>> {
    check: TableCheck,
    /// In order of key.
    replayed: Peekable<I>,
    reader: StandaloneReader,
    writer: StandaloneWriter,
    /// The row that is looked at, as it would be stored.
    encoded: Vec<u8>,
    rows: std::marker::PhantomData<fn() -> (K, R)>,
}

impl<'r, K: TableKey, R: Row, I> Checking<'r, K, R, I>
where
    I: Iterator<Item = (&'r Vec<u8>, &'r Vec<u8>)>,
{
    /// Looks at a row; they come in order of key.
    fn look(&mut self, key: &[u8], row: &R) -> Result<(), QueryError> {
        while let Some((missing, encoded)) =
            self.replayed.next_if(|(other, _)| other.as_slice() < key)
        {
            self.miss(missing, encoded)?;
        }
        let found = canonical(row)?;
        self.check.rows += 1;
        self.check.checksum = add(self.check.checksum, key, &found.bytes);
        let same = self.replayed.next_if(|(other, _)| other.as_slice() == key);
        let Some((_, encoded)) = same else {
            self.check.extra += 1;
            self.sample(key, found.value, None);
            return Ok(());
        };
        self.encoded.clear();
        let written = self.writer.append(row, &mut self.encoded);
        written.map_err(QueryError::Unwritable)?;
        if self.encoded == *encoded {
            self.check.replayed_rows += 1;
            self.check.replayed_checksum = add(self.check.replayed_checksum, key, &found.bytes);
            return Ok(());
        }
        let replayed = self.replayed_row(key, encoded)?;
        if found.bytes != replayed.bytes {
            self.check.different += 1;
            self.sample(key, found.value, replayed.value);
        }
        Ok(())
    }

    fn replayed_row(&mut self, key: &[u8], encoded: &[u8]) -> Result<Canonical, QueryError> {
        let replayed = canonical(&self.reader.decode::<R>(encoded)?)?;
        self.check.replayed_rows += 1;
        self.check.replayed_checksum = add(self.check.replayed_checksum, key, &replayed.bytes);
        Ok(replayed)
    }

    fn miss(&mut self, key: &[u8], encoded: &[u8]) -> Result<(), QueryError> {
        let replayed = self.replayed_row(key, encoded)?;
        self.check.missing += 1;
        self.sample(key, None, replayed.value);
        Ok(())
    }

    fn sample(&mut self, key: &[u8], found: Option<Value>, replayed: Option<Value>) {
        if self.check.samples.len() < SAMPLES_MAX {
            self.check.samples.push(RowSample {
                key: key.to_vec(),
                found,
                replayed,
            });
        }
    }

    fn finish(mut self) -> Result<TableCheck, QueryError> {
        while let Some((missing, encoded)) = self.replayed.next() {
            self.miss(missing, encoded)?;
        }
        Ok(self.check)
    }
}

/// A row in a form that does not depend on how it is held.
#[derive(Debug)]
pub struct Canonical {
    pub(super) bytes: Vec<u8>,
    /// For people; `None` where JSON has no word for it.
    pub(super) value: Option<Value>,
}

pub(super) fn canonical<R: Row>(row: &R) -> Result<Canonical, QueryError> {
    let mut bytes = Vec::new();
    let value = serde_json::to_value(row).ok();
    match &value {
        Some(value) => write(value, &mut bytes),
        // Such as a map whose keys are no texts.
        None => bytes = to_vec(row).map_err(QueryError::Unwritable)?,
    }
    Ok(Canonical { bytes, value })
}

/// Writes JSON with the keys of each object in order.
pub(super) fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            out.push(b'{');
            for (name, value) in fields {
                write_text(name, out);
                write(value, out);
            }
            out.push(b'}');
        }
        Value::Array(values) => {
            out.push(b'[');
            for value in values {
                write(value, out);
                out.push(b',');
            }
            out.push(b']');
        }
        Value::String(text) => {
            out.push(b'"');
            write_text(text, out);
        }
        plain => out.extend_from_slice(plain.to_string().as_bytes()),
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u64).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn add(sum: u64, key: &[u8], row: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&(key.len() as u64).to_be_bytes());
    hasher.update(key);
    hasher.update(row);
    sum.wrapping_add(hasher.digest())
}
