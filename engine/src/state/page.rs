//! Pages of rows: a part of a table at one moment, in either order.

use std::ops::Bound;

use super::view::{PAGE_BYTES_MAX, as_ref, row_bounds, row_value};
use super::{FoundTable, Row, StateError, StateStore, StateView, TableId, seal};

/// Rows of a range, from its front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowPage<V = Vec<u8>> {
    /// Keys and values, in the order that was asked for.
    pub rows: Vec<(Vec<u8>, V)>,
    /// There may be more behind this key; `None` when that was all.
    pub end: Option<Vec<u8>>,
}

impl<V> Default for RowPage<V> {
    /// The end of a table.
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            end: None,
        }
    }
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
        let read = |key: &[u8], stored: &[u8]| Ok(row_value(key, stored)?.to_vec());
        self.page_by(table, (from, to), limit, is_descending, read)
    }

    /// The same in which a row that was damaged has its key and no value: for those who go on without it.
    ///
    /// # Errors
    /// [`StateError::Store`].
    pub fn page_with_damaged(
        &self,
        table: TableId,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
        is_descending: bool,
    ) -> Result<RowPage<Option<Vec<u8>>>, StateError> {
        let read = |key: &[u8], stored: &[u8]| Ok(seal::unsealed(key, stored).map(<[u8]>::to_vec));
        self.page_by(table, (from, to), limit, is_descending, read)
    }

    /// A page whose values are what `read` makes of a whole key and what is stored.
    fn page_by<V>(
        &self,
        table: TableId,
        (from, to): (Bound<&[u8]>, Bound<&[u8]>),
        limit: usize,
        is_descending: bool,
        read: impl Fn(&[u8], &[u8]) -> Result<V, StateError>,
    ) -> Result<RowPage<V>, StateError> {
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
            let (key, stored) = entry?;
            let value = read(key, stored)?;
            bytes += key.len() + stored.len();
            page.rows.push((key[4..].to_vec(), value));
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

    /// The same with rows that are damaged, as [`StateView::page_with_damaged`].
    ///
    /// # Errors
    /// As there.
    pub fn page_with_damaged(
        &self,
        table: TableId,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
        is_descending: bool,
    ) -> Result<RowPage<Option<Vec<u8>>>, StateError> {
        self.view(|view| view.page_with_damaged(table, from, to, limit, is_descending))
    }

    /// One page as [`page`](Self::page) of a table that somebody else may drop meanwhile, looked for in the same moment.
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
