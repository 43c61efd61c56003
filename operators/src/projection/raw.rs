//! Rows as bytes: for those who read a table without its types, such as SQL.
//!
//! Place: a [`TableSnapshot`] of a running engine -> **`RawTable`** -> what the store has of a table at rest: keys and
//! rows in their stored form. Cost: each row is written once more, since it may be in memory alone.

use std::any::Any;
use std::ops::Bound;

use millstream_engine::codec::StandaloneWriter;
use millstream_engine::state::RowPage;

use super::page::{Front, RowSource};
use super::range::KeyRange;
use super::snapshot::TableSnapshot;
use super::{KeyPart, QueryError, Row, TableKey};

/// A table whose rows are read as bytes, whatever its keys and rows are.
pub trait RawTable: Any + Send + Sync {
    /// What the bytes of its keys are made of.
    fn key_parts(&self) -> Vec<KeyPart>;

    /// Rows between the bounds in the order of their keys, about `limit` of them, and where to go on.
    ///
    /// # Errors
    /// As [`TableSnapshot::get`]; [`QueryError::Unwritable`].
    fn page(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
    ) -> Result<RowPage, QueryError>;
}

impl<K: TableKey, R: Row> RawTable for TableSnapshot<K, R> {
    fn key_parts(&self) -> Vec<KeyPart> {
        K::parts()
    }

    fn page(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
    ) -> Result<RowPage, QueryError> {
        let range = KeyRange {
            from: from.map(<[u8]>::to_vec),
            to: to.map(<[u8]>::to_vec),
            is_descending: false,
        };
        let slice = RowSource::slice(
            self,
            &Front {
                range: &range,
                limit,
            },
        )?;
        let mut page = RowPage {
            rows: Vec::with_capacity(slice.0.found.len()),
            end: slice.0.end,
        };
        let mut writer = StandaloneWriter::new();
        for (bytes, (_, row)) in slice.0.found {
            let mut stored = Vec::new();
            writer
                .append(&row, &mut stored)
                .map_err(QueryError::Unwritable)?;
            page.rows.push((bytes, stored));
        }
        Ok(page)
    }
}
