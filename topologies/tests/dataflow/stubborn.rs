//! What fails and is tried again: a function, and the same as a process.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream_engine::time::Timestamp;
use millstream_operators::keyed::{Context, TryKeyedProcess};

use crate::support::Item;

/// Fails for the item of value 0 until it has been called so often, in all.
#[derive(Clone, Default)]
pub(crate) struct Stubborn {
    calls: Arc<AtomicU64>,
    until: Arc<AtomicU64>,
}

impl Stubborn {
    pub(crate) fn until(calls: u64) -> Self {
        let stubborn = Self::default();
        stubborn.until.store(calls, Ordering::Relaxed);
        stubborn
    }

    /// From now on all is well.
    pub(crate) fn give_in(&self) {
        self.until.store(0, Ordering::Relaxed);
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn take(&self, item: &Item) -> Result<Item, &'static str> {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        let fails = item.1 == 0 && calls < self.until.load(Ordering::Relaxed);
        if fails { Err("not yet") } else { Ok(*item) }
    }
}

impl TryKeyedProcess<u8, Item> for Stubborn {
    type State = ();
    type Out = Item;
    type Side = Infallible;
    type Error = &'static str;

    fn item(
        &mut self,
        _key: &u8,
        (): &mut (),
        _time: Timestamp,
        item: &Item,
        ctx: &mut Context<'_, Item>,
    ) -> Result<(), &'static str> {
        self.take(item).map(|item| ctx.emit(item))
    }
}
