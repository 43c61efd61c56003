//! A coordinator with one stage of one partition, stepped by hand.

use super::*;
use crate::checkpoint::InMemory;
use crate::mailbox::MailboxLimits;
use crate::time::{ManualClock, Timestamp};

fn coordinator(clock: &Arc<ManualClock>) -> Coordinator {
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
    let stage = StageShape {
        name: "source".into(),
        is_source: true,
        mailboxes: vec![Mailbox::new(MailboxLimits::default(), Arc::clone(&clock))],
    };
    let parts = CoordinatorParts {
        dataflow: "flow".to_owned(),
        options: CheckpointOptions {
            interval_ms: 3_600_000,
            pause_ms_min: 0,
            ..CheckpointOptions::default()
        },
        clock,
        storage: Arc::new(InMemory::default()),
        must_sync: false,
        stages: vec![stage],
        restored: None,
    };
    Coordinator::new(parts).unwrap()
}

/// The stage comes to the barrier that is requested.
fn take(coordinator: &mut Coordinator) -> Epoch {
    let link = coordinator.link(0, 0);
    let epoch = link.requested();
    link.take(epoch, Vec::new(), Duration::ZERO).unwrap();
    assert!(matches!(coordinator.step(), Step::IdleUntil(_)));
    epoch
}

/// Story: who deleted a savepoint while a checkpoint was under way waited until the next one was due, and where one followed the
/// other without a rest, for ever.
#[test]
fn a_savepoint_goes_between_checkpoints() {
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let mut coordinator = coordinator(&clock);
    let control = Arc::clone(coordinator.control());
    control.ask_for_savepoint();
    assert!(matches!(coordinator.step(), Step::IdleUntil(_)));
    let savepoint = take(&mut coordinator);
    assert_eq!(control.status().borrow().savepoints, [savepoint]);
    control.ask();
    assert!(matches!(coordinator.step(), Step::IdleUntil(_)));
    control.give_up_savepoint(savepoint);
    // Those that wait are asked for in one go.
    control.ask();
    assert!(matches!(coordinator.step(), Step::IdleUntil(_)));
    assert_eq!(control.status().borrow().savepoints, [savepoint]);
    let next = take(&mut coordinator);
    assert_eq!(control.status().borrow().completed, Some(next));
    assert!(
        coordinator.link(0, 0).requested() > next,
        "the next one is under way"
    );
    assert_eq!(control.status().borrow().savepoints, []);
}
