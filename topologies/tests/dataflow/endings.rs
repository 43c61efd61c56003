//! Items that are left to be tried when the input has ended.
//!
//! Story: they were tried in one step until none was left: what may be tried without a bound never came back from it, was taken
//! for code that hangs, and could be neither stopped nor aborted.

mod inside;

use millstream::dataflow::{Collected, Dataflow, Driver, Feed, Flow};
use millstream_engine::checkpoint::InMemory;
use millstream_engine::flow::Resources;
use millstream_operators::failing::ItemPolicy;
use millstream_operators::function::count;
use millstream_operators::window::{Tumbling, Windowed};

use crate::stubborn::Stubborn;
use crate::support::{Item, one, one_with_checkpoints, seconds, secs};

/// Calls of one step that are no more than what is tried together, in each of the three places of a turn where it may be.
const CALLS_MAX: u64 = 3 * 1_024;

/// Where what may fail stands.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Beside the source, in one stage.
    Source,
    /// Behind an exchange.
    Function,
    /// The same, as a process.
    Process,
}

const PLACES: [Place; 3] = [Place::Source, Place::Function, Place::Process];

/// Counts what comes through in windows of a minute, which are given out when time comes to its end.
fn declare(
    flow: &Flow,
    feed: &Feed<Item>,
    place: Place,
    policy: ItemPolicy,
    stubborn: &Stubborn,
) -> Collected<Windowed<u8, u64>> {
    let items = flow.source("items", feed.clone()).stream();
    let function = stubborn.clone();
    let function = move |item: &Item| function.take(item);
    let keyed = |item: &Item| item.0;
    macro_rules! counted {
        ($tried:expr) => {{
            let windows = $tried.key_by(keyed).named("windows");
            let windows = windows.window(Tumbling::of(secs(60)));
            windows.aggregate(count()).collect()
        }};
    }
    match place {
        Place::Source => counted!(items.try_map(policy, function).state_named("tried")),
        Place::Function => {
            let items = items.key_by(keyed).named("tried");
            counted!(items.try_map(policy, function))
        }
        Place::Process => {
            let items = items.key_by(keyed).named("tried");
            counted!(items.try_process(policy, stubborn.clone()))
        }
    }
}

/// The input of key 1: the first item fails.
fn feed(items: i64) -> Feed<Item> {
    let feed = Feed::new(1);
    (0..items).for_each(|value| feed.push(0, seconds(value % 60), (1, value)));
    feed.end_all();
    feed
}

/// Steps until nothing is left, or there were so many calls; no step may make more than it should.
fn run(driver: &mut Driver, stubborn: &Stubborn, calls_max: u64) {
    loop {
        let before = stubborn.calls();
        let is_more = driver.run_steps(1).unwrap();
        let made = stubborn.calls() - before;
        assert!(made <= CALLS_MAX, "{made} calls in one step");
        if !is_more || stubborn.calls() >= calls_max {
            return;
        }
    }
}

fn counts(output: &Collected<Windowed<u8, u64>>) -> Vec<u64> {
    let windows = output.take_items().into_iter();
    windows.map(|window| window.value).collect()
}

#[test]
fn what_is_tried_at_the_end_comes_out_before_it_in_bounded_steps() {
    for place in PLACES {
        let policy = ItemPolicy::skip().attempts(1_000_000, secs(1));
        // The stage of the source takes a batch before it comes to the end.
        let (feed, stubborn) = (feed(2_000), Stubborn::until(20_000));
        let mut output = None;
        let flow = Dataflow::build_with("ending", one(), |flow| {
            output = Some(declare(flow, &feed, place, policy, &stubborn));
        });
        let mut driver = Driver::new(flow.unwrap()).unwrap();
        run(&mut driver, &stubborn, u64::MAX);
        assert!(driver.is_ended(), "{place:?}");
        assert_eq!(counts(&output.unwrap()), [2_000], "{place:?}");
    }
}

/// Nothing bounds the tries: the stage is stepped, and goes on with all that waited once one succeeds.
#[test]
fn what_is_tried_without_a_bound_holds_the_end_back() {
    for place in PLACES {
        let policy = ItemPolicy::skip().attempts(u32::MAX, secs(1));
        let (feed, stubborn) = (feed(50), Stubborn::until(u64::MAX));
        let mut output = None;
        let flow = Dataflow::build_with("ending", one(), |flow| {
            output = Some(declare(flow, &feed, place, policy, &stubborn));
        });
        let mut driver = Driver::new(flow.unwrap()).unwrap();
        run(&mut driver, &stubborn, 20_000);
        driver.begin_stop();
        run(&mut driver, &stubborn, 40_000);
        let output = output.unwrap();
        assert!(!driver.is_ended() && output.is_empty(), "{place:?}");
        stubborn.give_in();
        driver.run().unwrap();
        assert!(driver.is_ended(), "{place:?}");
        assert_eq!(counts(&output), [50], "{place:?}");
    }
}

/// The same without a last watermark: nobody goes on with what waits.
#[test]
fn a_stop_without_checkpoints_tries_in_bounded_steps() {
    for place in PLACES {
        let policy = ItemPolicy::skip().attempts(u32::MAX, secs(1));
        let stubborn = Stubborn::until(30_000);
        let feed = Feed::new(1);
        (0..50).for_each(|value| feed.push(0, seconds(value), (1, value)));
        let mut output = None;
        let flow = Dataflow::build_with("ending", one(), |flow| {
            output = Some(declare(flow, &feed, place, policy, &stubborn));
        });
        let mut driver = Driver::new(flow.unwrap()).unwrap();
        driver.run().unwrap();
        driver.begin_stop();
        run(&mut driver, &stubborn, u64::MAX);
        assert!(driver.is_ended(), "{place:?}");
        assert!(output.unwrap().is_empty(), "its window is open");
        let behind = match place {
            Place::Source => 0,
            Place::Function | Place::Process => 49,
        };
        assert_eq!(stubborn.calls(), 30_001 + behind, "{place:?}");
    }
}

/// A checkpoint that is taken meanwhile knows nothing of the end for those behind: their windows come out at the next start,
/// with all that waited.
#[test]
fn a_checkpoint_that_is_taken_meanwhile_has_what_waits() {
    for place in PLACES {
        let policy = ItemPolicy::skip().attempts(u32::MAX, secs(1));
        let (feed, storage) = (feed(50), InMemory::default());
        let stubborn = Stubborn::until(u64::MAX);
        let mut output = None;
        let mut start = |stubborn: &Stubborn| {
            let flow = Dataflow::build_with("ending", one_with_checkpoints(), |flow| {
                output = Some(declare(flow, &feed, place, policy, stubborn));
            });
            let driver =
                Driver::with_checkpoints(flow.unwrap(), 3, Resources::new(), storage.clone());
            (driver.unwrap(), output.take().unwrap())
        };
        let (mut driver, output) = start(&stubborn);
        run(&mut driver, &stubborn, 10_000);
        driver.ask_for_checkpoint();
        while driver.checkpoints().unwrap().completed.is_none() {
            let calls = stubborn.calls();
            assert!(calls < 1_000_000, "{place:?}: the checkpoint waits");
            run(&mut driver, &stubborn, calls + 1);
        }
        assert!(output.is_empty());
        drop(driver);
        let (mut driver, output) = start(&Stubborn::until(3));
        driver.run().unwrap();
        assert!(driver.is_ended(), "{place:?}");
        assert_eq!(counts(&output), [50], "{place:?}");
    }
}

/// Goal: a stop at the end of the input waits for no tries where a checkpoint has them; the end comes once, with all that
/// waited. Method: such a stop, a start that goes on, and one behind the end.
///
/// Story: it waited for the last of them, and for ever where they have no bound.
#[test]
fn a_stop_with_checkpoints_leaves_what_is_tried_to_the_next_run() {
    for (place, seed) in PLACES.into_iter().zip([3, 4, 5]) {
        let policy = ItemPolicy::skip().attempts(u32::MAX, secs(1));
        let (feed, storage) = (feed(50), InMemory::default());
        let stubborn = Stubborn::until(u64::MAX);
        let mut output = None;
        let mut start = |stubborn: &Stubborn| {
            let flow = Dataflow::build_with("ending", one_with_checkpoints(), |flow| {
                output = Some(declare(flow, &feed, place, policy, stubborn));
            });
            let resources = Resources::new();
            let driver = Driver::with_checkpoints(flow.unwrap(), seed, resources, storage.clone());
            (driver.unwrap(), output.take().unwrap())
        };
        let (mut driver, output) = start(&stubborn);
        run(&mut driver, &stubborn, 10_000);
        driver.begin_stop();
        run(&mut driver, &stubborn, 1_000_000);
        assert!(driver.is_ended(), "{place:?}");
        assert!(driver.checkpoints().unwrap().is_final, "{place:?}");
        assert!(output.is_empty(), "{place:?}: the end was told");
        drop(driver);

        let (mut driver, output) = start(&Stubborn::until(3));
        driver.run().unwrap();
        assert!(driver.is_ended(), "{place:?}");
        assert_eq!(counts(&output), [50], "{place:?}");
        drop(driver);

        let (mut driver, output) = start(&Stubborn::default());
        driver.run().unwrap();
        assert!(driver.is_ended() && output.is_empty(), "{place:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_tried_without_a_bound_can_be_aborted() {
    for place in PLACES {
        let policy = ItemPolicy::skip().attempts(u32::MAX, secs(1));
        let (feed, stubborn) = (feed(50), Stubborn::until(u64::MAX));
        let flow = Dataflow::build_with("ending", one(), |flow| {
            declare(flow, &feed, place, policy, &stubborn);
        });
        let handle = flow.unwrap().start().await.unwrap();
        let aborted = async {
            while stubborn.calls() < 5_000 {
                tokio::task::yield_now().await;
            }
            handle.abort("it is enough").await
        };
        let aborted = tokio::time::timeout(secs(300), aborted).await;
        let failure = aborted.expect("it hangs").unwrap_err();
        assert_eq!(failure.cause, "it is enough", "{place:?}");
    }
}
