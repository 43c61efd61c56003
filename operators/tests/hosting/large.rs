//! Instances and commands that are large beside others.

use millstream_engine::log::frame::DraftError;
use millstream_engine::partition::{Expected, TurnError};
use millstream_engine::stage::StageCore;
use millstream_operators::aggregate::{
    AggregateConfig, BulkCommand, CommandError, CommandOptions, CommandResult,
};

use crate::partition::{Ask, Partition, Sent, Thing, accepted, answer, poll};

const MIB: usize = 1 << 20;

/// What fits into a frame by itself, but not beside a MiB of others.
const NEARLY_A_FRAME: usize = 55 * MIB + MIB / 2;

/// Story: an instance that was nearly as large as the budget had nearly all its neighbours passivated in each turn that wrote it.
#[test]
fn an_instance_near_the_budget_drives_nobody_out() {
    const BUDGET: usize = 64 << 10;
    const NEIGHBOURS: usize = 100;
    let mut partition = Partition::new(AggregateConfig {
        resident_bytes_max: BUDGET as u64,
        ..AggregateConfig::default()
    });
    let small = partition.add_to(NEIGHBOURS);
    partition.finish();
    assert!(small.into_iter().all(|sent| answer(sent).is_ok()));
    assert_eq!(partition.activations(), NEIGHBOURS);

    let large = Ask::AddLarge(BUDGET * 95 / 100);
    let large = partition.send("large", large, CommandOptions::default());
    partition.decide();
    let small = partition.add_to(NEIGHBOURS);
    partition.decide();
    assert_eq!(partition.activations(), NEIGHBOURS + 1);
    partition.finish();
    assert!(small.into_iter().all(|sent| answer(sent).is_ok()));
    answer(large).unwrap();
}

/// What stays beside what is being written is bounded all the same.
#[test]
fn beside_a_large_instance_half_of_the_budget_is_kept() {
    const BUDGET: usize = 64 << 10;
    const NEIGHBOURS: usize = 100;
    let mut partition = Partition::new(AggregateConfig {
        resident_bytes_max: BUDGET as u64,
        ..AggregateConfig::default()
    });
    for n in 0..NEIGHBOURS {
        let each = Ask::AddLarge(BUDGET * 2 / NEIGHBOURS / 3);
        partition.one(&format!("small-{n}"), each).unwrap();
    }
    let before = partition.activations();
    let large = Ask::AddLarge(2 * BUDGET);
    let _large = partition.send("large", large, CommandOptions::default());
    partition.decide();
    let _small = partition.add_to(NEIGHBOURS);
    partition.decide();
    let again = partition.activations() - before - 1;
    assert!((1..NEIGHBOURS).contains(&again), "{again}");
}

fn is_too_large(answer: &CommandResult<Thing>) -> bool {
    matches!(
        answer,
        Err(CommandError::Event(TurnError::Draft(
            DraftError::TooLarge { .. }
        )))
    )
}

/// Story: a command whose events have room in a frame of their own was refused because others were decided before it in the same turn.
/// What is behind it, for the same instance as well, keeps its order.
#[test]
fn a_large_command_gets_a_frame_of_its_own() {
    let mut partition = Partition::new(AggregateConfig::default());
    let options = CommandOptions::default;
    let first = partition.send("a", Ask::AddLarge(MIB), options());
    let large = partition.send("b", Ask::AddLarge(NEARLY_A_FRAME), options());
    let behind = partition.send("b", Ask::Add, accepted(Expected::Exact(0)));
    let never = partition.send("c", Ask::AddLarge(57 * MIB), options());
    let last = partition.send("a", Ask::Add, accepted(Expected::Exact(0)));
    partition.finish();
    assert_eq!(answer(first).unwrap().version, Some(0));
    let (large, behind) = (answer(large).unwrap(), answer(behind).unwrap());
    assert_eq!((large.version, behind.version), (Some(0), Some(1)));
    assert!(large.position < behind.position);
    let never = answer(never);
    assert!(is_too_large(&never), "{never:?}");
    let last = answer(last).unwrap();
    assert_eq!(last.version, Some(1));
    assert!(behind.position < last.position);
}

/// The same within a bulk, which is answered as a whole, with each answer in its place.
#[test]
fn a_large_command_of_a_bulk_gets_a_frame_of_its_own() {
    let mut partition = Partition::new(AggregateConfig::default());
    let bulk = [
        ("a", MIB),
        ("b", NEARLY_A_FRAME),
        ("b", 0),
        ("c", 57 * MIB),
        ("b", NEARLY_A_FRAME),
    ];
    let bulk = bulk.map(|(id, bytes)| BulkCommand {
        id: id.into(),
        command: Ask::AddLarge(bytes),
        options: CommandOptions::default(),
    });
    let handle = partition.handle.clone();
    let mut sent: Sent<'_, _> = Box::pin(async move { handle.send_bulk(bulk.into()).await });
    assert!(poll(&mut sent).is_pending());
    partition.finish();
    let answers = answer(sent);
    assert!(is_too_large(&answers[3]), "{answers:?}");
    let versions = [0, 1, 2, 4].map(|n| answers[n].as_ref().map(|ack| ack.version));
    assert!(
        matches!(
            versions,
            [Ok(Some(0)), Ok(Some(0)), Ok(Some(1)), Ok(Some(2))]
        ),
        "{answers:?}"
    );
}

/// A shutdown does not forget what waits for its frame.
#[test]
fn what_waits_for_its_frame_is_stored_by_one_that_stops() {
    let mut partition = Partition::new(AggregateConfig::default());
    let first = partition.send("a", Ask::AddLarge(MIB), CommandOptions::default());
    let large = Ask::AddLarge(NEARLY_A_FRAME);
    let large = partition.send("b", large, CommandOptions::default());
    partition.core.step();
    partition.core.stop();
    partition.finish();
    answer(first).unwrap();
    answer(large).unwrap();
}
