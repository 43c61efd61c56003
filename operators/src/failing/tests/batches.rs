//! Batches, in which items fail and panic in the middle, against the same items one by one.

use std::collections::HashMap;

use millstream_engine::batch::Batch;
use millstream_engine::flow::Operator;
use millstream_engine::time::Timestamp;
use proptest::prelude::*;

use super::operators::{Poison, processed};
use super::world::Out;

/// What came out, and what is held.
type Outcome = (Vec<(Timestamp, Out)>, Vec<(&'static str, usize)>);

fn outcome(
    operator: &mut impl Operator<super::Item, Out = Out>,
    batches: Vec<Batch<super::Item>>,
) -> Outcome {
    let mut given = Vec::new();
    let mut out = |time, item| given.push((time, item));
    for mut batch in batches {
        operator.batch(&mut batch, &mut out);
        assert!(batch.items.is_empty() && batch.times.is_empty());
    }
    let mut held = Vec::new();
    operator.state_items(&mut held);
    (given, held)
}

proptest! {
    #[test]
    fn a_batch_does_what_its_items_do(
        keys in prop::collection::vec(0..6u8, 0..80),
        times in prop::collection::hash_map(0..80u64, 1..3u32, 0..20),
        size in 1..40usize,
    ) {
        let items: Vec<_> = keys.iter().enumerate().map(|(id, key)| (*key, id as u64)).collect();
        let batches = |size: usize| {
            let batch = |items: &[super::Item]| Batch {
                times: items.iter().map(|(_, id)| Timestamp(*id as i64)).collect(),
                items: items.to_vec(),
            };
            items.chunks(size).map(batch).collect::<Vec<_>>()
        };
        let run = |size| {
            let poison = Poison::of(times.iter().map(|(id, times)| (*id, *times)).collect::<HashMap<_, _>>());
            outcome(&mut processed(&poison), batches(size))
        };
        prop_assert_eq!(run(size), run(1));
    }
}
