//! Promise: a subscriber gets every event once and in order, from any position, live or behind.

use std::sync::Arc;

use millstream::prelude::*;
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::log::{Subscription, SubscriptionLimits};

use crate::support::*;

fn limits(items: u32, bytes: u64) -> SubscriptionLimits {
    SubscriptionLimits {
        items_max: items.try_into().unwrap(),
        bytes_max: bytes.try_into().unwrap(),
    }
}

fn everywhere(offset: u64) -> Vec<(PartitionId, Offset)> {
    (0..PARTITIONS)
        .map(|n| (PartitionId(n), Offset(offset)))
        .collect()
}

/// Takes frames until each partition has reached its end, or the subscription has ended; `pause` is asked before
/// each frame. Gives the offsets that came, per partition.
async fn take(
    subscription: &mut Subscription,
    ends: Option<&[u64]>,
    mut pause: impl FnMut() -> usize,
) -> Vec<Vec<u64>> {
    let mut came = vec![Vec::new(); usize::from(PARTITIONS)];
    let is_done = |came: &[Vec<u64>]| {
        ends.is_some_and(|ends| {
            came.iter()
                .zip(ends)
                .all(|(came, end)| came.last().map_or(0, |last| last + 1) >= *end)
        })
    };
    while !is_done(&came) {
        for _ in 0..pause() {
            tokio::task::yield_now().await;
        }
        let Some(slice) = within(subscription.next()).await.unwrap() else {
            break;
        };
        let partition = slice.frame.header().partition;
        let offsets = &mut came[usize::from(partition.0)];
        assert!(!slice.is_empty());
        let before = offsets.len();
        offsets.extend(slice.records().map(|record| record.offset.0));
        assert_eq!(offsets.len() - before, slice.len());
    }
    came
}

/// Goal: no gap and no repeat, however often a subscriber falls behind and catches up. Method: writers that never
/// wait for it, subscribers with room for one frame up to many, slow and fast, that join at any time and
/// from any position, also from beyond the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let engine = engine.clone();
            tokio::spawn(async move {
                for n in 0..1_000 {
                    let id = format!("w{writer}-{}", n % 7);
                    engine
                        .send::<Tally>(&id, Ask::AddAll(vec![1, 2]))
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    let mut random = Random::new();
    let mut subscribers = Vec::new();
    for n in 0..12u64 {
        let limits = [
            limits(1, 1),
            limits(2, 1 << 20),
            limits(64, 4_096),
            limits(4_096, 16 << 20),
        ];
        let limits = limits[(n % 4) as usize];
        let from = [0, random.below(500), 2_000][(n % 3) as usize];
        let mut subscription = engine.subscribe_from(&everywhere(from), limits).unwrap();
        let slowness = [0, 3, 200][(n / 4) as usize];
        subscribers.push(tokio::spawn(async move {
            let came = take(&mut subscription, None, || slowness).await;
            assert_eq!(subscription.lag(), 0);
            (from, came)
        }));
        for _ in 0..random.below(2_000) {
            tokio::task::yield_now().await;
        }
    }
    for writer in writers {
        within(writer).await.unwrap();
    }
    let ends: Vec<u64> = (0..PARTITIONS)
        .map(|n| partition(&engine, n).len() as u64)
        .collect();
    assert_eq!(ends.iter().sum::<u64>(), 8_000);
    close(engine).await;
    // The end of the engine ends them, after all that was durable.
    for subscriber in subscribers {
        let (from, came) = within(subscriber).await.unwrap();
        for (came, end) in came.into_iter().zip(&ends) {
            assert_eq!(came, (from..*end).collect::<Vec<_>>());
        }
    }
}

/// Goal: a subscriber that waits is woken by the next event, at the moment of every switch. Method: one event at a
/// time, waited for before the next is sent, through lanes of one place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    let mut subscription = engine.subscribe_from(&everywhere(0), limits(1, 1)).unwrap();
    for n in 0..300 {
        let ack = engine
            .send::<Tally>(&format!("t{}", n % 5), Ask::Add(n))
            .await
            .unwrap();
        let slice = within(subscription.next()).await.unwrap().unwrap();
        assert_eq!(slice.from, ack.position.unwrap().offset);
        assert_eq!(slice.len(), 1);
        assert!(subscription.try_next().unwrap().is_none());
    }
    // From behind a token on, and from one that knows nothing.
    let ack = engine.send::<Tally>("t0", Ask::Add(1)).await.unwrap();
    let mut behind = engine.subscribe(&engine.durable()).unwrap();
    assert!(behind.try_next().unwrap().is_none());
    let mut all = engine.subscribe(&Token::default()).unwrap();
    let ends: Vec<u64> = (0..PARTITIONS)
        .map(|n| partition(&engine, n).len() as u64)
        .collect();
    let came = take(&mut all, Some(&ends), || 0).await;
    assert_eq!(came.iter().map(Vec::len).sum::<usize>(), 301);
    let next = engine.send::<Tally>("t0", Ask::Add(1)).await.unwrap();
    let slice = within(behind.next()).await.unwrap().unwrap();
    assert_eq!(slice.from, next.position.unwrap().offset);
    assert_eq!(slice.from.0, ack.position.unwrap().offset.0 + 1);
    assert!(
        engine
            .subscribe_from(&[(PartitionId(PARTITIONS), Offset(0))], limits(1, 1))
            .is_err()
    );
    close(engine).await;
    assert!(within(behind.next()).await.unwrap().is_none());
}

/// Goal: whoever keeps up is given frames from memory, not from the disk. Method: what is live is one frame, shared by all who wait
/// for it, while each reader of the disk unpacks one of its own. Once is enough: an event may be durable before it is in a
/// subscriber's lane, and then it is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_keep_up_read_from_memory() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    let subscribe = || {
        let room = limits(64, 1 << 20);
        engine.subscribe_from(&everywhere(0), room).unwrap()
    };
    let (mut one, mut other) = (subscribe(), subscribe());
    let mut shared = 0;
    for n in 0..300 {
        engine.send::<Tally>("t", Ask::Add(n)).await.unwrap();
        let one = within(one.next()).await.unwrap().unwrap();
        let other = within(other.next()).await.unwrap().unwrap();
        assert_eq!(one.from, other.from);
        shared += u32::from(Arc::ptr_eq(&one.frame, &other.frame));
    }
    assert!(shared > 0, "all 300 were read from the disk");
    close(engine).await;
}
