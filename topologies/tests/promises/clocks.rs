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

/// One moment of a clock that was ahead moved recorded time ahead for good, and with it went all command ids that were
/// remembered: what had been sent seconds before was decided again. Goal: they are still known, then and after a restart, also
/// after one at which the clock is ahead; and are forgotten once time has really passed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_ahead_for_a_moment_empties_no_window() {
    let folder = tempfile::tempdir().unwrap();
    let right = Timestamp::from_seconds(1_000_000);
    let ahead = Duration::from_secs(2 * 3_600);
    let clock = Arc::new(ManualClock::new(right));
    let [id, another] = [0, 1].map(|nth| id_in(0, nth));
    let named_again = async |engine: &Engine| {
        let sent = engine.send_with::<Tally>(&id, Ask::Add(1), named(1));
        within(sent).await.unwrap().is_repeat
    };
    // A frame, at which a window forgets.
    let other = async |engine: &Engine| {
        let sent = engine.send::<Tally>(&another, Ask::Add(1));
        within(sent).await.unwrap();
    };

    let engine = open_at(folder.path(), config(), Arc::clone(&clock) as _).await;
    assert!(!named_again(&engine).await);
    clock.set(right.saturating_add(ahead));
    other(&engine).await;
    assert!(named_again(&engine).await);
    clock.set(right);
    other(&engine).await;
    assert!(named_again(&engine).await);
    close(engine).await;

    let engine = open_at(folder.path(), config(), Arc::clone(&clock) as _).await;
    assert!(named_again(&engine).await);
    close(engine).await;

    // A store that is opened while the clock is ahead.
    let folder = tempfile::tempdir().unwrap();
    let engine = open_at(folder.path(), config(), Arc::clone(&clock) as _).await;
    assert!(!named_again(&engine).await);
    close(engine).await;
    clock.set(right.saturating_add(ahead));
    let engine = open_at(folder.path(), config(), Arc::clone(&clock) as _).await;
    other(&engine).await;
    assert!(named_again(&engine).await);
    clock.advance(config().partition.dedup.age_max + Duration::from_secs(1));
    other(&engine).await;
    assert!(!named_again(&engine).await);
    check(&engine).await;
    close(engine).await;
}
