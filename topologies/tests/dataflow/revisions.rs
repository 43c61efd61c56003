//! Results with revisions, brought down to what stands in the end; and what windows are tested with.

use std::collections::BTreeMap;

use millstream::dataflow::Collected;
use millstream_engine::flow::StageLoad;
use millstream_engine::time::Timestamp;
use millstream_operators::function::AggregateFunction;
use millstream_operators::window::{Revision, Trigger, Windowed};
use proptest::prelude::*;

use crate::support::{Case, Fed, Item, case, secs};

/// What was computed of a window: sum and count.
pub(crate) type Value = (i64, u64);

/// By key, start and end of the window in seconds.
pub(crate) type Standing = BTreeMap<(u8, i64, i64), Value>;

/// Value by key and window, and the late items.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) windows: Standing,
    pub(crate) late: Vec<(i64, Item)>,
}

/// Sum and count. Merges.
#[derive(Clone)]
pub(crate) struct Sums;

impl AggregateFunction<Item> for Sums {
    type Accumulator = Value;
    type Output = Value;
    const MERGES: bool = true;

    fn create(&self) -> Value {
        (0, 0)
    }

    fn add(&self, sums: &mut Value, _time: Timestamp, item: &Item) {
        sums.0 += item.1;
        sums.1 += 1;
    }

    fn merge(&self, sums: &mut Value, other: &Value) {
        sums.0 += other.0;
        sums.1 += other.1;
    }

    fn finish(&self, sums: &Value) -> Value {
        *sums
    }
}

pub(crate) fn in_seconds(time: Timestamp) -> i64 {
    time.as_micros().div_euclid(1_000_000)
}

/// Applies results one after the other; with `retracting`, a result may only come where none stands.
fn standing(results: &[Windowed<u8, Value>], retracting: bool) -> Standing {
    let mut standing = Standing::new();
    for result in results {
        let (start, end) = (
            in_seconds(result.window.start),
            in_seconds(result.window.end),
        );
        let window = (result.key, start, end);
        if result.revision == Revision::Retraction {
            assert_eq!(standing.remove(&window), Some(result.value), "{result:?}");
            continue;
        }
        let before = standing.insert(window, result.value);
        assert!(
            !retracting || before.is_none(),
            "{result:?} over {before:?}"
        );
    }
    standing
}

fn late(late: &Collected<Item>) -> Vec<(i64, Item)> {
    let late = late.take().into_iter();
    let mut late: Vec<_> = late.map(|(time, item)| (in_seconds(time), item)).collect();
    late.sort_unstable();
    late
}

/// What came out of a run that left no state.
pub(crate) fn outcome(
    (results, late_items): &(Collected<Windowed<u8, Value>>, Collected<Item>),
    loads: &[StageLoad],
    retracting: bool,
) -> Outcome {
    assert_no_state(loads);
    Outcome {
        windows: standing(&results.take_items(), retracting),
        late: late(late_items),
    }
}

pub(crate) fn assert_no_state(loads: &[StageLoad]) {
    for load in loads {
        assert_eq!(load.state_items, 0, "{load:?}");
    }
}

pub(crate) fn trigger() -> impl Strategy<Value = Trigger> {
    (
        prop::option::of(1u64..4),
        prop::option::of(1u64..5),
        any::<bool>(),
    )
        .prop_map(|(every, count, late_each)| {
            let mut trigger = Trigger::at_watermark();
            if let Some(every) = every {
                trigger = trigger.early_every(secs(every));
            }
            if let Some(count) = count {
                trigger = trigger.early_count(count);
            }
            if late_each {
                trigger.late_each()
            } else {
                trigger
            }
        })
}

/// A case of few keys and splits, fed in small pieces: what comes late meets what was given out. Half of the cases are
/// as any other.
pub(crate) fn dense_case(items: usize) -> impl Strategy<Value = Case> {
    (case(items), any::<bool>(), 1usize..4, 1usize..3).prop_map(
        |(mut case, dense, chunk, splits)| {
            if dense {
                case.splits.truncate(splits);
                case.shape.chunk = chunk;
                for fed in case.splits.iter_mut().flatten() {
                    if let Fed::Item(_, item) = fed {
                        item.0 %= 2;
                    }
                }
            }
            case
        },
    )
}
