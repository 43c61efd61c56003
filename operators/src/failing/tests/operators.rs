//! Operators that fail as often as they are told to.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_engine::flow::Operator;
use millstream_engine::time::Timestamp;
use proptest::prelude::*;

use super::world::{Item, Out};
use crate::failing::{ItemPolicy, WaitingLimits, WhenFull};
use crate::keyed::{Context, NoSide, Timer, TryKeyedProcess, TryProcess};
use crate::stateless::{NoOrder, OrderByKey, TryFlatMap, TryItems, TryMap};

/// Added to the number of an item that sets a timer.
pub(super) const TIMER: u64 = 1_000_000;

/// What fails how often, over all restarts, until it is mended.
#[derive(Clone, Debug, Default)]
pub(super) struct Poison {
    left: Arc<Mutex<HashMap<u64, u32>>>,
    is_mended: Arc<AtomicBool>,
}

impl Poison {
    pub(super) fn some() -> impl Strategy<Value = Self> {
        let times = prop_oneof![1 => 1..6u32, 1 => Just(u32::MAX)];
        let item = prop_oneof![4 => 0..60u64, 1 => (0..60u64).prop_map(|id| TIMER + id)];
        prop::collection::hash_map(item, times, 0..12).prop_map(Self::of)
    }

    pub(super) fn of(times: HashMap<u64, u32>) -> Self {
        Self {
            left: Arc::new(Mutex::new(times)),
            is_mended: Arc::default(),
        }
    }

    pub(super) fn mend(&self) {
        self.is_mended.store(true, Ordering::Relaxed);
    }

    pub(super) fn touch(&self, id: u64) -> Result<(), String> {
        let mut left = self.left.lock().unwrap();
        let is_poison = match left.get_mut(&id) {
            None | Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        };
        drop(left);
        if !is_poison || self.is_mended.load(Ordering::Relaxed) {
            return Ok(());
        }
        assert!(id.is_multiple_of(2), "{id} is odd");
        Err(format!("{id} cannot be borne"))
    }
}

pub(super) fn policy() -> ItemPolicy {
    ItemPolicy::dead_letter().attempts(3, Duration::from_millis(10))
}

pub(super) fn keyed(poison: &Poison) -> impl Operator<Item, Out = Out> + use<> {
    let poison = poison.clone();
    let function = move |&(key, id): &Item| poison.touch(id).map(|()| (key, id, 0));
    let order = OrderByKey(|item: &Item| item.0);
    TryItems::new(policy(), 0, order, TryMap(function))
}

/// At most one item waits behind another one of its key.
pub(super) fn bounded(poison: &Poison) -> impl Operator<Item, Out = Out> + use<> {
    let limits = WaitingLimits {
        key_items_max: 1,
        ..WaitingLimits::default()
    };
    let poison = poison.clone();
    let function = move |&(key, id): &Item| poison.touch(id).map(|()| (key, id, 0));
    let policy = policy().waiting(limits, WhenFull::DeadLetter);
    TryItems::new(
        policy,
        1,
        OrderByKey(|item: &Item| item.0),
        TryMap(function),
    )
}

pub(super) fn unkeyed(poison: &Poison) -> impl Operator<Item, Out = Out> + use<> {
    let poison = poison.clone();
    // Fails behind its first output.
    let function = move |&(key, id): &Item| {
        let poison = poison.clone();
        let all = (0..2).filter_map(move |n| {
            if n == 1 {
                poison.touch(id).unwrap();
            }
            (n == 0).then_some((key, id, 0))
        });
        Ok::<_, Infallible>(all)
    };
    TryItems::new(policy(), 0, NoOrder, TryFlatMap(function))
}

pub(super) fn processed(poison: &Poison) -> impl Operator<Item, Out = Out> + use<> {
    let process = Balances(poison.clone());
    TryProcess::new(policy(), |item: &Item| item.0, process, NoSide)
}

/// Numbers what it gives out per key, and sets a timer for some items.
#[derive(Clone)]
pub(super) struct Balances(pub(super) Poison);

impl Balances {
    pub(super) const fn sets_timer(id: u64) -> bool {
        id.is_multiple_of(3)
    }

    pub(super) const fn timer_at(id: u64) -> i64 {
        id as i64 * 7 + 3
    }
}

impl TryKeyedProcess<u8, Item> for Balances {
    type State = (u64, ());
    type Out = Out;
    type Side = Infallible;
    type Error = String;

    fn item(
        &mut self,
        key: &u8,
        state: &mut (u64, ()),
        _time: Timestamp,
        &(_, id): &Item,
        ctx: &mut Context<'_, Out>,
    ) -> Result<(), String> {
        state.0 += 1;
        ctx.emit((*key, id, state.0));
        if Self::sets_timer(id) {
            ctx.set_event_timer(Timestamp(Self::timer_at(id)));
        }
        self.0.touch(id)
    }

    fn timer(
        &mut self,
        key: &u8,
        state: &mut (u64, ()),
        timer: Timer,
        ctx: &mut Context<'_, Out>,
    ) -> Result<(), String> {
        let Timer::Event(at) = timer else {
            panic!("it sets none of the clock")
        };
        let id = TIMER + (at.0 - 3) as u64 / 7;
        state.0 += 1;
        ctx.emit((*key, id, state.0));
        self.0.touch(id)
    }
}
