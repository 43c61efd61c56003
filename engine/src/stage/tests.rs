//! Stages on a tokio runtime whose time is paused: they work, fail, come back, give up and drain.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc;

use super::NoCore;
use super::*;
use crate::mailbox::{Closed, LaneReceiver, LaneSender, Mailbox, MailboxLimits};
use crate::time::{Clock, ManualClock, SystemClock, Timestamp};

/// Hands on what it drains, two items per step.
struct Copying {
    lane: LaneReceiver<u32>,
    out: mpsc::Sender<u32>,
    /// Panics before draining when the shared countdown reaches zero.
    panic_in: Arc<AtomicU32>,
}

impl StageCore for Copying {
    fn step(&mut self) -> Step {
        if !self.lane.is_empty() && self.panic_in.fetch_sub(1, Ordering::SeqCst) == 1 {
            panic!("step refused");
        }
        let mut items = Vec::new();
        self.lane.drain(2, &mut items);
        for item in items {
            self.out.try_send(item).expect("the test leaves room");
        }
        if self.lane.is_empty() {
            Step::Idle
        } else {
            Step::Again
        }
    }
}

struct Fixture {
    sender: LaneSender<u32>,
    out: mpsc::Receiver<u32>,
    given_up: Arc<Mutex<Vec<(String, String)>>>,
    spec: StageSpec,
}

/// A stage whose core copies items and panics at the `panic_at`th step that finds some (0: never).
fn fixture(panic_at: u32) -> Fixture {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let mailbox = Mailbox::new(MailboxLimits::default(), Arc::clone(&clock));
    let (sender, lane) = mailbox.lane();
    let (out_sender, out) = mpsc::channel(10_000);
    let panic_in = Arc::new(AtomicU32::new(panic_at));
    let given_up = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&given_up);
    let spec = StageSpec {
        name: "copy/0".into(),
        mailbox,
        clock,
        factory: Box::new(move || {
            Ok(Box::new(Copying {
                lane: lane.clone(),
                out: out_sender.clone(),
                panic_in: Arc::clone(&panic_in),
            }))
        }),
        policy: RestartPolicy {
            attempts_max: 3,
            ..RestartPolicy::default()
        },
        on_give_up: Box::new(move |name, cause| {
            told.lock()
                .unwrap()
                .push((name.to_owned(), cause.to_owned()));
        }),
    };
    Fixture {
        sender,
        out,
        given_up,
        spec,
    }
}

#[tokio::test(start_paused = true)]
async fn items_are_handled_in_order() {
    let mut fixture = fixture(0);
    fixture.sender.try_send(0, 4).unwrap(); // Before there is a stage.
    let stage = spawn_stage(fixture.spec).await.unwrap();
    for item in 1..100 {
        fixture.sender.send(item, 4).await.unwrap();
    }
    for item in 0..100 {
        assert_eq!(fixture.out.recv().await, Some(item));
    }
    assert_eq!(stage.status(), StageStatus::Running);
    assert_eq!(stage.name(), "copy/0");
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_panics_comes_back_and_goes_on() {
    let mut fixture = fixture(3);
    for item in 0..20 {
        fixture.sender.try_send(item, 4).unwrap();
    }
    let stage = spawn_stage(fixture.spec).await.unwrap();
    for item in 0..20 {
        assert_eq!(fixture.out.recv().await, Some(item));
    }
    // What is sent to the new one arrives as well.
    fixture.sender.try_send(20, 4).unwrap();
    assert_eq!(fixture.out.recv().await, Some(20));
    assert_eq!(stage.drain_and_stop().await, StageStatus::Stopped);
    assert_eq!(*fixture.given_up.lock().unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn items_sent_during_the_backoff_wait() {
    let mut fixture = fixture(1);
    fixture.sender.try_send(0, 4).unwrap();
    let stage = spawn_stage(fixture.spec).await.unwrap();
    let mut status = stage.clone();
    while !matches!(status.status(), StageStatus::Restarting { attempt: 1, .. }) {
        tokio::task::yield_now().await;
        status = stage.clone();
    }
    fixture.sender.try_send(1, 4).unwrap();
    assert_eq!(fixture.out.recv().await, Some(0));
    assert_eq!(fixture.out.recv().await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn the_first_cause_is_told_after_bounded_tries() {
    let mut fixture = fixture(0);
    let tries = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&tries);
    struct Failing(u32);
    impl StageCore for Failing {
        fn step(&mut self) -> Step {
            Step::Failed(format!("failure {}", self.0))
        }
    }
    fixture.spec.factory = Box::new(move || match counted.fetch_add(1, Ordering::SeqCst) {
        2 => Err(NoCore::Failed("the factory failed".into())),
        3 => panic!("the factory panics"),
        number => Ok(Box::new(Failing(number))),
    });
    let stage = spawn_stage(fixture.spec).await.unwrap();
    let failed = StageStatus::Failed {
        first_cause: "failure 0".into(),
        attempts: 3,
    };
    assert_eq!(stage.ended().await, failed);
    assert_eq!(tries.load(Ordering::SeqCst), 4);
    let told = [("copy/0".to_owned(), "failure 0".to_owned())];
    assert_eq!(*fixture.given_up.lock().unwrap(), told);
    assert_eq!(fixture.sender.send(7, 4).await, Err(Closed(7)));
    assert_eq!(stage.drain_and_stop().await, failed);
}

#[tokio::test(start_paused = true)]
async fn drain_and_stop_handles_everything_queued() {
    let mut fixture = fixture(0);
    let stage = spawn_stage(fixture.spec).await.unwrap();
    for item in 0..1_001 {
        fixture.sender.try_send(item, 4).unwrap();
    }
    assert_eq!(stage.drain_and_stop().await, StageStatus::Stopped);
    for item in 0..1_001 {
        assert_eq!(fixture.out.try_recv(), Ok(item));
    }
    assert_eq!(fixture.sender.send(7, 4).await, Err(Closed(7)));
    assert_eq!(stage.mailbox().credits().used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_fails_while_draining_drains_after_its_restart() {
    let mut fixture = fixture(2);
    for item in 0..10 {
        fixture.sender.try_send(item, 4).unwrap();
    }
    let stage = spawn_stage(fixture.spec).await.unwrap();
    assert_eq!(stage.drain_and_stop().await, StageStatus::Stopped);
    for item in 0..10 {
        assert_eq!(fixture.out.try_recv(), Ok(item));
    }
}

/// Counts its steps and asks for time; ends after the fifth.
struct Ticking(Arc<AtomicU32>);

impl StageCore for Ticking {
    fn step(&mut self) -> Step {
        match self.0.fetch_add(1, Ordering::SeqCst) {
            4 => Step::Done,
            _ => Step::IdleUntil(Duration::from_secs(10)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn time_alone_steps_a_stage_and_done_ends_it() {
    let mut fixture = fixture(0);
    let steps = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&steps);
    fixture.spec.factory = Box::new(move || Ok(Box::new(Ticking(Arc::clone(&counted)))));
    let start = tokio::time::Instant::now();
    let stage = spawn_stage(fixture.spec).await.unwrap();
    assert_eq!(stage.ended().await, StageStatus::Stopped);
    assert_eq!(steps.load(Ordering::SeqCst), 5);
    assert!(start.elapsed() >= Duration::from_secs(40));
}

/// Notes whether the end of its stage had been told when it was dropped.
struct Noting {
    stage: Arc<OnceLock<StageHandle>>,
    dropped: Arc<Mutex<Vec<bool>>>,
    fails: bool,
}

impl Drop for Noting {
    fn drop(&mut self) {
        let stage = self.stage.get().unwrap();
        self.dropped.lock().unwrap().push(stage.status().is_ended());
    }
}

impl StageCore for Noting {
    fn step(&mut self) -> Step {
        match self.fails {
            true => Step::Failed("as asked".into()),
            false => Step::Idle,
        }
    }
}

/// Story: an engine that had been shut down could still hold its folder, in cores and in what makes them.
#[tokio::test(start_paused = true)]
async fn a_stage_holds_nothing_once_its_end_is_told() {
    for fails in [false, true] {
        let mut fixture = fixture(0);
        let (stage, dropped) = (Arc::default(), Arc::<Mutex<Vec<_>>>::default());
        let make = {
            let (stage, dropped) = (Arc::clone(&stage), Arc::clone(&dropped));
            move || Noting {
                stage: Arc::clone(&stage),
                dropped: Arc::clone(&dropped),
                fails,
            }
        };
        let kept = make();
        fixture.spec.factory = Box::new(move || {
            let _ = &kept;
            Ok(Box::new(make()))
        });
        fixture.spec.policy.attempts_max = 0;
        let spawned = spawn_stage(fixture.spec).await.unwrap();
        assert!(stage.set(spawned.clone()).is_ok());
        spawned.wake();
        if !fails {
            spawned.begin_stop();
        }
        let is_failed = matches!(spawned.ended().await, StageStatus::Failed { .. });
        assert_eq!(is_failed, fails);
        // The core, and what its factory kept.
        assert_eq!(*dropped.lock().unwrap(), [false, false]);
    }
}

/// Forwards single items downstream and waits when there is no room.
struct Forwarding {
    lane: LaneReceiver<u32>,
    next: LaneSender<u32>,
}

impl StageCore for Forwarding {
    fn step(&mut self) -> Step {
        let mut items = Vec::new();
        self.lane.drain(1, &mut items);
        let Some(item) = items.pop() else {
            return Step::Idle;
        };
        match self.next.try_send(item, 4) {
            Ok(()) => Step::Again,
            Err(refused) => {
                let (next, item) = (self.next.clone(), refused.into_item());
                Step::Blocked(Box::pin(async move {
                    next.send(item, 4).await.expect("nobody closes it");
                }))
            }
        }
    }
}

#[tokio::test]
async fn a_full_mailbox_downstream_holds_the_stage_back() {
    let mut fixture = fixture(0);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let limits = MailboxLimits {
        items_max: 2.try_into().unwrap(),
        ..MailboxLimits::default()
    };
    let downstream = Mailbox::new(limits, clock);
    let (next, last) = downstream.lane();
    let (sender, lane) = fixture.spec.mailbox.lane();
    fixture.spec.factory = Box::new(move || {
        Ok(Box::new(Forwarding {
            lane: lane.clone(),
            next: next.clone(),
        }))
    });
    let stage = spawn_stage(fixture.spec).await.unwrap();
    for item in 0..10 {
        sender.try_send(item, 4).unwrap();
    }
    while downstream.statistics().waits_total == 0 {
        tokio::task::yield_now().await;
    }
    let mut out = Vec::new();
    while out.len() < 10 {
        assert!(last.len() <= 2);
        last.drain(1, &mut out);
        tokio::task::yield_now().await;
    }
    assert_eq!(out, (0..10).collect::<Vec<_>>());
    assert_eq!(stage.drain_and_stop().await, StageStatus::Stopped);
}

/// Somebody else has the thread: something waits, and no step is made. Then the stage is left behind.
#[tokio::test(start_paused = true)]
async fn a_stage_that_makes_no_step_is_seen_and_can_be_given_up() {
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let mut fixture = fixture(0);
    fixture.spec.clock = Arc::<ManualClock>::clone(&clock) as _;
    fixture.spec.mailbox = Mailbox::new(
        MailboxLimits::default(),
        Arc::<ManualClock>::clone(&clock) as _,
    );
    let (mailbox, second) = (Arc::clone(&fixture.spec.mailbox), Duration::from_secs(1));
    let stage = spawn_stage(fixture.spec).await.unwrap();
    while mailbox.owed(clock.monotonic()).is_some() {
        tokio::task::yield_now().await;
    }
    clock.advance(second);
    assert_eq!(stage.stall(clock.monotonic()), None);
    // This test has the one thread of its runtime.
    stage.wake();
    clock.advance(second);
    let stall = Some(Stall::NoStep(second));
    assert_eq!(stage.stall(clock.monotonic()), stall);
    assert!(!stage.is_in_step());
    stage.give_up("it does not go on");
    let failed = StageStatus::Failed {
        first_cause: "it does not go on".into(),
        attempts: 0,
    };
    assert_eq!(stage.status(), failed);
    assert_eq!(stage.ended().await, failed);
    assert_eq!(stage.stall(clock.monotonic()), None);
    assert!(mailbox.is_closed());
}
