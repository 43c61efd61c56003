//! What stages are found by in a checkpoint.

use std::time::Duration;

use super::Dataflow;

#[test]
fn names_that_are_given_twice_are_told_apart() {
    let flow = Dataflow::build("names", |flow| {
        let rules = flow.items(0..3_u64).stream().stage_named("seen");
        rules.for_each(|_, _| {});
        let keyed = flow.items(0..3_u64).stream().key_by(|number| *number);
        let once = keyed.named("seen").dedup(Duration::from_secs(1));
        once.for_each(|_, _| {});
        let keyed = flow.items(0..3_u64).stream().key_by(|number| *number);
        let once = keyed.named("items").dedup(Duration::from_secs(1));
        once.for_each(|_, _| {});
    });
    let mut found_by = flow.unwrap().lock().identities();
    found_by.sort();
    let count = found_by.len();
    assert!(found_by.contains(&"seen".to_owned()) && found_by.contains(&"state seen".to_owned()));
    found_by.dedup();
    assert_eq!(found_by.len(), count, "{found_by:?}");
}
