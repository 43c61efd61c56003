//! Danger: a caller gives up a bulk while it waits for the mailbox.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use millstream_engine::codec::Event;
use millstream_engine::event::PartitionId;
use millstream_engine::log::{EmbeddedLog, StreamReader};
use millstream_engine::mailbox::{Mailbox, MailboxLimits};
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
