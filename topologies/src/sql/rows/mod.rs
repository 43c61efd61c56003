//! A table of a projection or dataflow as a table of SQL: a row per row.
//!
//! Place: stored or snapshot rows as bytes -> **`RowsTable`** -> DataFusion. Columns: the key's parts, `key` or `key_1`,
//! `key_2` …, then the fields of the rows, or `value` where rows are no structs. Fields are known from the rows alone: from the
//! first [`SqlOptions::sample_rows`](super::SqlOptions::sample_rows) of them. A later row that has others or does not
//! fit is an error that says so, never a null. Rows are read in pages; ranges of the key are sought, all else is
//! read and filtered.

mod arrays;
mod keys;
mod scan;
mod shape;

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use millstream_engine::codec::ValueReader;
use millstream_engine::state::{FoundTable, Row, RowPage, StateStore};
use millstream_operators::projection::{KeyPart, QueryError, RawTable};

use super::constraint::{Constraint, bounded};
use super::plan::{ScanExec, external};
use scan::RowsScan;
use shape::Shape;

pub(super) use keys::guess;

/// Columns past which the fields of rows are one text.
const FIELDS_MAX: usize = 1_000;

/// Where rows come from.
#[derive(Clone)]
pub(crate) enum RowsOf {
    /// A running engine, at one moment.
    Kept(Arc<dyn RawTable>),
    /// The state of a folder, page by page.
    Stored(StateStore, FoundTable),
}

impl RowsOf {
    fn page(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
    ) -> Result<RowPage, QueryError> {
        match self {
            Self::Kept(table) => table.page(from, to, limit),
            Self::Stored(store, table) => Ok(store.page_of(table, from, to, limit)?),
        }
    }

    /// The first keys and rows.
    pub(super) fn first(&self, rows_max: usize) -> Result<Vec<Row>, QueryError> {
        let (mut rows, mut from) = (Vec::new(), Bound::Unbounded);
        loop {
            let limit = scan::PAGE_ROWS.min(rows_max - rows.len());
            if limit == 0 {
                return Ok(rows);
            }
            let page = self.page(from.as_ref().map(Vec::as_slice), Bound::Unbounded, limit)?;
            rows.extend(page.rows.into_iter().take(limit));
            match page.end {
                Some(end) => from = Bound::Excluded(end),
                None => return Ok(rows),
            }
        }
    }
}

impl fmt::Debug for RowsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept(_) => f.write_str("Kept"),
            Self::Stored(_, table) => f.debug_tuple("Stored").field(table).finish(),
        }
    }
}

/// What is known of a table's rows.
#[derive(Debug)]
struct Described {
    name: String,
    keys: Vec<KeyPart>,
    /// Names of the fields and what they hold; `None` where rows are no structs.
    fields: Option<Vec<(String, Shape)>>,
    /// What a row is where it has no fields.
    value: Shape,
    /// Rows that this was learnt from.
    sample_rows: usize,
}

/// The table.
#[derive(Debug)]
pub(super) struct RowsTable {
    rows: RowsOf,
    described: Arc<Described>,
    schema: SchemaRef,
}

impl RowsTable {
    /// Learns what the rows of table `name` are. Blocks. Cost: reads `sample_rows` rows.
    pub(super) fn open(
        name: &str,
        rows: RowsOf,
        keys: Option<Vec<KeyPart>>,
        sample_rows: usize,
    ) -> Result<Self> {
        let sample = rows.first(sample_rows).map_err(external)?;
        let keys = keys.unwrap_or_else(|| guess(sample.iter().map(|(key, _)| key.as_slice())));
        let (mut shape, mut reader) = (Shape::Unknown, ValueReader::new());
        for (_, row) in &sample {
            shape = shape.merge(Shape::of(&reader.standalone(row).map_err(external)?));
        }
        let (fields, value) = match shape {
            Shape::Struct(fields) if fields.len() <= FIELDS_MAX => (Some(fields), Shape::Unknown),
            Shape::Struct(_) => (None, Shape::Json),
            value => (None, value),
        };
        let described = Described {
            name: name.to_owned(),
            keys,
            fields,
            value,
            sample_rows,
        };
        Ok(Self {
            rows,
            schema: described.schema(),
            described: Arc::new(described),
        })
    }
}

impl Described {
    /// Names of the key's columns.
    fn key_names(&self) -> Vec<String> {
        if self.keys.len() == 1 {
            return vec!["key".to_owned()];
        }
        (1..=self.keys.len())
            .map(|at| format!("key_{at}"))
            .collect()
    }

    fn schema(&self) -> SchemaRef {
        let names = self.key_names();
        let keys = names.iter().zip(&self.keys);
        let keys = keys.map(|(name, part)| Field::new(name, keys::data_type(*part), false));
        let mut columns: Vec<Field> = keys.collect();
        let whole = [("value".to_owned(), self.value.clone())];
        for (name, shape) in self.fields.as_deref().unwrap_or(&whole) {
            // A field may be called as a column of the key is.
            let mut name = name.clone();
            while columns.iter().any(|column| *column.name() == name) {
                name.insert_str(0, "row_");
            }
            columns.push(Field::new(name, shape.data_type(), true));
        }
        Arc::new(Schema::new(columns))
    }
}

#[async_trait]
impl TableProvider for RowsTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = || (0..self.schema.fields().len()).collect();
        let columns: Vec<usize> = projection.cloned().unwrap_or_else(all);
        let schema = Arc::new(self.schema.project(&columns)?);
        let described = &self.described;
        let constraint = Constraint::of(filters, &|column| keys::kind_of(described, column));
        let scan = RowsScan {
            rows: self.rows.clone(),
            ranges: keys::ranges(described, &constraint),
            constraint,
            described: Arc::clone(described),
            schema: Arc::clone(&schema),
            columns,
        };
        Ok(ScanExec::plan(Arc::new(scan), schema, limit))
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let described = &self.described;
        // A range of bytes may be a little wider than what was asked for.
        let how = |filter: &&Expr| match bounded(filter, &|name| keys::kind_of(described, name)) {
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(how).collect())
    }
}
