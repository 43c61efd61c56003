//! Firings of thousands of keys in one step, whose code takes its time for each.
//!
//! Story: a window that closed with millions of keys was taken for code that hangs, and again after each restart.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use millstream_engine::flow::{Discard, Operator, Side, Turn};
use millstream_engine::mailbox::{Mailbox, MailboxLimits};
use millstream_engine::stage::{
    RestartPolicy, StageCore, StageHandle, StageSpec, StageStatus, Stall, Step, spawn_stage,
};
use millstream_engine::time::{Clock, ManualClock, Timestamp};
use serde::{Deserialize, Serialize, Serializer};

use crate::function::count;
use crate::join::{Bounds, IntervalJoin, LeftOuter};
use crate::keyed::{Context, KeyedProcess, NoSide, Process, Timer};
use crate::ladder::{Ladder, Ranked};
use crate::sink::{Deliver, Delivery};
use crate::table::{StateMemory, Table};
use crate::window::{
    Count, CountLate, CountWindows, Session, SessionWindows, Sliding, SlidingWindows, Trigger,
    Triggered, TriggeredWindows, Tumbling, TumblingWindows,
};

pub(crate) const KEYS: u64 = 2_000;
/// What code needs for each result.
const EACH: Duration = Duration::from_millis(100);

/// A step whose results take their time.
#[derive(Clone)]
pub(crate) struct Slow {
    clock: Arc<ManualClock>,
    stage: Arc<OnceLock<StageHandle>>,
    /// Of how many results, and how long it seemed to hang at most.
    seen: Arc<Mutex<(u64, Duration)>>,
}

impl Slow {
    /// One was made, in this time.
    pub(crate) fn result(&self) {
        self.clock.advance(EACH);
        let stall = self.stage.get().unwrap().stall(self.clock.monotonic());
        let Some(Stall::InStep(span)) = stall else {
            panic!("it is in a step: {stall:?}");
        };
        let mut seen = self.seen.lock().unwrap();
        *seen = (seen.0 + 1, seen.1.max(span));
    }
}

/// Makes one step once its handle is known.
struct Once<F> {
    slow: Slow,
    fire: Option<F>,
}

impl<F: FnOnce(&Slow) + Send + 'static> StageCore for Once<F> {
    fn step(&mut self) -> Step {
        if self.slow.stage.get().is_none() {
            return Step::Again;
        }
        if let Some(fire) = self.fire.take() {
            fire(&self.slow);
        }
        Step::Done
    }
}

/// Makes a step with a result for each key.
pub(crate) async fn assert_is_no_hang(fire: impl FnOnce(&Slow) + Send + 'static) {
    assert_eq!(results_without_a_hang(fire).await, KEYS);
}

/// How many results a step makes.
async fn results_without_a_hang(fire: impl FnOnce(&Slow) + Send + 'static) -> u64 {
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let slow = Slow {
        clock: Arc::clone(&clock),
        stage: Arc::default(),
        seen: Arc::default(),
    };
    let shared: Arc<dyn Clock> = clock;
    let core = Once {
        slow: slow.clone(),
        fire: Some(fire),
    };
    let core = Mutex::new(Some(core));
    let spec = StageSpec {
        name: "slow/0".to_owned(),
        mailbox: Mailbox::new(MailboxLimits::default(), Arc::clone(&shared)),
        clock: shared,
        factory: Box::new(move || {
            let core = core.lock().unwrap().take();
            Ok(Box::new(core.ok_or_else(|| "once".to_owned())?))
        }),
        policy: RestartPolicy::default(),
        on_give_up: Box::new(|_, _| {}),
    };
    let handle = spawn_stage(spec).await.unwrap();
    slow.stage.set(handle.clone()).ok().unwrap();
    assert_eq!(handle.ended().await, StageStatus::Stopped);
    let (results, longest) = *slow.seen.lock().unwrap();
    assert!(longest < Duration::from_secs(30), "{longest:?}");
    results
}

/// Gives a result for each key at the end of the input.
fn all_at_once<O: Operator<u64>>(mut operator: O) -> impl FnOnce(&Slow) + Send {
    operator.begin(&Turn {
        now: Timestamp::EPOCH,
        monotonic: Duration::ZERO,
    });
    for key in 0..KEYS {
        operator.item(Timestamp(1), key, &mut |_, _| {});
    }
    move |slow: &Slow| operator.watermark(Timestamp::MAX, &mut |_, _| slow.result())
}

fn itself(item: &u64) -> u64 {
    *item
}

#[tokio::test]
async fn windows_of_many_keys_are_given_out_without_seeming_to_hang() {
    let (minute, late) = (Duration::from_secs(60), CountLate::new);
    let window = Tumbling::of(minute);
    let operator = TumblingWindows::new(window, itself, count(), late());
    assert_is_no_hang(all_at_once(operator)).await;
    let window = window.allowed_lateness(minute);
    let operator = TumblingWindows::new(window, itself, count(), late());
    assert_is_no_hang(all_at_once(operator)).await;
    let operator = SlidingWindows::new(Sliding::of(minute), itself, count(), late());
    assert_is_no_hang(all_at_once(operator)).await;
    let operator = SessionWindows::new(Session::gap(minute), itself, count(), late());
    assert_is_no_hang(all_at_once(operator)).await;
    let window = Count::of(2).with_unfinished();
    let operator = CountWindows::new(window, itself, count(), late());
    assert_is_no_hang(all_at_once(operator)).await;
    let window = Triggered::new(Tumbling::of(minute), Trigger::at_watermark());
    let operator = TriggeredWindows::new(window, itself, count(), late());
    assert_is_no_hang(all_at_once(operator)).await;
}

/// Gives each key out at a timer of its own.
#[derive(Clone)]
struct Later;

impl KeyedProcess<u64, u64> for Later {
    type State = u64;
    type Out = u64;
    type Side = std::convert::Infallible;

    fn item(
        &mut self,
        _key: &u64,
        state: &mut u64,
        time: Timestamp,
        item: u64,
        ctx: &mut Context<'_, u64>,
    ) {
        *state = item;
        ctx.set_event_timer(time.saturating_add(EACH));
    }

    fn timer(&mut self, key: &u64, _state: &mut u64, _timer: Timer, ctx: &mut Context<'_, u64>) {
        ctx.emit(*key);
    }
}

#[tokio::test]
async fn timers_of_many_keys_fire_without_seeming_to_hang() {
    assert_is_no_hang(all_at_once(Process::new(itself, Later, NoSide))).await;
}

/// Items whose interval reaches to the end of time are never due, and given out once the input is complete.
#[tokio::test]
async fn items_that_wait_for_ever_are_given_out_without_seeming_to_hang() {
    let alone = |key: &u64, _: &u64, _: Option<&u64>| *key;
    let bounds = Bounds::between(Duration::ZERO, Duration::MAX);
    let late = CountLate::new();
    let mut join = IntervalJoin::new(bounds, itself, itself, LeftOuter(alone), late);
    for key in 0..KEYS {
        join.item(Timestamp(1), Side::Left(key), &mut |_, _| {});
    }
    let end = move |slow: &Slow| join.watermark(Timestamp::MAX, &mut |_, _| slow.result());
    assert_is_no_hang(end).await;
}

/// Story: of a checkpoint with a million results, each of which took its receiver a moment, nothing was ever known to be given
/// out: the run was given up, and the next one began with all of them.
#[tokio::test]
async fn results_that_become_final_together_are_given_out_without_seeming_to_hang() {
    let give_out = |slow: &Slow| {
        let slow = slow.clone();
        let mut deliver = Deliver::new(move |_: Delivery<u64>| slow.result());
        for key in 0..KEYS {
            deliver.item(Timestamp(1), key, &mut Discard);
        }
        Operator::<u64>::flush(&mut deliver, false).unwrap();
    };
    assert_is_no_hang(give_out).await;
}

/// State that takes its time to be written.
#[derive(Clone, Deserialize)]
struct Heavy {
    number: u64,
    #[serde(skip)]
    slow: Option<Slow>,
}

impl Serialize for Heavy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.slow.iter().for_each(Slow::result);
        (self.number,).serialize(serializer)
    }
}

impl Ranked for Heavy {
    fn rank(&self) -> u128 {
        self.number.into()
    }
}

fn heavy(number: u64, slow: &Slow) -> Heavy {
    let slow = Some(slow.clone());
    Heavy { number, slow }
}

/// Story: most of a table that became too large for memory was written in one step, and a dataflow with much memory was taken for
/// one that hangs.
#[tokio::test]
async fn much_state_goes_to_disk_without_seeming_to_hang() {
    let folder = tempfile::tempdir().unwrap();
    let memory = StateMemory::new(folder.path(), 1_000);
    let settle = {
        let memory = memory.clone();
        move |slow: &Slow| {
            let mut table = Table::default();
            table.share(&memory.for_tables());
            for number in 0..KEYS {
                table.insert(number, heavy(number, slow));
            }
            table.settle().unwrap();
        }
    };
    assert!(results_without_a_hang(settle).await > KEYS / 2);
    let push = move |slow: &Slow| {
        let mut ladder = Ladder::new();
        (0..KEYS).for_each(|number| ladder.push(heavy(number, slow)));
        ladder.share(&memory);
        ladder.settle().unwrap();
    };
    assert!(results_without_a_hang(push).await > KEYS / 2);
}
