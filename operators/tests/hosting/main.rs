//! Danger: instances of one aggregate type cost others their memory, their answers or their partition. A partition is stepped by hand,
//! and so is its log's writer, which keeps nothing.

mod large;
mod partition;

use std::time::Duration;

use millstream_engine::partition::{Expected, PartitionConfig};
use millstream_engine::stage::StageCore;
use millstream_operators::aggregate::{
    Ack, AggregateConfig, AggregateHandle, BulkCommand, CommandError, CommandOptions,
    ConflictRetry, TrySendError,
};

use partition::{Ask, DEFAULT_PANICS, Partition, Sent, Thing, accepted, answer, poll};

/// Story: an instance above the budget had all its neighbours passivated in each turn that wrote it, and the budget was passed all the
/// same. What they take while it is in flight is asked for by how often they are activated.
#[test]
fn an_instance_above_the_budget_drives_nobody_out() {
    const BUDGET: u64 = 64 << 10;
    let mut partition = Partition::new(AggregateConfig {
        resident_bytes_max: BUDGET,
        ..AggregateConfig::default()
    });
    let small = partition.add_to(100);
    partition.finish();
    assert!(small.into_iter().all(|sent| answer(sent).is_ok()));
    assert_eq!(partition.activations(), 100);

    let large = Ask::AddLarge(2 * BUDGET as usize);
    let large = partition.send("large", large, CommandOptions::default());
    partition.decide();
    let small = partition.add_to(100);
    partition.decide();
    assert_eq!(partition.activations(), 101);
    partition.finish();
    assert!(small.into_iter().all(|sent| answer(sent).is_ok()));
    answer(large).unwrap();
}

/// The budget is kept where that can be.
#[test]
fn what_is_above_the_budget_goes_once_it_is_durable() {
    let mut partition = Partition::new(AggregateConfig {
        resident_bytes_max: 64 << 10,
        ..AggregateConfig::default()
    });
    partition.one("large", Ask::AddLarge(128 << 10)).unwrap();
    assert_eq!(partition.activations(), 1);
    partition.one("large", Ask::Add).unwrap();
    assert_eq!(partition.activations(), 2);
}

/// Story: once traffic had stopped, 256 instances were looked at per second, so a million stayed for an hour. Method: all are idle, and
/// the partition at rest is stepped once, a second later.
#[test]
fn idle_instances_go_soon_also_at_rest() {
    const INSTANCES: usize = 2_000;
    let config = AggregateConfig::default();
    let idle = Duration::from_secs(u64::from(config.idle_seconds_max));
    let mut partition = Partition::new(config);
    let _sent = partition.add_to(INSTANCES);
    partition.finish();
    // What came anew is counted by a sweep of its own.
    partition.clock.advance(Duration::from_millis(50));
    partition.core.step();
    partition.clock.advance(idle);
    partition.core.step();
    let _sent = partition.add_to(INSTANCES);
    partition.finish();
    assert_eq!(partition.activations(), 2 * INSTANCES);
}

/// Story: what was refused was told at once where a command asked to be answered once decided, while the events that it was refused for
/// were still in flight: whoever looked for them found nothing.
#[test]
fn what_is_refused_is_told_once_what_it_rests_on_is_durable() {
    let mut partition = Partition::new(AggregateConfig::default());
    let added = partition.send("a", Ask::Add, accepted(Expected::Any));
    let conflict = partition.send("a", Ask::Add, accepted(Expected::NoStream));
    let refused = partition.send("a", Ask::Refuse, accepted(Expected::Any));
    let bulk = ["b", "a"].map(|id| BulkCommand {
        id: id.into(),
        command: Ask::Add,
        options: accepted(Expected::NoStream),
    });
    let handle = partition.handle.clone();
    let mut bulk: Sent<'_, _> = Box::pin(async move { handle.send_bulk(bulk.into()).await });
    assert!(poll(&mut bulk).is_pending());
    partition.decide();
    answer(added).unwrap();
    let mut refusals = [conflict, refused];
    for sent in &mut refusals {
        assert!(poll(sent).is_pending());
    }
    assert!(poll(&mut bulk).is_pending());
    partition.finish();
    let [conflict, refused] = refusals.map(answer);
    assert!(
        matches!(conflict, Err(CommandError::Conflict(_))),
        "{conflict:?}"
    );
    assert!(
        matches!(refused, Err(CommandError::Rejected(_))),
        "{refused:?}"
    );
    let bulk = answer(bulk);
    assert!(bulk[0].is_ok());
    assert!(
        matches!(bulk[1], Err(CommandError::Conflict(_))),
        "{bulk:?}"
    );
}

/// Story: a command to a stream that had to exist was sent again as one that begins it.
#[tokio::test(start_paused = true)]
async fn a_stream_that_must_exist_is_not_begun_by_a_retry() {
    let mut partition = Partition::new(AggregateConfig::default());
    let handle = partition.handle.clone();
    let mut sent: Sent<'_, _> = Box::pin(async move {
        let options = accepted(Expected::Exists);
        let retry = ConflictRetry::default();
        handle.send_retrying("a", Ask::Add, options, retry).await
    });
    assert!(poll(&mut sent).is_pending());
    partition.finish();
    let refused = answer(sent);
    assert!(
        matches!(refused, Err(CommandError::Conflict(_))),
        "{refused:?}"
    );
}

/// Story: commands for an instance that had broken were taken from the mailbox, whatever came, and held until its frame was durable.
#[test]
fn commands_for_a_broken_instance_wait_in_the_mailbox() {
    const COMMANDS: usize = 3_000;
    let mut partition = Partition::new(AggregateConfig::default());
    let added = partition.send("a", Ask::Add, CommandOptions::default());
    partition.decide();
    let broken = partition.send("a", Ask::Break, CommandOptions::default());
    partition.decide();
    let behind: Vec<_> = (0..COMMANDS)
        .map(|_| partition.send("a", Ask::Add, CommandOptions::default()))
        .collect();
    for _ in 0..20 {
        partition.core.step();
    }
    // One turn may pass the bound.
    assert!(
        partition.lane.len() > COMMANDS / 2,
        "{}",
        partition.lane.len()
    );
    partition.finish();
    answer(added).unwrap();
    assert!(matches!(answer(broken), Err(CommandError::Panicked { .. })));
    for (n, sent) in (0..).zip(behind) {
        // Of the empty log.
        assert_eq!(answer(sent).unwrap().version, Some(n));
    }
}

/// Story: what makes an empty state, and destructors, ran unguarded: one type could end the partition for all.
#[test]
fn states_that_cannot_be_made_or_dropped_end_nobody() {
    let mut partition = Partition::new(AggregateConfig::default());
    DEFAULT_PANICS.set(true);
    let made = partition.one("a", Ask::Add);
    assert!(
        matches!(made, Err(CommandError::Panicked { .. })),
        "{made:?}"
    );
    DEFAULT_PANICS.set(false);
    partition.one("a", Ask::Add).unwrap();

    // Dropped when it is passivated, and its place is used again.
    partition.one("a", Ask::Arm).unwrap();
    for default_panics in [true, false] {
        DEFAULT_PANICS.set(default_panics);
        partition.clock.advance(Duration::from_secs(3_600));
        partition.core.step();
        DEFAULT_PANICS.set(false);
        let before = partition.activations();
        partition.one("a", Ask::Arm).unwrap();
        assert_eq!(partition.activations(), before + 1);
    }

    partition.clock.advance(Duration::from_secs(3_600));
    partition.core.step();

    // An event is dropped with the next command, which is told of it.
    partition.one("b", Ask::Throw).unwrap();
    let next = partition.one("b", Ask::Add);
    assert!(
        matches!(next, Err(CommandError::Panicked { .. })),
        "{next:?}"
    );
    partition.one("b", Ask::Add).unwrap();
}

type Tried = Sent<'static, Result<Ack, TrySendError<Thing>>>;

fn tried(handle: &AggregateHandle<Thing>, id: &str, ask: Ask) -> Tried {
    let (handle, id) = (handle.clone(), id.to_owned());
    let options = CommandOptions::default();
    Box::pin(async move { handle.try_send_with(&id, ask, options).await })
}

/// Story: a command for which the mailbox had no room was dropped, and what cannot be cloned was gone for its caller.
#[test]
fn what_is_not_taken_comes_back() {
    let mut partition = Partition::new(AggregateConfig::default());
    let room = PartitionConfig::default().mailbox.items_max.get() as usize;
    let taken = partition.add_to(room);
    let full = answer(tried(&partition.handle, "late", Ask::AddLarge(7)));
    let full = full.unwrap_err();
    assert!(matches!(full.error, CommandError::Overloaded));
    let Some(again @ Ask::AddLarge(7)) = full.command else {
        panic!("another command came back, or none");
    };
    partition.finish();
    assert!(taken.into_iter().all(|sent| answer(sent).is_ok()));
    partition.one("late", again).unwrap();

    let nobody = answer(tried(&partition.handle, "", Ask::AddLarge(8))).unwrap_err();
    assert!(matches!(nobody.error, CommandError::StreamId(_)));
    assert!(matches!(nobody.command, Some(Ask::AddLarge(8))));

    let mut refused = tried(&partition.handle, "late", Ask::Refuse);
    assert!(poll(&mut refused).is_pending());
    partition.finish();
    let refused = answer(refused).unwrap_err();
    assert!(matches!(refused.error, CommandError::Rejected(_)));
    assert!(refused.command.is_none(), "it was taken");

    let handle = partition.handle.clone();
    drop(partition);
    let closed = answer(tried(&handle, "late", Ask::AddLarge(9))).unwrap_err();
    assert!(matches!(closed.error, CommandError::Closed));
    assert!(matches!(closed.command, Some(Ask::AddLarge(9))));
}
