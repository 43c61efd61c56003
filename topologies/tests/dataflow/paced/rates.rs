//! Rate limits, with a clock that the test moves.

use std::time::Duration;

use millstream::dataflow::{Dataflow, DataflowFault, Driver, Feed};
use millstream_engine::checkpoint::InMemory;
use millstream_engine::flow::Resources;
use proptest::prelude::*;

use crate::support::{Shape, one_with_checkpoints, seconds, secs};

/// Story: before a limit of a thousand items a second as many full batches waited as its mailbox takes, minutes of them, and
/// barriers behind those. What waits there now passes within a second, behind what the source has read in one turn.
#[test]
fn a_barrier_waits_for_little_before_a_rate_limit() {
    let (feed, mut passed) = (Feed::new(1), None);
    let dataflow = Dataflow::build_with("rate", one_with_checkpoints(), |flow| {
        let stream = flow.source("numbers", feed.clone()).stream();
        passed = Some(stream.rate_limit(1_000.0, 1).collect());
    });
    let storage = InMemory::default();
    let driver = Driver::with_checkpoints(dataflow.unwrap(), 3, Resources::new(), storage);
    let (mut driver, passed) = (driver.unwrap(), passed.unwrap());
    (0..200_000).for_each(|number| feed.push(0, seconds(0), number));
    driver.advance(secs(10)).unwrap();
    let before = passed.len();
    assert!((9_000..11_000).contains(&before), "{before}");
    driver.ask_for_checkpoint();
    driver.advance(secs(30)).unwrap();
    let status = driver.checkpoints().unwrap();
    assert!(status.completed.is_some(), "{status:?}");
    let after = passed.len() - before;
    assert!(
        (29_000..31_000).contains(&after),
        "the rate is kept: {after}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_rate_limit_drops_nothing_and_keeps_the_rate(
        items in 1usize..60, per_second in 1u32..20, burst in 1u32..8
    ) {
        let (feed, mut passed) = (Feed::new(1), None);
        let shape = Shape::plain(5, 1);
        let dataflow = Dataflow::build_with("rate", shape.options(), |flow| {
            let stream = flow.source("numbers", feed.clone()).stream();
            passed = Some(stream.rate_limit(f64::from(per_second), burst).collect());
        });
        let (passed, mut driver) = (passed.unwrap(), Driver::new(dataflow.unwrap()).unwrap());
        (0..items).for_each(|number| feed.push(0, seconds(0), number));
        feed.end_all();
        driver.run().unwrap();
        let (mut elapsed, mut count) = (Duration::ZERO, passed.len());
        prop_assert_eq!(count, items.min(burst as usize));
        while count < items {
            let step = Duration::from_millis(10);
            driver.advance(step).unwrap();
            elapsed += step;
            count = passed.len();
            // A little is saved up besides the burst.
            let allowed = f64::from(burst) + (elapsed.as_secs_f64() + 0.01) * f64::from(per_second);
            prop_assert!(count as f64 <= allowed + 1e-6, "{} after {:?}", count, elapsed);
            prop_assert!(count == items || count as f64 > allowed - 1.3, "{} after {:?}", count, elapsed);
        }
        prop_assert_eq!(passed.take_items(), (0..items).collect::<Vec<_>>());
        prop_assert!(driver.is_ended());
    }
}

#[test]
fn a_rate_of_nothing_is_a_fault() {
    for (per_second, burst) in [(0.0, 1), (-1.0, 1), (f64::NAN, 1), (1.0, 0)] {
        let built = Dataflow::build("rate", |flow| {
            let stream = flow.source("numbers", Feed::<u64>::new(1)).stream();
            stream.rate_limit(per_second, burst).for_each(|_, _| {});
        });
        let faults = built.unwrap_err().faults;
        assert!(matches!(faults[..], [DataflowFault::Impossible { .. }]));
    }
}
