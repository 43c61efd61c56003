//! Pages of rows: a part of a table at one moment, in either order.

use std::ops::Bound;

use super::view::{PAGE_BYTES_MAX, as_ref, row_bounds, row_value};
use super::{FoundTable, Row, StateError, StateStore, StateView, TableId};

/// Rows of a range, from its front.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowPage {
    /// Keys and values, in the order that was asked for.
    pub rows: Vec<Row>,
    /// There may be more behind this key; `None` when that was all.
    pub end: Option<Vec<u8>>,
}

impl StateView<'_> {
    /// Rows between the bounds in the order of their keys, at most `limit` and about 16 MiB of them, at least one
    /// if there is one. Empty means that no row is left in the range.
    ///
    /// # Errors
    /// [`StateError::Format`] when a row was damaged; [`StateError::Store`].
    pub fn scan(
        &self,
        table: TableId,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StateError> {
        Ok(self.page(table, from, to, limit, false)?.rows)
    }

    /// The same with where to go on, and with the highest key first if `is_descending`.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    pub fn page(
        &self,
        table: TableId,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
        is_descending: bool,
    ) -> Result<RowPage, StateError> {
        let mut page = RowPage::default();
        if limit == 0 {
            return Ok(page);
        }
        let mut bytes = 0;
        let (from, to) = row_bounds(table, from, to);
        let (from, to) = (as_ref(&from), as_ref(&to));
        let rows = self.databases.rows;
        let entries = if is_descending {
            self.reader.range_reverse(rows, from, to)?
        } else {
            self.reader.range(rows, from, to)?
        };
        for entry in entries {
            let (key, value) = entry?;
            let value = row_value(key, value)?;
            bytes += key.len() + value.len();
            page.rows.push((key[4..].to_vec(), value.to_vec()));
            if page.rows.len() >= limit || bytes >= PAGE_BYTES_MAX {
                page.end = Some(key[4..].to_vec());
                break;
            }
        }
        Ok(page)
    }
}

impl StateStore {
    /// One page of the rows between the bounds, as [`StateView::page`].
    ///
    /// # Errors
    /// As [`StateView::scan`].
    pub fn page(
        &self,
        table: TableId,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
        is_descending: bool,
    ) -> Result<RowPage, StateError> {
        self.view(|view| view.page(table, from, to, limit, is_descending))
    }

    /// The same of a table that somebody else may drop meanwhile, looked for in the same moment.
    ///
    /// # Errors
    /// As [`StateView::check_there`] and [`StateView::scan`].
    pub fn page_of(
        &self,
        table: &FoundTable,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
    ) -> Result<RowPage, StateError> {
        self.view(|view| {
            view.check_there(table)?;
            view.page(table.id, from, to, limit, false)
        })
    }
}
