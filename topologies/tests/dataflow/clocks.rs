//! Processing time where the clock is set back, or was wrong before a restart.
//!
//! Story: what goes by the clock kept the latest time that it had seen, and was only called when the clock had come there
//! again: for an hour after it was set back by one, and over restarts, nothing closed and no timer fired.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use millstream::dataflow::{Dataflow, Driver, Feed, Flow};
use millstream_engine::checkpoint::InMemory;
use millstream_engine::flow::Resources;
use millstream_engine::time::Clock as _;
use millstream_operators::failing::ItemPolicy;
use millstream_operators::function::count;
use millstream_operators::keyed::{Context, KeyedProcess, Timer, TryKeyedProcess};
use millstream_operators::window::{Session, Sliding, Trigger, Tumbling, Windowed};

use crate::support::{Item, one_with_checkpoints, seconds, secs};

/// Gives the second at which a key's item is twenty seconds old by the clock.
#[derive(Clone)]
struct Aged;

impl KeyedProcess<u8, Item> for Aged {
    type State = ();
    type Out = i64;
    type Side = Infallible;

    fn item(
        &mut self,
        _key: &u8,
        (): &mut (),
        _time: millstream_engine::time::Timestamp,
        _item: Item,
        ctx: &mut Context<'_, i64>,
    ) {
        ctx.set_processing_timer(ctx.now().saturating_add(secs(20)));
    }

    fn timer(&mut self, _key: &u8, (): &mut (), _timer: Timer, ctx: &mut Context<'_, i64>) {
        ctx.emit(ctx.now().as_millis() / 1_000);
    }
}

impl TryKeyedProcess<u8, Item> for Aged {
    type State = ();
    type Out = i64;
    type Side = Infallible;
    type Error = &'static str;

    fn item(
        &mut self,
        key: &u8,
        state: &mut (),
        time: millstream_engine::time::Timestamp,
        item: &Item,
        ctx: &mut Context<'_, i64>,
    ) -> Result<(), &'static str> {
        KeyedProcess::item(self, key, state, time, *item, ctx);
        Ok(())
    }

    fn timer(
        &mut self,
        key: &u8,
        state: &mut (),
        timer: Timer,
        ctx: &mut Context<'_, i64>,
    ) -> Result<(), &'static str> {
        KeyedProcess::timer(self, key, state, timer, ctx);
        Ok(())
    }
}

/// Which operator gave something, with the second that it says.
type Given = Arc<Mutex<Vec<(&'static str, i64)>>>;

/// All kinds of operators that go by the clock.
fn declare(flow: &Flow, feed: &Feed<Item>, given: &Given) {
    let minute = Tumbling::of(secs(60)).in_processing_time();
    let note = |name| {
        let given = Arc::clone(given);
        move |second| given.lock().unwrap().push((name, second))
    };
    let branches = flow.source("items", feed.clone()).stream().share(6);
    let mut branches = branches.into_iter();
    let mut keyed = |name| {
        let branch = branches.next().unwrap();
        branch.key_by(|item: &Item| item.0).named(name)
    };
    macro_rules! windows {
        ($name:literal, $windows:expr) => {{
            let note = note($name);
            let counted = $windows.aggregate(count());
            counted.for_each(move |_, window: Windowed<u8, u64>| {
                assert_eq!(window.value, 1, "each of its own");
                note(window.window.end.as_millis() / 1_000);
            });
        }};
    }
    windows!("tumbling", keyed("tumbling").window(minute));
    let sliding = Sliding::of(secs(60)).in_processing_time();
    windows!("sliding", keyed("sliding").window(sliding));
    let session = Session::gap(secs(40)).in_processing_time();
    windows!("session", keyed("session").window(session));
    let early = Trigger::at_watermark().early_every(secs(30));
    let days = keyed("early").window(Tumbling::of(secs(86_400)));
    windows!("early", days.trigger(early));
    let aged = note("process");
    let process = keyed("process").process(Aged);
    process.for_each(move |_, second| aged(second));
    let tried = note("try_process");
    let process = keyed("try_process").try_process(ItemPolicy::halt(), Aged);
    process.for_each(move |_, second| tried(second));
}

/// What an item gives that comes at `second` by the clock, in the minute after it. Early results say the end of their day.
fn of_an_item(second: i64) -> Vec<(&'static str, i64)> {
    vec![
        ("early", 86_400),
        ("process", second + 20),
        ("session", second + 40),
        ("sliding", second + 60),
        ("try_process", second + 20),
        ("tumbling", second + 60),
    ]
}

struct Run {
    feed: Feed<Item>,
    given: Given,
    driver: Driver,
}

impl Run {
    fn new(feed: &Feed<Item>, storage: &InMemory) -> Self {
        let given = Given::default();
        let flow = Dataflow::build_with("clocks", one_with_checkpoints(), |flow| {
            declare(flow, feed, &given)
        });
        let storage = storage.clone();
        let driver = Driver::with_checkpoints(flow.unwrap(), 3, Resources::new(), storage);
        Self {
            feed: feed.clone(),
            given,
            driver: driver.unwrap(),
        }
    }

    /// What comes of an item of `key` in a minute, whatever the clock shows.
    fn minute(&mut self, key: u8) -> Vec<(&'static str, i64)> {
        self.feed.push(0, seconds(0), (key, 1));
        self.driver.advance(secs(60)).unwrap();
        let mut given = std::mem::take(&mut *self.given.lock().unwrap());
        given.sort_unstable();
        given
    }
}

#[test]
fn what_goes_by_the_clock_goes_on_where_it_is_set_back() {
    let mut run = Run::new(&Feed::new(1), &InMemory::default());
    run.driver.clock().set(seconds(7_200));
    assert_eq!(run.minute(1), of_an_item(7_200));
    run.driver.clock().set(seconds(3_600));
    assert_eq!(run.minute(2), of_an_item(7_260));
    assert_eq!(run.driver.clock().now(), seconds(3_660));
    // Once the clock is ahead it counts again.
    run.driver.clock().set(seconds(18_000));
    assert_eq!(run.minute(3), of_an_item(18_000));
}

/// One that was a day ahead, and is right after the restart.
#[test]
fn what_went_by_a_wrong_clock_goes_on_after_a_restart() {
    let (feed, storage) = (Feed::new(1), InMemory::default());
    let mut run = Run::new(&feed, &storage);
    run.driver.clock().set(seconds(79_200));
    assert_eq!(run.minute(1), of_an_item(79_200));
    run.driver.ask_for_checkpoint();
    run.driver.run().unwrap();
    drop(run);
    let mut run = Run::new(&feed, &storage);
    assert_eq!(run.driver.clock().now(), seconds(0));
    // No window that was given out is opened anew.
    assert_eq!(run.minute(2), of_an_item(79_260));
    assert_eq!(run.minute(3), of_an_item(79_320));
}
