//! Keys of which nothing is left are dropped, whatever type their state has.
//!
//! Once a number, a text or a tuple of them never counted as nothing: the key of each item that failed and was passed over
//! stayed for ever, and so did each key whose state was cleared while it had a timer.

use std::convert::Infallible;
use std::time::Duration;

use millstream_engine::flow::{Operator, Turn};
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Context, KeyedProcess, KeyedState, Left, NoSide, Now, Process, Timer, TryKeyedProcess,
    TryProcess,
};
use crate::failing::ItemPolicy;

fn kept<T>(operator: &impl Operator<T>) -> usize {
    let mut items = Vec::new();
    operator.state_items(&mut items);
    items[0].1
}

/// Of a type of one's own that does not say when it is as it begins.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Own {
    taken: u64,
    names: Vec<String>,
}

impl KeyedState for Own {
    fn expire(&mut self, _now: &Now) -> Left {
        Left::kept()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Ask {
    Take,
    Fail,
    Panic,
    /// Sets a timer, which fails.
    Later,
}

/// Changes the state, and fails if it is asked to.
#[derive(Clone)]
struct Failing<S>(fn(&mut S));

impl<S: KeyedState + Clone> TryKeyedProcess<u32, (u32, Ask)> for Failing<S> {
    type State = S;
    type Out = ();
    type Side = Infallible;
    type Error = String;

    fn item(
        &mut self,
        _key: &u32,
        state: &mut S,
        _time: Timestamp,
        &(_, ask): &(u32, Ask),
        ctx: &mut Context<'_, ()>,
    ) -> Result<(), String> {
        if ask == Ask::Later {
            ctx.set_event_timer(Timestamp(10));
            return Ok(());
        }
        (self.0)(state);
        assert!(ask != Ask::Panic, "as it is asked to");
        (ask == Ask::Take)
            .then_some(())
            .ok_or("it fails".to_owned())
    }

    fn timer(
        &mut self,
        _key: &u32,
        state: &mut S,
        _timer: Timer,
        _ctx: &mut Context<'_, ()>,
    ) -> Result<(), String> {
        (self.0)(state);
        Err("it fails".to_owned())
    }
}

/// `held`: keys of which a timer that failed leaves their state, which was there before.
fn assert_nothing_is_left<S: KeyedState + Clone>(change: fn(&mut S), held: usize) {
    let policy = ItemPolicy::skip().attempts(1, Duration::ZERO);
    let key = |item: &(u32, Ask)| item.0;
    let mut process = TryProcess::new(policy, key, Failing(change), NoSide);
    process.begin(&Turn {
        now: Timestamp(0),
        monotonic: Duration::ZERO,
    });
    let mut out = |_, ()| {};
    for number in 0..20 {
        process.item(Timestamp(1), (number, Ask::Fail), &mut out);
        process.item(Timestamp(1), (100 + number, Ask::Panic), &mut out);
    }
    assert_eq!(kept(&process), 0);
    // What a key had before stays.
    process.item(Timestamp(1), (3, Ask::Take), &mut out);
    process.item(Timestamp(1), (3, Ask::Fail), &mut out);
    assert_eq!(kept(&process), 1);
    process.item(Timestamp(1), (4, Ask::Later), &mut out);
    process.item(Timestamp(1), (4, Ask::Fail), &mut out);
    assert_eq!(kept(&process), 2, "a timer is left of one");
    process.watermark(Timestamp(10), &mut out);
    assert_eq!(kept(&process), 1 + held);
}

/// What is written as nothing, and is not nothing.
#[test]
fn a_call_that_failed_leaves_what_was_there() {
    let policy = ItemPolicy::skip().attempts(1, Duration::ZERO);
    let key = |item: &(u32, Ask)| item.0;
    let seen = Failing::<(u64, Option<()>)>(|state| state.1 = Some(()));
    let mut process = TryProcess::new(policy, key, seen, NoSide);
    process.begin(&Turn {
        now: Timestamp(0),
        monotonic: Duration::ZERO,
    });
    let mut out = |_, ()| {};
    for ask in [Ask::Take, Ask::Fail, Ask::Panic] {
        process.item(Timestamp(1), (3, ask), &mut out);
        assert_eq!(kept(&process), 1, "{ask:?}");
    }
    // Also what a type of one's own does not show.
    let mut process = TryProcess::new(policy, key, Failing::<Own>(|_| ()), NoSide);
    for ask in [Ask::Take, Ask::Fail] {
        process.item(Timestamp(1), (3, ask), &mut out);
        assert_eq!(kept(&process), 1, "{ask:?}");
    }
}

#[test]
fn a_call_that_failed_leaves_no_key() {
    assert_nothing_is_left::<(i64, ())>(|state| state.0 += 1, 0);
    assert_nothing_is_left::<(u8, (f64, String))>(|state| state.1.1.push('a'), 0);
    let change = |own: &mut Own| {
        own.taken += 1;
        own.names.push("a name".to_owned());
    };
    // It says that it is something from the call on that went well.
    assert_nothing_is_left::<Own>(change, 1);
}

/// The first item of a key sets its state and a timer, the second one clears the state.
#[derive(Clone)]
struct Clearing<S>(S);

impl<S: KeyedState + Clone> KeyedProcess<u32, u32> for Clearing<S> {
    type State = (S, bool);
    type Out = ();
    type Side = Infallible;

    fn item(
        &mut self,
        _key: &u32,
        state: &mut (S, bool),
        _time: Timestamp,
        _item: u32,
        ctx: &mut Context<'_, ()>,
    ) {
        if state.1 {
            ctx.clear_state();
        } else {
            *state = (self.0.clone(), true);
            ctx.set_event_timer(Timestamp(10));
        }
    }
}

fn assert_freed<S: KeyedState + Clone>(state: S) {
    let mut process = Process::new(|item: &u32| *item, Clearing(state), NoSide);
    let mut out = |_, ()| {};
    for item in [1, 1, 2] {
        process.item(Timestamp(1), item, &mut out);
    }
    assert_eq!(kept(&process), 2);
    process.watermark(Timestamp(10), &mut out);
    assert_eq!(kept(&process), 1, "the other one was not cleared");
}

#[test]
fn a_timer_that_is_left_of_a_cleared_state_holds_its_key_no_longer_than_it_is_set() {
    assert_freed(7_i64);
    assert_freed(-0.0_f64);
    assert_freed(("a".to_owned(), Timestamp(3)));
}

/// A state is nothing as it begins, and only so.
#[test]
fn plain_values_are_nothing_as_they_begin() {
    fn is_nothing<S: KeyedState>(mut state: S) -> bool {
        let now = Now {
            event: Timestamp(0),
            processing: Timestamp(0),
        };
        state.expire(&now) == Left::NOTHING
    }
    assert!(is_nothing(0_u64) && is_nothing(0.0_f64) && is_nothing(String::new()));
    assert!(is_nothing((
        false,
        Timestamp::default(),
        (0_i8, None::<u8>)
    )));
    assert!(!is_nothing(1_u64) && !is_nothing(-0.0_f64) && !is_nothing(f32::NAN));
    assert!(!is_nothing((false, 0_u8, true)) && !is_nothing("a".to_owned()));
}
