//! Reading rows, page by page, into batches.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result};
use millstream_engine::codec::{Value, ValueReader};
use millstream_engine::state::Row;
use millstream_operators::projection::KeyValue;

use super::super::constraint::Constraint;
use super::super::plan::{Output, Scan, external};
use super::arrays::{Misfit, array, columns};
use super::keys::{self, ByteRange};
use super::{Described, RowsOf};

/// Rows of a page: a read of its own, and a batch.
pub(super) const PAGE_ROWS: usize = 1_024;

/// A read of rows.
pub(super) struct RowsScan {
    pub(super) rows: RowsOf,
    pub(super) described: Arc<Described>,
    pub(super) constraint: Constraint,
    /// Where they are sought, in order.
    pub(super) ranges: Vec<ByteRange>,
    /// What is given.
    pub(super) schema: SchemaRef,
    /// Places of its columns among all.
    pub(super) columns: Vec<usize>,
}

impl RowsScan {
    fn batch(&self, rows: &[Row], reader: &mut ValueReader) -> Result<RecordBatch> {
        let key_count = self.described.keys.len();
        let wants_keys = self.columns.iter().any(|&column| column < key_count);
        let wants_rows = self.columns.iter().any(|&column| column >= key_count);
        let (mut all_keys, mut values) = (Vec::new(), Vec::new());
        for (key, row) in rows {
            if wants_keys {
                let parts = keys::parts(&self.described.keys, key);
                all_keys.push(parts.ok_or_else(|| self.foreign_key(key))?);
            }
            if wants_rows {
                values.push(reader.standalone(row).map_err(external)?);
            }
        }
        let values: Vec<Option<&Value>> = values.iter().map(Some).collect();
        let fields = match (&self.described.fields, wants_rows) {
            (Some(fields), true) => columns(fields, &values).map_err(|it| self.misfit(&it))?,
            _ => vec![values],
        };
        let arrays = self.columns.iter().map(|&column| {
            if let Some(part) = self.described.keys.get(column) {
                let own = all_keys.iter().map(|parts: &Vec<KeyValue>| &parts[column]);
                return Ok(keys::array(*part, own.collect()));
            }
            let (at, fields_of) = (column - key_count, self.described.fields.as_ref());
            let shape = fields_of.map_or(&self.described.value, |fields| &fields[at].1);
            array(shape, &fields[at]).map_err(|it| self.misfit(&it))
        });
        let arrays = arrays.collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let schema = Arc::clone(&self.schema);
        Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
    }

    fn misfit(&self, misfit: &Misfit) -> DataFusionError {
        DataFusionError::Execution(format!(
            "a row of table {:?} is not like its first {}: {}; sample more rows, on the command line with --sample",
            self.described.name, self.described.sample_rows, misfit.found
        ))
    }

    fn foreign_key(&self, key: &[u8]) -> DataFusionError {
        let keys = self.described.keys.iter().map(ToString::to_string);
        let keys: Vec<String> = keys.collect();
        DataFusionError::Execution(format!(
            "a key of table {:?} is not {}, {key:02x?}: say what its keys are, on the command line with --key",
            self.described.name,
            keys.join(",")
        ))
    }
}

impl Scan for RowsScan {
    fn name(&self) -> &'static str {
        "RowsScan"
    }

    fn parts(&self) -> usize {
        usize::from(!self.ranges.is_empty())
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.schema.fields().iter();
        let columns: Vec<&str> = columns.map(|field| field.name().as_str()).collect();
        write!(
            f,
            "table={:?}, columns=[{}], ranges={}, pushed=[{}]",
            self.described.name,
            columns.join(", "),
            self.ranges.len(),
            self.constraint
        )
    }

    fn read(&self, _: usize, output: &mut Output) -> Result<()> {
        let mut reader = ValueReader::new();
        for (from, to) in &self.ranges {
            let (mut from, to) = (from.clone(), to.as_ref().map(Vec::as_slice));
            while output.is_wanted() {
                let limit = PAGE_ROWS.min(output.left());
                let page = self.rows.page(from.as_ref().map(Vec::as_slice), to, limit);
                let page = page.map_err(external)?;
                output.reads.add(1);
                output.rows_read.add(page.rows.len());
                if !page.rows.is_empty() {
                    output.give(self.batch(&page.rows, &mut reader)?);
                }
                match page.end {
                    Some(end) => from = Bound::Excluded(end),
                    None => break,
                }
            }
        }
        Ok(())
    }
}
