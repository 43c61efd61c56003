//! Tumbling and sliding windows with triggers and retractions: what stands in the end is what stands without.

use millstream::dataflow::{Retracting, WindowKind};
use millstream_operators::window::{Sliding, Triggered, Tumbling};
use proptest::prelude::*;

use crate::aligned_windows::model;
use crate::revisions::{Outcome, Sums, dense_case, outcome, trigger};
use crate::support::{Case, Item, secs};

fn run<W: WindowKind + Retracting>(case: &Case, window: W, retracting: bool) -> Outcome {
    let (given, loads) = case.shape.run_and_look(&case.input(), |flow, feed| {
        let late = flow.side_output::<Item>("late");
        let mut windowed = feed
            .source(flow)
            .stream()
            .key_by(|item| item.0)
            .window(window)
            .late_to(&late);
        if retracting {
            windowed = windowed.retracting();
        }
        (
            windowed.aggregate(Sums).collect(),
            flow.side(&late).collect(),
        )
    });
    outcome(&given, &loads, retracting)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn tumbling_windows_with_triggers_agree_with_the_model(
        case in dense_case(60), size in 1u64..12, lateness in 0u64..12, trigger in trigger(), retracting in any::<bool>()
    ) {
        let window = Tumbling::of(secs(size)).allowed_lateness(secs(lateness));
        let expected = model(&case, size as i64, size as i64, lateness as i64);
        prop_assert_eq!(&run(&case, Triggered::new(window, trigger), retracting), &expected, "with a trigger");
        prop_assert_eq!(&run(&case, window, retracting), &expected, "without");
    }

    #[test]
    fn sliding_windows_with_triggers_agree_with_the_model(
        case in dense_case(60), size in 1u64..15, slide in 1u64..8, lateness in 0u64..12, trigger in trigger(),
        retracting in any::<bool>()
    ) {
        let window = Sliding::of(secs(size)).every(secs(slide)).allowed_lateness(secs(lateness));
        let expected = model(&case, size as i64, slide as i64, lateness as i64);
        prop_assert_eq!(&run(&case, Triggered::new(window, trigger), retracting), &expected, "with a trigger");
        prop_assert_eq!(&run(&case, window, retracting), &expected, "without");
    }
}
