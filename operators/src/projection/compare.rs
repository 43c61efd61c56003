//! Whether two versions of a projection have the same rows.
//!
//! Both are looked at through snapshots that were opened at the same position. Rows are compared in a form that does not
//! depend on their types (see `verify.rs`), so the two may have other ones: of a row that gained a field all are different,
//! unless only the fields that both have are compared.
//! Cost: each row of both is read, turned to JSON and hashed; a page of each is in memory.

use std::iter::Peekable;
use std::vec::IntoIter;

use millstream_engine::event::Token;
use serde_json::Value;

use super::snapshot::AnySnapshot;
use super::verify::{Canonical, add, write};
use super::{QueryError, Snapshot};

/// Rows that are told one by one; the others are counted.
const SAMPLES_MAX: usize = 10;
/// Rows of each side in memory.
const PAGE_ROWS: usize = 1_024;

/// What a comparison of two versions of a projection came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Name of the projection.
    pub projection: &'static str,
    /// The version that answers.
    pub active: u32,
    /// The one that was compared with it.
    pub candidate: u32,
    /// The events whose effects were compared.
    pub token: Token,
    /// Keys whose later events the version that answers, and the other one, lack since one of them failed.
    pub parked: (u64, u64),
    /// Tables that both have, in the order of the version that answers.
    pub tables: Vec<ComparedTable>,
    /// Tables that only the version that answers has.
    pub only_active: Vec<&'static str>,
    /// Tables that only the other one has.
    pub only_candidate: Vec<&'static str>,
}

/// One table of both.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ComparedTable {
    /// Its name.
    pub table: &'static str,
    /// Rows of the version that answers.
    pub rows: u64,
    /// Their checksum.
    pub checksum: u64,
    /// Rows of the other one.
    pub candidate_rows: u64,
    /// Their checksum.
    pub candidate_checksum: u64,
    /// Rows that are the same.
    pub equal: u64,
    /// Rows that the candidate has not.
    pub missing: u64,
    /// Rows that only the candidate has.
    pub extra: u64,
    /// Rows that both have, of other content.
    pub different: u64,
    /// The first of those that are not the same.
    pub samples: Vec<ComparedRow>,
}

/// A row that is not the same in both.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparedRow {
    /// Bytes of its key.
    pub key: Vec<u8>,
    /// As the version that answers has it; `None`: no such row.
    pub active: Option<Value>,
    /// As the candidate has it.
    pub candidate: Option<Value>,
}

impl Comparison {
    /// Whether both have the same tables with the same rows.
    #[must_use]
    pub fn is_same(&self) -> bool {
        let tables = self.tables.iter().all(ComparedTable::is_same);
        tables && self.only_active.is_empty() && self.only_candidate.is_empty()
    }
}

impl ComparedTable {
    /// Whether all rows are the same.
    #[must_use]
    pub const fn is_same(&self) -> bool {
        self.missing == 0 && self.extra == 0 && self.different == 0
    }
}

/// Compares the tables of two versions, and their names, for as long as `goes_on` says nothing else, which is asked for each page
/// of rows.
///
/// # Errors
/// A row cannot be read; [`QueryError::SnapshotLost`]; what `goes_on` says.
#[doc(hidden)]
pub fn compare(
    active: &Snapshot,
    candidate: &Snapshot,
    common_fields: bool,
    goes_on: &dyn Fn() -> Result<(), QueryError>,
    into: &mut Comparison,
) -> Result<(), QueryError> {
    for (name, table) in active.all() {
        match candidate.all().find(|(other, _)| *other == name) {
            Some((_, other)) => {
                let sides = (Side::of(table, goes_on), Side::of(other, goes_on));
                let compared = compare_tables(name, sides, common_fields)?;
                into.tables.push(compared);
            }
            None => into.only_active.push(name),
        }
    }
    let only = candidate.all().map(|(name, _)| name);
    let only = only.filter(|name| active.all().all(|(other, _)| other != *name));
    into.only_candidate.extend(only);
    Ok(())
}

fn compare_tables(
    name: &'static str,
    (mut left, mut right): (Side<'_>, Side<'_>),
    common_fields: bool,
) -> Result<ComparedTable, QueryError> {
    let mut compared = ComparedTable {
        table: name,
        ..ComparedTable::default()
    };
    loop {
        let order = match (left.key()?, right.key()?) {
            (None, None) => return Ok(compared),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(left), Some(right)) => left.cmp(right),
        };
        let was = if order.is_le() { left.next() } else { None };
        let is = if order.is_ge() { right.next() } else { None };
        if let Some((key, row)) = &was {
            compared.rows += 1;
            compared.checksum = add(compared.checksum, key, &row.bytes);
        }
        if let Some((key, row)) = &is {
            compared.candidate_rows += 1;
            compared.candidate_checksum = add(compared.candidate_checksum, key, &row.bytes);
        }
        match (was, is) {
            (Some((_, was)), Some((_, is))) if is_same(&was, &is, common_fields) => {
                compared.equal += 1;
            }
            (Some((key, was)), Some((_, is))) => {
                compared.different += 1;
                compared.sample(key, was.value, is.value);
            }
            (Some((key, was)), None) => {
                compared.missing += 1;
                compared.sample(key, was.value, None);
            }
            (None, Some((key, is))) => {
                compared.extra += 1;
                compared.sample(key, None, is.value);
            }
            (None, None) => {}
        }
    }
}

impl ComparedTable {
    fn sample(&mut self, key: Vec<u8>, active: Option<Value>, candidate: Option<Value>) {
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(ComparedRow {
                key,
                active,
                candidate,
            });
        }
    }
}

fn is_same(was: &Canonical, is: &Canonical, common_fields: bool) -> bool {
    if was.bytes == is.bytes {
        return true;
    }
    let (Some(Value::Object(was)), Some(Value::Object(is)), true) =
        (&was.value, &is.value, common_fields)
    else {
        return false;
    };
    let mut common = was
        .iter()
        .filter_map(|(field, was)| Some((was, is.get(field)?)));
    let bytes = |value: &Value| {
        let mut bytes = Vec::new();
        write(value, &mut bytes);
        bytes
    };
    common.all(|(was, is)| bytes(was) == bytes(is))
}

/// The rows of one side, in order of key.
struct Side<'s> {
    table: &'s dyn AnySnapshot,
    goes_on: &'s dyn Fn() -> Result<(), QueryError>,
    page: Peekable<IntoIter<(Vec<u8>, Canonical)>>,
    /// Last key that was given.
    behind: Option<Vec<u8>>,
    is_over: bool,
}

impl<'s> Side<'s> {
    fn of(table: &'s dyn AnySnapshot, goes_on: &'s dyn Fn() -> Result<(), QueryError>) -> Self {
        Self {
            table,
            goes_on,
            page: Vec::new().into_iter().peekable(),
            behind: None,
            is_over: false,
        }
    }

    fn key(&mut self) -> Result<Option<&[u8]>, QueryError> {
        while self.page.peek().is_none() && !self.is_over {
            (self.goes_on)()?;
            let (rows, behind) = self.table.page(self.behind.take(), PAGE_ROWS)?;
            self.is_over = behind.is_none();
            self.behind = behind;
            self.page = rows.into_iter().peekable();
        }
        Ok(self.page.peek().map(|(key, _)| key.as_slice()))
    }

    fn next(&mut self) -> Option<(Vec<u8>, Canonical)> {
        self.page.next()
    }
}
