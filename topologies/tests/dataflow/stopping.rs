//! A dataflow that is stopped gives nothing that the whole input would not have given.

use millstream_operators::function::sum;
use millstream_operators::window::Tumbling;
use proptest::prelude::*;

use crate::aligned_windows::model;
use crate::support::{Item, case, secs};

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
