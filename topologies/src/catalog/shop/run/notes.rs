//! What the log itself says of the import: which file the data folder is made from, and how far it was sent.
//!
//! Place: beside both senders, which say which lines are through; a later run sends only what comes behind the last note. Why:
//! partitions remember the ids of so many events only, so that lines of a large file would have their effect once more.
//! Invariants: (1) a note is appended once every command up to its line is durable, those of either kind of aggregate and the
//! records of refunds; (2) between two notes there are far fewer lines than partitions remember; (3) what is not noted and
//! may be forgotten is not sent, see [`ShopError::Forgotten`].

use std::sync::atomic::{AtomicU64, Ordering};

use millstream_engine::event::{EventId, StreamId};
use millstream_engine::log::Direction;
use millstream_engine::partition::{AppendError, Expected, NewEvent};
use serde::{Deserialize, Serialize};

use super::ShopError;
use super::reader::{self, Category, Input};
use crate::Engine;

/// Each line gives an event of a customer and one of a product. The notes are so near to each other that half of what is
/// remembered is left for what is on its way, and for refunds.
const EVENTS_PER_LINE: u64 = 2;

/// All lines up to this one are durable. Stored as JSON: fields are only added.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Sent {
    line: u64,
}

const SENT: &str = "ImportSent";

/// The notes of one import.
#[derive(Debug)]
pub(super) struct Notes<'e> {
    engine: &'e Engine,
    stream: StreamId,
    digest: [u8; 32],
    /// Last line of an earlier run's last note.
    before: u64,
    /// Lines between two notes.
    distance: u64,
    /// Last lines that are through, of customers and of products.
    customers: AtomicU64,
    products: AtomicU64,
    /// Line of the last note.
    noted: AtomicU64,
    /// Events of the stream.
    count: AtomicU64,
}

impl<'e> Notes<'e> {
    /// Notes the file, or finds what was noted of it, in an engine whose partitions remember so many events.
    pub(super) async fn begin(
        engine: &'e Engine,
        input: &Input,
        remembered: u64,
    ) -> Result<Self, ShopError> {
        let stream = StreamId::new("import", "shop")?;
        let last = engine.read_stream(&stream, u64::MAX, 1, Direction::Backwards)?;
        note_file(engine, &stream, input).await?;
        let before = match last.first() {
            Some(event) if event.event_type == SENT => {
                let sent = serde_json::from_slice::<Sent>(&event.payload);
                sent.map_or(0, |sent| sent.line)
            }
            _ => 0,
        };
        if before == 0 && !last.is_empty() {
            all_are_remembered(engine, remembered)?;
        }
        Ok(Self {
            engine,
            stream,
            digest: input.digest,
            before,
            distance: (remembered / (2 * EVENTS_PER_LINE)).max(1),
            customers: AtomicU64::new(before),
            products: AtomicU64::new(before),
            noted: AtomicU64::new(before),
            count: AtomicU64::new(last.first().map_or(1, |event| event.version + 1)),
        })
    }

    /// The line behind which this run begins; 0 for the whole file.
    pub(super) fn before(&self) -> u64 {
        self.before
    }

    /// Events in the log that no command gave.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The customers' commands of all lines up to this one are durable.
    pub(super) async fn customers_through(&self, line: u64) -> Result<(), ShopError> {
        self.customers.store(line, Ordering::Relaxed);
        self.note().await
    }

    /// The products' commands of all lines up to this one are durable.
    pub(super) async fn products_through(&self, line: u64) -> Result<(), ShopError> {
        self.products.store(line, Ordering::Relaxed);
        self.note().await
    }

    async fn note(&self) -> Result<(), ShopError> {
        let through = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let line = through(&self.customers).min(through(&self.products));
        let noted = through(&self.noted);
        if line < noted.saturating_add(self.distance) {
            return Ok(());
        }
        // Before the append, beside which the other sender goes on: one of them notes a line.
        self.noted.store(line, Ordering::Relaxed);
        let last = self.count.fetch_add(1, Ordering::Relaxed).saturating_sub(1);
        let id = EventId(reader::id(&self.digest, Category::File, line));
        let text = serde_json::json!(Sent { line }).to_string();
        let event = NewEvent::json(SENT, text).with_id(id);
        let appender = self.engine.appender();
        let stream = self.stream.clone();
        let appended = appender.append(stream, Expected::Exact(last), vec![event]);
        appended.await?;
        Ok(())
    }
}

/// Notes in the log which file the data folder is made from. The event's identity is the file's digest: for
/// the same file that is a repeat, for another one a conflict.
async fn note_file(engine: &Engine, stream: &StreamId, input: &Input) -> Result<(), ShopError> {
    let text = serde_json::json!({ "file": input.name(), "blake3": input.hex() });
    let event = NewEvent::json("ImportBegun", text.to_string()).with_id(EventId(reader::id(
        &input.digest,
        Category::File,
        0,
    )));
    let appended = engine.appender();
    match appended
        .append(stream.clone(), Expected::NoStream, vec![event])
        .await
    {
        Ok(_) => Ok(()),
        Err(AppendError::Conflict(_)) => {
            let first = engine.read_stream(stream, 0, 1, Direction::Forwards)?;
            let text = first.first().map(|event| event.payload.as_slice());
            Err(ShopError::OtherInput {
                folder: engine.folder().to_path_buf(),
                other: String::from_utf8_lossy(text.unwrap_or_default()).into_owned(),
            })
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether each partition remembers all ids that it ever saw.
fn all_are_remembered(engine: &Engine, remembered: u64) -> Result<(), ShopError> {
    let durable = engine.durable();
    let longest = durable.positions().iter().map(|last| last.offset.0 + 1);
    match longest.max() {
        Some(events) if events > remembered => Err(ShopError::Forgotten {
            folder: engine.folder().to_path_buf(),
            events,
            remembered,
        }),
        _ => Ok(()),
    }
}
