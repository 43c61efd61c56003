//! Danger: the wall clock jumps. Recorded time never decreases within a partition, and nothing waits for it.

use std::sync::Arc;
use std::time::Duration;

use millstream::prelude::*;
use millstream_engine::time::ManualClock;

use crate::support::*;

/// Goal: whatever the clock does, recorded time of a partition does not decrease, also across a restart with a clock
/// that is far behind, nor does what a decision is told. Method: a clock set to random moments between commands;
/// [`partition`] checks the order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_time_never_decreases() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_000_000)));
    let mut random = Random::new();
    let mut latest = Timestamp::MIN;
    for _ in 0..5 {
        let engine = open_at(folder.path(), config(), Arc::clone(&clock) as _).await;
        for n in 0..40 {
            let wall = Timestamp::from_seconds(random.below(2_000_000) as i64 - 500);
            clock.set(wall);
            let ack = engine
                .send::<Tally>(&id_in(0, n % 3), Ask::AddAll(vec![1, 2]))
                .await
                .unwrap();
            // By the clock, but a moment later than what could be seen before; no later than that.
            latest = wall.max(latest.saturating_add(Duration::from_micros(1)));
            let events = partition(&engine, 0);
            let last = events.last().unwrap();
            assert_eq!(last.position, ack.position.unwrap());
            assert_eq!(last.recorded_at, latest);
            assert_eq!(last.event_time, last.recorded_at);
        }
        check(&engine).await;
        close(engine).await;
        clock.set(Timestamp::EPOCH);
        clock.advance(Duration::from_secs(1));
    }
}
