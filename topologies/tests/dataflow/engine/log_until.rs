//! Danger: a split of the log that ends within a frame says that it has read all of it.

use std::sync::Arc;

use millstream::prelude::*;
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::flow::{Pulled, Source, Wiring};
use millstream_engine::mailbox::{Mailbox, MailboxLimits};
use millstream_engine::partition::NewEvent;
use millstream_engine::time::{Clock, ManualClock, Timestamp};
use millstream_operators::source::{LogAccess, LogSource, LogSplit, PayloadOnly, Unreadable};

use super::support::*;

/// Events of the one frame.
const EVENTS: u64 = 10;

type Sales = LogSource<Sale, PayloadOnly>;

/// Sources of one partition of an engine's log.
struct Sources {
    wiring: Wiring,
    partition: PartitionId,
}

impl Sources {
    fn of(engine: &Engine, partition: PartitionId) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp::EPOCH));
        let wiring = Wiring {
            stage: "read".into(),
            identity: "read".into(),
            partition: 0,
            partitions: 1,
            mailbox: Mailbox::new(MailboxLimits::default(), Arc::clone(&clock)),
            clock,
            resources: Arc::new(engine.resources()),
            checkpoints: None,
        };
        Self { wiring, partition }
    }

    /// One that begins at `position`, if there is one.
    fn until(&self, until: u64, category: &str, position: Option<&[u8]>) -> Sales {
        let split = LogSplit {
            partition: self.partition,
            from: Offset(0),
            until: Some(Offset(until)),
            categories: Some([category.to_owned()].into()),
            unreadable: Unreadable::Fail,
            event_times: false,
            own_watermark: true,
        };
        let access = self.wiring.resources.get::<LogAccess>().unwrap();
        let mut source = Sales::new(access, split, &self.wiring);
        if let Some(position) = position {
            source.seek(position).unwrap();
        }
        source.open(&self.wiring.mailbox).unwrap();
        source
    }
}

/// Reads to the end; at most so many at once.
fn read(source: &mut Sales, items_max: usize) -> Vec<u64> {
    let mut cents = Vec::new();
    let mut pull = || {
        source.pull(items_max, &mut |_: Timestamp, sale: Sale| {
            cents.push(sale.cents)
        })
    };
    // Each gives something or is the last.
    for _ in 0..=EVENTS {
        match pull().unwrap() {
            Pulled::More => {}
            Pulled::End => return cents,
            Pulled::Pending | Pulled::PendingFor(_) => break,
        }
    }
    panic!("it does not end, after {cents:?}")
}

fn position(source: &Sales) -> Vec<u8> {
    Source::position(source).unwrap().unwrap()
}

/// Story: a split that ended within a frame had the end of the frame as its position, with the frame before it as the proof. A
/// restart took that for another history of the log; without the proof, what is behind the end would have been left out.
#[tokio::test(flavor = "multi_thread")]
async fn a_split_that_ends_within_a_frame_goes_on_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let topology = Topology::named("log").build().unwrap();
    let engine = open(folder.path(), topology).await;
    let name = stream("sale-0");
    let partition = name.partition(3);
    let events = sales(EVENTS).into_iter().map(NewEvent::typed).collect();
    let appender = engine.appender();
    within(appender.append(name, Expected::NoStream, events))
        .await
        .unwrap();
    let sources = Sources::of(&engine, partition);
    let all: Vec<u64> = (1..=EVENTS).collect();
    // The whole frame comes with the first pull, or a pull ends right where the split does.
    for items_max in [1, 4, 100] {
        for until in 1..EVENTS {
            let (first, rest) = all.split_at(until as usize);
            let mut source = sources.until(until, "sale", None);
            assert_eq!(read(&mut source, items_max), first);
            assert_eq!(source.position(), Offset(until));
            let mut next = sources.until(EVENTS, "sale", Some(&position(&source)));
            assert_eq!(read(&mut next, items_max), rest);
            assert_eq!(next.position(), Offset(EVENTS));
        }
    }
    // Also where nothing of the frame is wanted.
    let mut source = sources.until(4, "other", None);
    assert!(read(&mut source, 100).is_empty());
    assert_eq!(source.position(), Offset(4));
    let mut next = sources.until(EVENTS, "sale", Some(&position(&source)));
    assert_eq!(read(&mut next, 100), all[4..]);
    drop((source, next, sources));
    close(engine).await;
}
