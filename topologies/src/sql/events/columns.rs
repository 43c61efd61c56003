//! The columns of `events`, and batches of them.
//!
//! Hostile bytes: a payload that cannot be decoded is null, and stands in `payload_bytes` as it is.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BinaryBuilder, Int32Builder, Int64Builder, RecordBatch, RecordBatchOptions,
    StringBuilder, TimestampMicrosecondBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::Result;
use millstream_engine::codec::ValueReader;
use millstream_engine::event::PartitionId;
use millstream_engine::log::frame::{Frame, Record, SHAPES};

use super::super::plan::{BATCH_BYTES, BATCH_ROWS};

/// Microseconds, UTC. Spelled like the zone of SQL's `timestamptz`, so that comparing the two needs no cast.
pub(in crate::sql) fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
}

/// All columns.
pub(super) fn schema() -> SchemaRef {
    let there = |name: &str, of: DataType| Field::new(name, of, false);
    let maybe = |name: &str, of: DataType| Field::new(name, of, true);
    Arc::new(Schema::new(vec![
        there("partition", DataType::Int32),
        there("offset", DataType::Int64),
        there("stream", DataType::Utf8),
        there("category", DataType::Utf8),
        there("id", DataType::Utf8),
        there("version", DataType::Int64),
        there("type", DataType::Utf8),
        there("schema_version", DataType::Int64),
        there("recorded_at", time()),
        there("event_time", time()),
        there("event_id", DataType::Utf8),
        maybe("correlation", DataType::Utf8),
        maybe("causation", DataType::Utf8),
        maybe("user", DataType::Utf8),
        maybe("payload", DataType::Utf8),
        maybe("payload_bytes", DataType::Binary),
    ]))
}

/// A column that grows.
enum Column {
    Small(Int32Builder),
    Number(Int64Builder),
    Time(TimestampMicrosecondBuilder),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
}

/// Rows on their way into a batch.
pub(super) struct Events {
    schema: SchemaRef,
    columns: Vec<(String, Column)>,
    values: ValueReader,
    wants_payload: bool,
    rows: usize,
    bytes: usize,
}

impl Events {
    /// Rows with some of the columns.
    pub(super) fn of(schema: &SchemaRef) -> Self {
        let columns = schema.fields().iter().map(|field| {
            let column = match field.data_type() {
                DataType::Int32 => Column::Small(Int32Builder::new()),
                DataType::Int64 => Column::Number(Int64Builder::new()),
                DataType::Timestamp(..) => Column::Time(
                    TimestampMicrosecondBuilder::new().with_data_type(field.data_type().clone()),
                ),
                DataType::Binary => Column::Bytes(BinaryBuilder::new()),
                _ => Column::Text(StringBuilder::new()),
            };
            (field.name().clone(), column)
        });
        let columns: Vec<_> = columns.collect();
        let wants_payload = columns.iter().any(|(name, _)| name.starts_with("payload"));
        Self {
            schema: Arc::clone(schema),
            columns,
            values: ValueReader::new(),
            wants_payload,
            rows: 0,
            bytes: 0,
        }
    }

    pub(super) const fn rows(&self) -> usize {
        self.rows
    }

    pub(super) const fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    /// Adds an event; `stream` is its stream's whole id.
    pub(super) fn push(
        &mut self,
        partition: PartitionId,
        frame: &Frame,
        record: &Record<'_>,
        stream: &str,
    ) {
        let payload = if self.wants_payload {
            let dictionary = frame.attachment(SHAPES).unwrap_or_default();
            let (encoding, bytes) = (record.kind.encoding, record.payload);
            let json = self.values.payload_to_json(encoding, dictionary, bytes);
            json.ok().map(|json| json.to_string())
        } else {
            None
        };
        self.rows += 1;
        // What stands beside the texts is small.
        self.bytes += stream.len() + 64;
        for (name, column) in &mut self.columns {
            match column {
                Column::Small(numbers) => numbers.append_value(i32::from(partition.0)),
                Column::Number(numbers) => numbers.append_value(number(name, record)),
                Column::Time(times) => times.append_value(match name.as_str() {
                    "recorded_at" => record.recorded_at.as_micros(),
                    _ => record.event_time.as_micros(),
                }),
                Column::Text(texts) if name == "payload" => {
                    self.bytes += payload.as_deref().map_or(0, str::len);
                    texts.append_option(payload.as_deref());
                }
                Column::Text(texts) => append_text(name, texts, record, stream),
                Column::Bytes(bytes) => {
                    let unreadable = payload.is_none().then_some(record.payload);
                    self.bytes += unreadable.map_or(0, <[u8]>::len);
                    bytes.append_option(unreadable);
                }
            }
        }
    }

    /// The rows so far; none are left.
    pub(super) fn take(&mut self) -> Result<RecordBatch> {
        let arrays = self.columns.iter_mut().map(|(_, column)| -> ArrayRef {
            match column {
                Column::Small(numbers) => Arc::new(numbers.finish()),
                Column::Number(numbers) => Arc::new(numbers.finish()),
                Column::Time(times) => Arc::new(times.finish()),
                Column::Text(texts) => Arc::new(texts.finish()),
                Column::Bytes(bytes) => Arc::new(bytes.finish()),
            }
        });
        let arrays = arrays.collect();
        // Without columns only the number of rows is asked for.
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        (self.rows, self.bytes) = (0, 0);
        let schema = Arc::clone(&self.schema);
        Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
    }
}

/// Offsets and versions past 63 bits are not reached by counting.
fn number(name: &str, record: &Record<'_>) -> i64 {
    let number = match name {
        "offset" => record.offset.0,
        "version" => record.version,
        _ => u64::from(record.kind.schema_version),
    };
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn append_text(name: &str, texts: &mut StringBuilder, record: &Record<'_>, stream: &str) {
    let metadata = &record.metadata;
    match name {
        "stream" => texts.append_value(stream),
        "category" => texts.append_value(&record.kind.category),
        "id" => texts.append_value(record.stream),
        "type" => texts.append_value(&record.kind.event_type),
        "event_id" => texts.append_value(record.id.to_string()),
        "correlation" => texts.append_option(metadata.correlation.map(|id| id.to_string())),
        "causation" => texts.append_option(metadata.causation.map(|id| id.to_string())),
        _ => texts.append_option(metadata.user.as_deref()),
    }
}
