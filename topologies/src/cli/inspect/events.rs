//! Walking a partition and printing its events; what `log read`, `log tail` and `stream show` share.

use std::io::Write;

use anyhow::Result;
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::{EmbeddedReader, LogReader};
use serde_json::{Value, json};

use super::text::{json_line, one_line};
use crate::StoredEvent;

/// Memory that frames of one read of the log take, in bytes.
const READ_BYTES: usize = 1 << 20;

/// Prints events as they are asked for, up to a limit.
pub(super) struct Printer<'o, W> {
    pub(super) out: &'o mut W,
    pub(super) is_json: bool,
    /// Only events of this category.
    pub(super) category: Option<&'o str>,
    /// How many more to print.
    pub(super) left: usize,
}

impl<W: Write> Printer<'_, W> {
    /// Prints what one read of a partition gives from `from` (inclusive) on; gives where to go on. The
    /// same offset means that nothing is there yet.
    pub(super) fn page(
        &mut self,
        reader: &EmbeddedReader,
        partition: PartitionId,
        from: Offset,
    ) -> Result<Offset> {
        let frames = reader.read(partition, from, READ_BYTES)?;
        let mut next = from;
        for frame in &frames {
            for record in frame.records().filter(|record| record.offset >= from) {
                if self.left == 0 {
                    return Ok(next);
                }
                next = record.offset.plus(1);
                if self
                    .category
                    .is_none_or(|name| record.kind.category == name)
                {
                    self.event(&StoredEvent::of(partition, frame, &record))?;
                    self.left -= 1;
                }
            }
        }
        Ok(next)
    }

    /// Prints one event.
    pub(super) fn event(&mut self, event: &StoredEvent) -> Result<()> {
        if self.is_json {
            writeln!(self.out, "{}", to_json(event))?;
        } else {
            writeln!(self.out, "{}", to_line(event))?;
        }
        Ok(())
    }
}

/// Everything about an event.
pub(super) fn to_json(event: &StoredEvent) -> Value {
    let mut object = json!({
        "partition": event.position.partition.0,
        "offset": event.position.offset.0,
        "recorded_at": event.recorded_at.to_string(),
        "event_time": event.event_time.to_string(),
        "stream": event.stream,
        "version": event.version,
        "type": event.event_type,
        "schema_version": event.schema_version,
        "id": event.id.to_string(),
        "metadata": event.metadata,
        "payload_bytes": event.payload.len(),
    });
    let (name, value) = match event.to_json() {
        Ok(payload) => ("payload", payload.unwrap_or(Value::Null)),
        Err(error) => ("payload_error", error.to_string().into()),
    };
    object[name] = value;
    object
}

fn to_line(event: &StoredEvent) -> String {
    let (at, stream) = (event.recorded_at, one_line(&event.stream, usize::MAX));
    let event_type = one_line(&event.event_type, usize::MAX);
    let (position, version) = (event.position, event.version);
    let (partition, offset) = (position.partition, position.offset);
    let mut line = format!("{partition}:{offset} {at} {stream} v{version} {event_type}");
    if event.event_time != event.recorded_at {
        line.push_str(&format!(" happened {}", event.event_time));
    }
    line.push_str(&match event.to_json() {
        Ok(Some(payload)) => payload_text(payload, &event.event_type),
        Ok(None) => format!(" {} bytes", event.payload.len()),
        Err(error) => {
            let why = one_line(&error.to_string(), usize::MAX);
            format!(" {} bytes, not readable: {why}", event.payload.len())
        }
    });
    line
}

/// A payload behind a blank. A variant of an enum is not named a second time.
fn payload_text(payload: Value, event_type: &str) -> String {
    match payload {
        Value::String(name) if name == event_type => String::new(),
        Value::Object(mut fields) if fields.len() == 1 && fields.contains_key(event_type) => {
            let inner = fields.remove(event_type).unwrap_or_default();
            format!(" {}", json_line(&inner))
        }
        other => format!(" {}", json_line(&other)),
    }
}
