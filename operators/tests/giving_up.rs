//! Danger: a caller gives up a bulk while it waits for the mailbox.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use millstream_engine::codec::Event;
use millstream_engine::event::{PartitionId, partition_of};
use millstream_engine::log::{EmbeddedLog, StreamReader};
use millstream_engine::mailbox::{LaneReceiver, Mailbox, MailboxLimits};
use millstream_engine::partition::PartitionInput;
use millstream_engine::store::EnvironmentOptions;
use millstream_engine::time::SystemClock;
use millstream_operators::aggregate::{
    Aggregate, AggregateConfig, AggregateHandle, BulkCommand, CommandItem, CommandLane,
    CommandOptions, Decision, Host,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Default, Serialize, Deserialize)]
struct Door;

#[derive(Serialize, Deserialize)]
enum DoorEvent {
    Opened,
}

impl Event for DoorEvent {}

impl Aggregate for Door {
    const CATEGORY: &'static str = "door";
    const VERSION: u32 = 1;
    type Command = ();
    type Event = DoorEvent;
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: (), out: &mut Decision<'_, Self>) -> Result<(), Self::Rejection> {
        out.emit(DoorEvent::Opened);
        Ok(())
    }

    fn evolve(&mut self, _: &DoorEvent) {}
}

/// Story: the commands of a bulk were counted as waiting before the mailbox had taken it, and stayed counted when the
/// caller gave up: the partition never thought itself idle again, so it passivated nothing. Method: a mailbox of
/// two places, filled; bulks that wait are dropped.
#[tokio::test]
async fn a_bulk_given_up_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let options = EnvironmentOptions {
        map_bytes_max: 64 << 20,
        preallocate_step_bytes: 0,
        ..EnvironmentOptions::default()
    };
    let log = EmbeddedLog::open(folder.path(), 1, options).unwrap();
    let limits = MailboxLimits {
        items_max: 2.try_into().unwrap(),
        ..MailboxLimits::default()
    };
    let mailbox = Mailbox::new(limits, Arc::new(SystemClock::new()));
    let (sender, receiver) = mailbox.lane::<CommandItem<Door>>();
    let extra = Arc::new(AtomicUsize::new(0));
    let config = AggregateConfig::default();
    let host = Host::<Door>::new(PartitionId(0), config, receiver, Arc::clone(&extra), None);
    let streams: Arc<dyn StreamReader> = Arc::new(log.reader.clone());
    let handle = AggregateHandle::<Door>::new(vec![CommandLane { sender, extra }], streams);

    let bulk = |count: usize| {
        let command = BulkCommand {
            id: "front".into(),
            command: (),
            options: CommandOptions::default(),
        };
        handle.send_bulk(vec![command; count])
    };
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut taken = [Box::pin(bulk(5)), Box::pin(bulk(1))];
    for sent in &mut taken {
        assert!(sent.as_mut().poll(&mut context).is_pending());
    }
    assert_eq!(host.queued(), 6);
    for _ in 0..3 {
        let mut given_up = Box::pin(bulk(10));
        assert!(given_up.as_mut().poll(&mut context).is_pending());
        drop(given_up);
        assert_eq!(host.queued(), 6);
    }
    mailbox.close();
    assert!(bulk(10).await.iter().all(Result::is_err));
    assert_eq!(host.queued(), 6);
}

/// Story: the parts of a bulk were handed over one after the other, so that one partition whose aggregate did not return, with a full
/// mailbox, kept the commands for all others back. Method: two partitions, the first of which has no room.
#[tokio::test]
async fn parts_of_a_bulk_do_not_wait_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let options = EnvironmentOptions {
        map_bytes_max: 64 << 20,
        preallocate_step_bytes: 0,
        ..EnvironmentOptions::default()
    };
    let log = EmbeddedLog::open(folder.path(), 2, options).unwrap();
    let limits = MailboxLimits {
        items_max: 1.try_into().unwrap(),
        ..MailboxLimits::default()
    };
    let lane = |_| {
        let mailbox = Mailbox::new(limits, Arc::new(SystemClock::new()));
        let (sender, receiver) = mailbox.lane::<CommandItem<Door>>();
        let extra = Arc::new(AtomicUsize::new(0));
        (CommandLane { sender, extra }, receiver)
    };
    let (lanes, receivers): (Vec<_>, Vec<_>) = [0, 1].map(lane).into_iter().unzip();
    let streams: Arc<dyn StreamReader> = Arc::new(log.reader.clone());
    let handle = AggregateHandle::<Door>::new(lanes, streams);
    let id_of = |partition: u16| {
        let mut ids = (0..).map(|n| format!("d{n}"));
        let of = |id: &String| partition_of(&format!("door-{id}"), 2).0;
        ids.find(|id| of(id) == partition).unwrap()
    };
    let command = |partition| BulkCommand {
        id: id_of(partition).into(),
        command: (),
        options: CommandOptions::default(),
    };
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut first = Box::pin(handle.send_bulk(vec![command(0)]));
    assert!(first.as_mut().poll(&mut context).is_pending());
    let mut both = Box::pin(handle.send_bulk(vec![command(0), command(1), command(0)]));
    assert!(both.as_mut().poll(&mut context).is_pending());
    assert_eq!(
        receivers.iter().map(LaneReceiver::len).collect::<Vec<_>>(),
        [1, 1]
    );
    // Room again: what was left goes the same way, and is answered together.
    let mut taken = Vec::new();
    receivers[0].drain(1, &mut taken);
    assert!(both.as_mut().poll(&mut context).is_pending());
    assert_eq!(receivers[0].len(), 1);
    drop((taken, receivers));
    let answers = both.await;
    assert!(answers.len() == 3 && answers.iter().all(Result::is_err));
}
