//! Answers as text and files.
//!
//! Invariants: an answer is written as it comes, a part of it in memory at a time; a table for people has no
//! control characters but line ends. The other formats are for programs and have text as it is.

use std::io::Write;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::csv::WriterBuilder as CsvWriterBuilder;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::WriterBuilder as JsonWriterBuilder;
use datafusion::arrow::json::writer::LineDelimited;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::common::DataFusionError;
use datafusion::dataframe::DataFrame;
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::SqlError;

/// Rows that are aligned with each other in a printed table; the next ones are a table of their own.
const TABLE_ROWS: usize = 10_000;

/// Encoded bytes after which a row group of a Parquet file ends.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SqlFormat {
    /// A table for people.
    #[default]
    Table,
    /// Comma-separated values under a line of names.
    Csv,
    /// A JSON object per line.
    Json,
    /// A Parquet file.
    Parquet,
}

/// Runs a query and writes its answer to `out`; gives the number of rows.
///
/// # Errors
/// [`SqlError::Query`] when it fails on its way; [`SqlError::Output`]. Part of it may have been written.
pub async fn write_to(
    frame: DataFrame,
    format: SqlFormat,
    out: &mut impl Write,
) -> Result<u64, SqlError> {
    let schema: SchemaRef = Arc::new(frame.schema().as_arrow().clone());
    let mut stream = frame.execute_stream().await?;
    let mut writer = AnswerWriter::new(format, schema, out)?;
    let mut rows = 0;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        writer.write(batch)?;
    }
    writer.finish()?;
    Ok(rows)
}

/// Writes batches in one of the formats.
enum AnswerWriter<W: Write> {
    Table {
        out: W,
        schema: SchemaRef,
        waiting: Vec<RecordBatch>,
        rows: usize,
        is_first: bool,
    },
    Csv {
        out: W,
        schema: SchemaRef,
        has_names: bool,
    },
    Json(W),
    /// Pages are made in memory and go on from there.
    Parquet(W, Box<ArrowWriter<Vec<u8>>>),
}

fn failed(error: ArrowError) -> SqlError {
    SqlError::Query(DataFusionError::ArrowError(Box::new(error), None))
}

fn parquet_failed(error: parquet::errors::ParquetError) -> SqlError {
    SqlError::Output(std::io::Error::other(error))
}

impl<W: Write> AnswerWriter<W> {
    fn new(format: SqlFormat, schema: SchemaRef, out: W) -> Result<Self, SqlError> {
        Ok(match format {
            SqlFormat::Table => Self::Table {
                out,
                schema,
                waiting: Vec::new(),
                rows: 0,
                is_first: true,
            },
            SqlFormat::Csv => Self::Csv {
                out,
                schema,
                has_names: false,
            },
            SqlFormat::Json => Self::Json(out),
            SqlFormat::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::SNAPPY)
                    .build();
                let writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties));
                Self::Parquet(out, Box::new(writer.map_err(parquet_failed)?))
            }
        })
    }

    fn write(&mut self, batch: RecordBatch) -> Result<(), SqlError> {
        match self {
            Self::Table { waiting, rows, .. } => {
                *rows += batch.num_rows();
                waiting.push(batch);
                if *rows >= TABLE_ROWS {
                    self.print_table()?;
                }
                Ok(())
            }
            Self::Csv { out, has_names, .. } => {
                let text = csv(&batch, !*has_names)?;
                *has_names = true;
                Ok(out.write_all(&text)?)
            }
            Self::Json(out) => Ok(out.write_all(&json(&batch)?)?),
            Self::Parquet(out, writer) => {
                writer.write(&batch).map_err(parquet_failed)?;
                // A row group comes out when it is whole: what it holds until then is in memory.
                if writer.in_progress_size() >= ROW_GROUP_BYTES {
                    writer.flush().map_err(parquet_failed)?;
                }
                out.write_all(writer.inner())?;
                writer.inner_mut().clear();
                Ok(())
            }
        }
    }

    fn print_table(&mut self) -> Result<(), SqlError> {
        if let Self::Table {
            out,
            schema,
            waiting,
            rows,
            is_first,
        } = self
        {
            if waiting.is_empty() {
                waiting.push(RecordBatch::new_empty(Arc::clone(schema)));
            }
            let text = pretty_format_batches(waiting).map_err(failed)?.to_string();
            let tame = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
            let text: String = text.chars().map(tame).collect();
            writeln!(out, "{text}")?;
            waiting.clear();
            (*rows, *is_first) = (0, false);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), SqlError> {
        if let Self::Table { rows, is_first, .. } = &self
            && (*rows > 0 || *is_first)
        {
            self.print_table()?;
        }
        match self {
            // Names stand also above no rows.
            Self::Csv {
                mut out,
                schema,
                has_names: false,
            } => {
                out.write_all(&csv(&RecordBatch::new_empty(schema), true)?)?;
                Ok(out.flush()?)
            }
            Self::Table { mut out, .. } | Self::Csv { mut out, .. } | Self::Json(mut out) => {
                Ok(out.flush()?)
            }
            Self::Parquet(mut out, writer) => {
                out.write_all(&writer.into_inner().map_err(parquet_failed)?)?;
                Ok(out.flush()?)
            }
        }
    }
}

fn csv(batch: &RecordBatch, has_names: bool) -> Result<Vec<u8>, SqlError> {
    let mut text = Vec::new();
    let builder = CsvWriterBuilder::new().with_header(has_names);
    let mut writer = builder.build(&mut text);
    writer
        .write(&flat(batch).map_err(failed)?)
        .map_err(failed)?;
    drop(writer);
    Ok(text)
}

fn json(batch: &RecordBatch) -> Result<Vec<u8>, SqlError> {
    let mut text = Vec::new();
    let builder = JsonWriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, LineDelimited>(&mut text);
    writer.write(batch).map_err(failed)?;
    writer.finish().map_err(failed)?;
    drop(writer);
    Ok(text)
}

/// A batch without structs, lists and the like, which CSV cannot hold: they are texts.
fn flat(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    let columns = columns.map(|(field, array)| -> Result<(Field, ArrayRef), ArrowError> {
        if !field.data_type().is_nested() {
            return Ok((field.as_ref().clone(), Arc::clone(array)));
        }
        let options = FormatOptions::default();
        let formatter = ArrayFormatter::try_new(array, &options)?;
        let texts = (0..array.len()).map(|row| {
            array
                .is_valid(row)
                .then(|| formatter.value(row).to_string())
        });
        let texts = StringArray::from_iter(texts);
        let field = Field::new(field.name(), DataType::Utf8, true);
        Ok((field, Arc::new(texts)))
    });
    let (fields, arrays): (Vec<_>, Vec<_>) =
        columns.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
}
