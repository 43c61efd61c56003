//! A dataflow that is stopped gives nothing that the whole input would not have given.

use millstream::dataflow::{Dataflow, Driver, Feed};
use millstream_operators::failing::ItemPolicy;
use millstream_operators::function::sum;
use millstream_operators::window::Tumbling;
use proptest::prelude::*;

use crate::aligned_windows::model;
use crate::stubborn::Stubborn;
use crate::support::{Item, case, one, seconds, secs};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A window closes when no item of it can come any more, and never because its items will not be read.
    #[test]
    fn what_came_out_before_a_stop_is_complete(case in case(60), size in 1i64..12, chunks in 0usize..20) {
        let (results, late) = case.shape.run_and_stop(&case.input(), chunks, |flow, feed| {
            let late = flow.side_output::<Item>("late");
            let results = feed
                .source(flow)
                .stream()
                .key_by(|item| item.0)
                .window(Tumbling::of(secs(size as u64)))
                .late_to(&late)
                .aggregate(sum(|item: &Item| item.1))
                .collect();
            (results, flow.side(&late).collect())
        });
        let expected = model(&case, size, size, 0);
        for result in results.take_items() {
            let start = result.window.start.as_millis() / 1_000;
            let window = (result.key, start, start + size);
            let wanted = expected.windows.get(&window).map(|value| i128::from(value.0));
            prop_assert_eq!(Some(result.value), wanted, "{:?}", window);
        }
        let mut left = expected.late;
        for (time, item) in late.take() {
            let item = (time.as_millis() / 1_000, item);
            let at = left.iter().position(|other| *other == item);
            prop_assert!(at.is_some(), "{:?} is not late", item);
            left.swap_remove(at.unwrap());
        }
    }
}

/// Story: one item failed and was to be tried again in a second, and all of its key waited behind it; a stop without
/// checkpoints left them there, and said that all was well.
#[test]
fn a_stop_without_checkpoints_drops_nothing_that_waits() {
    let feed = Feed::new(1);
    let policy = ItemPolicy::skip().attempts(5, secs(1));
    let mut outputs = None;
    let flow = Dataflow::build_with("stopped", one(), |flow| {
        let items = flow.source("items", feed.clone()).stream();
        let [mapped, processed] = <[_; 2]>::try_from(items.share(2)).unwrap();
        let function = Stubborn::until(1);
        let mapped = mapped.key_by(|item: &Item| item.0).named("mapped");
        let mapped = mapped.try_map(policy, move |item: &Item| function.take(item));
        let processed = processed.key_by(|item: &Item| item.0).named("processed");
        let processed = processed.try_process(policy, Stubborn::until(1));
        outputs = Some((mapped.collect(), processed.collect()));
    });
    let mut driver = Driver::new(flow.unwrap()).unwrap();
    (0..5_000).for_each(|value| feed.push(0, seconds(0), (1, value)));
    driver.run().unwrap();
    let (mapped, processed) = outputs.unwrap();
    assert!(mapped.is_empty() && processed.is_empty());
    driver.stop().unwrap();
    let all: Vec<_> = (0..5_000).map(|value| (1, value)).collect();
    assert_eq!(mapped.take_items(), all);
    assert_eq!(processed.take_items(), all);
}
