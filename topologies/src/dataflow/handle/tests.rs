//! Giving up runs of a dataflow, as whoever watches it does, and what is asked of runs that fail.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use millstream_engine::checkpoint::Control;
use millstream_engine::flow::Fence;
use millstream_engine::mailbox::{Mailbox, MailboxLimits};
use millstream_engine::time::{ManualClock, Timestamp};
use tokio::sync::watch;

use super::*;
use crate::dataflow::run::tell;

fn begin(parts: &Parts) -> (Arc<Fence>, watch::Receiver<Option<Failure>>) {
    let (fence, failure) = (Arc::new(Fence::new()), watch::Sender::new(None));
    let told = failure.subscribe();
    parts.begin_run(Vec::new(), failure, (None, Arc::clone(&fence)));
    (fence, told)
}

/// Stages of a run are found to stall, it fails by itself, and another begins before it is given up for that.
#[test]
fn a_run_is_not_given_up_for_one_before_it() {
    let parts = Parts::new("flow", Vec::new());
    let handle = DataflowHandle::new(parts.clone());
    let (_, told) = begin(&parts);
    let stalled = handle.stalled(Duration::ZERO, Duration::ZERO);
    let (fence, told_next) = begin(&parts);
    assert!(handle.give_up(stalled.run, "stage", "it hangs", Duration::ZERO));
    assert!(!fence.is_closed());
    assert_eq!(
        (told.borrow().clone(), told_next.borrow().clone()),
        (None, None)
    );
    let stalled = handle.stalled(Duration::ZERO, Duration::ZERO);
    assert!(handle.give_up(stalled.run, "stage", "it hangs", Duration::ZERO));
    assert!(fence.is_closed());
    assert_eq!(told_next.borrow().as_ref().unwrap().cause, "it hangs");
}

/// Something is behind the fence: the run has failed and is stuck until that comes out.
#[test]
fn a_run_that_hangs_behind_its_fence_has_failed_and_is_stuck() {
    let parts = Parts::new("flow", Vec::new());
    let handle = DataflowHandle::new(parts.clone());
    let (fence, told) = begin(&parts);
    let pass = fence.pass();
    let run = handle.stalled(Duration::ZERO, Duration::ZERO).run;
    assert!(!handle.give_up(run, "stage", "it hangs", Duration::ZERO));
    assert_eq!(told.borrow().as_ref().unwrap().cause, "it hangs");
    assert!(parts.is_stuck());
    // Once is enough: nobody waits for it again.
    assert!(handle.give_up(run, "stage", "it hangs", Duration::ZERO));
    assert!(parts.is_stuck());
    drop(pass);
    assert!(!parts.is_stuck());
}

/// Asked for while a run has failed and the next one is being made: that one ends before its first step.
#[test]
fn an_abort_between_two_runs_ends_the_next() {
    let parts = Parts::new("flow", Vec::new());
    let handle = DataflowHandle::new(parts.clone());
    let (_, told) = begin(&parts);
    tell(&parts.lock().failure.clone().unwrap(), "stage", "it failed");
    handle.begin_abort("nobody needs it");
    assert_eq!(told.borrow().as_ref().unwrap().cause, "it failed");
    let (_, told_next) = begin(&parts);
    let failure = told_next.borrow().clone().unwrap();
    assert_eq!(
        (&*failure.stage, &*failure.cause),
        ("dataflow flow", "nobody needs it")
    );
}

/// Story: a savepoint that was asked for when a run had failed already was given up at the next failure, as if the dataflow had failed
/// twice of it.
#[test]
fn a_failure_from_before_a_savepoint_was_asked_for_does_not_count() {
    let parts = Parts::new("flow", Vec::new());
    let handle = DataflowHandle::new(parts.clone());
    let begin_with_checkpoints = || {
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
        let mailbox = Mailbox::new(MailboxLimits::default(), clock);
        let control = Control::new(None, Vec::new(), mailbox);
        let failure = watch::Sender::new(None);
        let checkpoints = (Some(control), Arc::new(Fence::new()));
        parts.begin_run(Vec::new(), failure.clone(), checkpoints);
        failure
    };
    let fail = |run: &watch::Sender<_>| tell(run, "stage", "it failed");
    fail(&begin_with_checkpoints());
    let mut savepoint = pin!(handle.savepoint());
    let mut poll = || {
        let mut context = Context::from_waker(Waker::noop());
        savepoint.as_mut().poll(&mut context)
    };
    assert!(poll().is_pending());
    let second = begin_with_checkpoints();
    assert!(poll().is_pending());
    fail(&second);
    let third = begin_with_checkpoints();
    assert!(poll().is_pending());
    fail(&third);
    begin_with_checkpoints();
    let Poll::Ready(Err(TakeCheckpointError::GivenUp { cause })) = poll() else {
        panic!("it is asked for again");
    };
    assert!(cause.contains("failed 2 times meanwhile"), "{cause}");
}
