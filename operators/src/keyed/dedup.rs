//! One of the items of a key that lie close together in event time.
//!
//! Rule: an item passes unless one that has passed lies less than `within` before or after it. Which of several passes is
//! the one that arrives first, not the one that is earliest: to wait for the earliest would mean to hold each item back
//! until the watermark. An item that is late by `within` or more goes to the side output, since what it would
//! repeat may be forgotten; so no repeat ever passes.
//! Bound: the times that passed, per key, for twice `within` behind the watermark.

use std::time::Duration;

use millstream_engine::time::Timestamp;

use super::context::{Context, KeyedProcess, Ttl};
use super::expiring::ExpiringList;

/// Drops repeats of a key.
#[derive(Clone, Copy, Debug)]
pub struct Dedup {
    within: Duration,
}

impl Dedup {
    /// Drops items less than `within` from one that has passed.
    pub const fn new(within: Duration) -> Self {
        Self { within }
    }
}

impl<K, T: Send + 'static> KeyedProcess<K, T> for Dedup {
    type State = ExpiringList<Timestamp>;
    type Out = T;
    type Side = T;

    fn item(
        &mut self,
        _key: &K,
        passed: &mut Self::State,
        time: Timestamp,
        item: T,
        ctx: &mut Context<'_, T, T>,
    ) {
        if time.saturating_add(self.within) <= ctx.late_before() {
            ctx.emit_side(item);
            if passed.kept() == 0 {
                ctx.clear_state();
            }
            return;
        }
        let is_near = |other: &Timestamp| time.since(*other).max(other.since(time)) < self.within;
        if !passed.iter(ctx).any(is_near) {
            passed.push(time, Ttl::Event(self.within.saturating_mul(2)), ctx);
            ctx.emit(item);
        }
    }
}
