//! At most so many items of a key per span of event time; the others leave by the side output.
//!
//! Spans begin at multiples of their length, for all keys alike, so that which items are too many does not depend on
//! when it is looked at. An item of a span that is over goes to the side output. Bound: one count per key and open span.

use std::time::Duration;

use millstream_engine::time::Timestamp;

use super::context::{Context, KeyedProcess, Ttl};
use super::expiring::ExpiringMap;

/// Lets the first few items of each key and span pass.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    items: u64,
    per_micros: i64,
}

impl Throttle {
    /// `items` per `per` (whole microseconds, at least one).
    pub fn new(items: u64, per: Duration) -> Self {
        let per_micros = i64::try_from(per.as_micros()).unwrap_or(i64::MAX).max(1);
        Self { items, per_micros }
    }
}

impl<K, T: Send + 'static> KeyedProcess<K, T> for Throttle {
    type State = ExpiringMap<i64, u64>;
    type Out = T;
    type Side = T;

    fn item(
        &mut self,
        _key: &K,
        counts: &mut Self::State,
        time: Timestamp,
        item: T,
        ctx: &mut Context<'_, T, T>,
    ) {
        let span = time.0.div_euclid(self.per_micros);
        let end = span.saturating_add(1).saturating_mul(self.per_micros);
        if end <= ctx.late_before().0 {
            ctx.emit_side(item);
            if counts.kept() == 0 {
                ctx.clear_state();
            }
            return;
        }
        let count = counts.get(&span, ctx).copied().unwrap_or(0);
        if count >= self.items {
            ctx.emit_side(item);
            if counts.kept() == 0 {
                ctx.clear_state();
            }
            return;
        }
        match counts.get_mut(&span, ctx) {
            Some(count) => *count += 1,
            None => {
                let rest = Ttl::Event(Timestamp(end).since(time));
                counts.insert(span, 1, rest, ctx);
            }
        }
        ctx.emit(item);
    }
}
