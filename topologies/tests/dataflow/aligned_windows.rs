//! Tumbling and sliding windows against a model that looks at every item for every window.

use millstream::dataflow::{Collected, WindowKind};
use millstream_engine::time::Timestamp;
use millstream_operators::function::AggregateFunction;
use millstream_operators::window::{Revision, Sliding, Tumbling, Windowed};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::revisions::Outcome;
use crate::support::{Case, Item, case, seconds, secs};

/// Sum and count; what it may do is chosen by the test.
#[derive(Clone)]
struct SumAndCount<const MERGES: bool, const INVERTS: bool>;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Sums {
    sum: i64,
    count: u64,
}

impl<const MERGES: bool, const INVERTS: bool> AggregateFunction<Item>
    for SumAndCount<MERGES, INVERTS>
{
    type Accumulator = Sums;
    type Output = (i64, u64);
    const MERGES: bool = MERGES;
    const INVERTS: bool = INVERTS;

    fn create(&self) -> Sums {
        Sums::default()
    }

    fn add(&self, sums: &mut Sums, _time: Timestamp, item: &Item) {
        sums.sum += item.1;
        sums.count += 1;
    }

    fn merge(&self, sums: &mut Sums, other: &Sums) {
        assert!(MERGES);
        sums.sum += other.sum;
        sums.count += other.count;
    }

    fn subtract(&self, sums: &mut Sums, other: &Sums) {
        assert!(INVERTS);
        sums.sum -= other.sum;
        sums.count -= other.count;
    }

    fn finish(&self, sums: &Sums) -> (i64, u64) {
        (sums.sum, sums.count)
    }
}

/// Every item in every window that it is not late for.
pub(crate) fn model(case: &Case, size: i64, slide: i64, lateness: i64) -> Outcome {
    let mut outcome = Outcome::default();
    for (time, item, watermark) in case.items() {
        let mut start = time.div_euclid(slide) * slide;
        let (mut is_in_any, mut is_taken) = (false, false);
        while start + size > time {
            is_in_any = true;
            if start + size + lateness > watermark {
                is_taken = true;
                let value = outcome
                    .windows
                    .entry((item.0, start, start + size))
                    .or_default();
                value.0 += item.1;
                value.1 += 1;
            }
            start -= slide;
        }
        if is_in_any && !is_taken {
            outcome.late.push((time, item));
        }
    }
    outcome.late.sort_unstable();
    outcome
}

type Results = Collected<Windowed<u8, (i64, u64)>>;

/// What the dataflow gave: the last revision of each window counts.
fn outcome(results: &Results, late: &Collected<Item>) -> Outcome {
    let micros = |time: Timestamp| time.as_micros().div_euclid(1_000_000);
    let mut outcome = Outcome::default();
    for (time, result) in results.take() {
        assert_eq!(time, result.window.last());
        let window = (
            result.key,
            micros(result.window.start),
            micros(result.window.end),
        );
        let before = outcome.windows.insert(window, result.value);
        let is_first = before.is_none();
        assert!(is_first || result.revision == Revision::Late, "{result:?}");
    }
    outcome.late = late
        .take()
        .into_iter()
        .map(|(time, item)| (micros(time), item))
        .collect();
    outcome.late.sort_unstable();
    outcome
}

fn run<W: WindowKind, A: AggregateFunction<Item, Output = (i64, u64)>>(
    case: &Case,
    window: W,
    function: A,
) -> Outcome {
    let (results, late) = case.shape.run(&case.input(), |flow, feed| {
        let late = flow.side_output::<Item>("late");
        let results = feed
            .source(flow)
            .stream()
            .key_by(|item| item.0)
            .window(window)
            .late_to(&late)
            .aggregate(function)
            .collect();
        (results, flow.side(&late).collect())
    });
    outcome(&results, &late)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn tumbling_windows_agree_with_the_model(case in case(60), size in 1u64..12, lateness in 0u64..12) {
        let window = Tumbling::of(secs(size)).allowed_lateness(secs(lateness));
        let expected = model(&case, size as i64, size as i64, lateness as i64);
        prop_assert_eq!(run(&case, window, SumAndCount::<false, false>), expected);
    }

    #[test]
    fn sliding_windows_agree_with_the_model(
        case in case(60), size in 1u64..15, slide in 1u64..8, lateness in 0u64..12
    ) {
        let window = Sliding::of(secs(size)).every(secs(slide)).allowed_lateness(secs(lateness));
        let expected = model(&case, size as i64, slide as i64, lateness as i64);
        prop_assert_eq!(&run(&case, window, SumAndCount::<true, true>), &expected, "inverts");
        prop_assert_eq!(&run(&case, window, SumAndCount::<true, false>), &expected, "merges");
        prop_assert_eq!(&run(&case, window, SumAndCount::<false, false>), &expected, "does neither");
    }
}

#[test]
fn an_offset_shifts_the_windows() {
    let case = Case {
        splits: vec![vec![
            crate::support::Fed::Item(5, (1, 1)),
            crate::support::Fed::Item(12, (1, 2)),
        ]],
        shape: crate::support::Shape::plain(10, 10),
    };
    let window = Tumbling::of(secs(10)).offset(secs(3));
    let found = run(&case, window, SumAndCount::<true, true>);
    let windows: Vec<_> = found.windows.into_iter().collect();
    assert_eq!(windows, [((1, 3, 13), (3, 2))]);
    assert_eq!(seconds(3).as_millis(), 3_000);
}
