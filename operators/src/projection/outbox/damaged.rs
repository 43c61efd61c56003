//! Reading rows of outboxes, of which one that is damaged keeps no other from being read.
//!
//! It is given as a row without bytes, which no format has. So it is what cannot be read, like a row of a later version, and fails,
//! is listed and is discarded by itself: an error of the whole page would end the deliveries of a partition, or keep the engine
//! from starting, and nothing but the row itself could be made good by that.

use std::ops::Bound;

use millstream_engine::state::{RowPage, StateError, StateStore, TableId};

/// A page of rows, as [`StateStore::page`].
pub(super) fn page(
    store: &StateStore,
    table: TableId,
    (from, to): (Bound<&[u8]>, Bound<&[u8]>),
    limit: usize,
    is_descending: bool,
) -> Result<RowPage, StateError> {
    let page = store.page_with_damaged(table, from, to, limit, is_descending)?;
    let rows = page.rows.into_iter();
    let rows = rows.map(|(key, row)| (key, row.unwrap_or_default()));
    Ok(RowPage {
        rows: rows.collect(),
        end: page.end,
    })
}

/// One row, as [`StateStore::get`].
pub(super) fn get(
    store: &StateStore,
    table: TableId,
    key: &[u8],
) -> Result<Option<Vec<u8>>, StateError> {
    let only = (Bound::Included(key), Bound::Included(key));
    let row = page(store, table, only, 1, false)?.rows.pop();
    Ok(row.map(|(_, row)| row))
}
