//! Promise: pages over all partitions give every event once, in order, and cost what they pass over.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream::prelude::*;
use millstream::{StoredEvent, read_all};
use millstream_engine::event::Offset;
use millstream_engine::event::PartitionId;
use millstream_engine::log::frame::Frame;
use millstream_engine::log::{Head, LogError, LogReader};
use millstream_engine::partition::NewEvent;

use crate::support::*;

/// A log that counts the events of frames that are read from it.
struct Counting<'l> {
    log: &'l dyn LogReader,
    events: AtomicU64,
}

impl LogReader for Counting<'_> {
    fn partitions(&self) -> u16 {
        self.log.partitions()
    }

    fn head(&self, partition: PartitionId) -> Result<Head, LogError> {
        self.log.head(partition)
    }

    fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Frame>, LogError> {
        let frames = self.log.read(partition, from, bytes_max)?;
        let events = frames
            .iter()
            .map(|frame| frame.header().end().0 - frame.header().first.0);
        self.events.fetch_add(events.sum(), Ordering::Relaxed);
        Ok(frames)
    }
}

impl<'l> Counting<'l> {
    fn new(log: &'l dyn LogReader) -> Self {
        Self {
            log,
            events: AtomicU64::new(0),
        }
    }

    /// Events read since the last call.
    fn taken(&self) -> u64 {
        self.events.swap(0, Ordering::Relaxed)
    }

    /// All pages of `limit` events, and how many there were.
    fn pages(&self, limit: usize, category: Option<&str>) -> (Vec<StoredEvent>, u64) {
        let (mut all, mut token, mut pages) = (Vec::new(), Token::default(), 0);
        loop {
            let (events, next) = read_all(self, &token, limit, category).unwrap();
            pages += 1;
            let is_last = events.len() < limit;
            all.extend(events);
            token = next;
            if is_last {
                return (all, pages);
            }
        }
    }
}

const TALLIES: u64 = 3_000;
const NOTES: u64 = 12;

/// Many events of one category, a few of another between them.
async fn filled(folder: &std::path::Path) -> Engine {
    let engine = open(folder).await;
    for note in 0..NOTES {
        for n in 0..TALLIES / NOTES {
            let id = format!("t{}", n % 7);
            engine.send::<Tally>(&id, Ask::Add(1)).await.unwrap();
        }
        let events = vec![NewEvent::json("Noted", "{}")];
        let stream = format!("note-{note}").parse().unwrap();
        let appender = engine.appender();
        appender
            .append(stream, Expected::Any, events)
            .await
            .unwrap();
    }
    engine
}

/// Story: the token of a page stood behind the events it gave, so that each page of a rare category read all the others
/// again, from the beginning of the log where a partition had none. Method: a log that counts what is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_a_rare_category_read_the_log_once() {
    let folder = tempfile::tempdir().unwrap();
    let engine = filled(folder.path()).await;
    let all = TALLIES + NOTES;
    let log = Counting::new(engine.log());
    // What is read ahead: one read of each partition per page.
    let ahead = {
        let partitions = (0..PARTITIONS).map(PartitionId);
        partitions.for_each(|partition| drop(log.read(partition, Offset(0), 4 << 10)));
        log.taken()
    };
    assert!(ahead < all / 10, "too few events to tell: {ahead}");
    for limit in [1, 5, 100] {
        let (notes, pages) = log.pages(limit, Some("note"));
        assert_eq!(notes.len() as u64, NOTES);
        let taken = log.taken();
        // The growing reads may pass the last event that is given by as much as they passed before it.
        assert!(
            taken <= 2 * all + pages * ahead,
            "{taken} of {all} events for {pages} pages of {limit}"
        );
    }
    // Nothing is read again behind the end, with or without an event found.
    for category in ["note", "none"] {
        let (_, end) = read_all(&log, &Token::default(), usize::MAX, Some(category)).unwrap();
        assert!(log.taken() <= all);
        let (events, still) = read_all(&log, &end, 10, Some(category)).unwrap();
        assert_eq!((events.len(), log.taken()), (0, 0));
        assert_eq!(still, end);
    }
    close(engine).await;
}

/// Goal: whatever the page, every event comes once, in the order of its partition, merged by time. Method: pages of
/// several sizes compared with the partitions read one by one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_any_size_give_every_event_once() {
    let folder = tempfile::tempdir().unwrap();
    let engine = filled(folder.path()).await;
    let log = Counting::new(engine.log());
    for category in [None, Some("tally"), Some("note"), Some("none")] {
        let mut expected: Vec<_> = (0..PARTITIONS)
            .flat_map(|number| partition(&engine, number))
            .filter(|event| category.is_none_or(|name| event.stream.starts_with(name)))
            .collect();
        expected.sort_by_key(|event| (event.recorded_at, event.position));
        for limit in [7, 64, 1_000, usize::MAX] {
            let (found, _) = log.pages(limit, category);
            assert_eq!(found, expected, "{category:?}, {limit}");
        }
    }
    let (none, token) = read_all(&log, &engine.durable(), 0, None).unwrap();
    assert_eq!((none.len(), token), (0, engine.durable()));
    // A token given back by a page is a token to wait for.
    let mut counts = BTreeMap::<String, usize>::new();
    let (events, token) = read_all(&log, &Token::default(), usize::MAX, None).unwrap();
    for event in events {
        *counts.entry(event.stream).or_default() += 1;
    }
    assert_eq!(counts.len() as u64, 7 + NOTES);
    assert_eq!(token, engine.durable());
    close(engine).await;
}
