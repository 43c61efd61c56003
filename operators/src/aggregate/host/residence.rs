//! How long instances stay: their weight, their snapshots, and who goes.

use super::*;

impl<A: Aggregate> Host<A> {
    /// Keeps the estimate of an instance's memory: payload bytes at first, then its encoded size, measured
    /// each time that its events have doubled.
    pub(super) fn weigh(&mut self, slot: u32, emitted: u64, payload_bytes: usize) {
        let instance = self.instances.get_mut(slot);
        let before = instance.events - emitted;
        let bytes = if instance.events < 8 {
            instance.heap_bytes as usize + payload_bytes
        } else if before.checked_ilog2() != instance.events.checked_ilog2() {
            self.taker.encoded_bytes(&instance.state)
        } else {
            return;
        };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.instances.set_heap_bytes(slot, bytes);
    }

    pub(super) fn snapshot(&mut self, slot: u32, turn: &Turn<'_>) {
        let instance = self.instances.get_mut(slot);
        instance.unsaved = 0;
        let start = turn.clock.monotonic();
        if let Some(taken) = self.taker.take(instance, turn.next_offset()) {
            let elapsed = turn.clock.monotonic().saturating_sub(start);
            self.policy.observe_snapshot(elapsed);
            self.tally.snapshots += 1;
            self.taken.push(taken);
        }
    }

    /// Passivates what is idle; the last sweep was so long ago.
    pub(super) fn passivate_idle(&mut self, now: Duration, since: Duration) {
        let (tick, settled) = (seconds(now), self.settled);
        let sweeps = (since.as_nanos() / SWEEP_EVERY.as_nanos()).clamp(1, SWEEPS_MAX);
        let activated = std::mem::take(&mut self.activated);
        let steps = (sweeps as usize * SWEEP_STEPS).max(activated * SWEEP_PER_ACTIVATION);
        let idle_after = self.config.idle_seconds_max;
        self.tally.passivations += self.instances.sweep(steps, |instance| {
            let is_idle = tick.saturating_sub(instance.used) >= idle_after;
            Verdict::remove_if(instance.frame <= settled && is_idle)
        });
    }

    /// Bytes that are to go. Those with events in flight, which must stay, are made up for by the others up to half of the budget,
    /// and no further: one large instance would drive out all its neighbours in each turn that writes it.
    fn excess(&self) -> i64 {
        let (all, pinned) = (self.instances.bytes(), self.instances.pinned_bytes());
        let budget = self.config.resident_bytes_max;
        let allowed = budget.saturating_sub(pinned).max(budget / 2);
        (all - pinned) as i64 - allowed as i64
    }

    /// Passivates until the budget is kept: first who was not used in this second, among some; then anyone
    /// without a frame in flight.
    pub(super) fn passivate_excess(&mut self, now: Duration) {
        if self.instances.bytes() <= self.config.resident_bytes_max {
            return;
        }
        self.say_excess();
        let (tick, settled) = (seconds(now), self.settled);
        for (steps, spare) in [(SWEEP_STEPS, true), (usize::MAX, false)] {
            let mut excess = self.excess();
            if excess <= 0 {
                return;
            }
            self.tally.passivations += self.instances.sweep(steps, |instance| {
                if excess <= 0 {
                    return Verdict::Stop;
                }
                let goes = instance.frame <= settled && !(spare && instance.used == tick);
                if goes {
                    excess -= weight::<A>(instance.heap_bytes) as i64;
                }
                Verdict::remove_if(goes)
            });
        }
    }

    /// Says once that the budget cannot be kept.
    fn say_excess(&mut self) {
        let (pinned_bytes, budget_bytes) = (
            self.instances.pinned_bytes(),
            self.config.resident_bytes_max,
        );
        if pinned_bytes >= budget_bytes && !std::mem::replace(&mut self.is_excess_said, true) {
            let category = A::CATEGORY;
            tracing::warn!(
                category,
                pinned_bytes,
                budget_bytes,
                "instances that are being written take more than their budget"
            );
        }
    }
}
