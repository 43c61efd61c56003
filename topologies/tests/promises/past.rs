//! Promise: what is said about the past of an aggregate is what a replay of its events up to there gives, whichever way the
//! moment is named, over restarts, with and without snapshots.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millstream::prelude::*;
use millstream_engine::event::{Offset, PartitionId, Position, Recorded};
use millstream_engine::time::ManualClock;
use millstream_operators::aggregate::AggregateAt;
use serde::{Deserialize, Serialize};

use crate::support::*;

const TALLIES: usize = 4;

/// A snapshot every 16 events.
fn eager() -> Topology {
    let aggregate = AggregateConfig {
        reload_target_us: 0,
        ..AggregateConfig::default()
    };
    topology_with(aggregate, ProjectionConfig::default())
}

async fn open_eager(folder: &Path, clock: &Arc<ManualClock>) -> Engine {
    let builder = Engine::open(folder).config(config());
    let clock = Arc::clone(clock);
    builder.clock(clock).run(eager()).await.unwrap()
}

/// A log of several runs, in which the clock stands still, goes on and goes back, and events say when they happened or not.
async fn written(folder: &Path, random: &mut Random, commands: u64) -> Engine {
    let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_000)));
    let mut engine = open_eager(folder, &clock).await;
    for n in 0..commands {
        if n % (commands / 3) == commands / 5 {
            close(engine).await;
            engine = open_eager(folder, &clock).await;
        }
        match random.below(4) {
            0 => {}
            1 => clock.set(Timestamp::from_seconds(1_000 + random.below(30) as i64)),
            _ => clock.advance(Duration::from_millis(1 + random.below(900))),
        }
        let event_time =
            (random.below(2) == 0).then(|| Timestamp::from_seconds(900 + random.below(200) as i64));
        let options = CommandOptions {
            event_time,
            ..CommandOptions::default()
        };
        let by = (0..random.below(4)).map(|_| random.below(1_000) as i64);
        let ask = Ask::AddAll(by.collect());
        let id = id_in(0, random.below(TALLIES as u64) as usize);
        engine.send_with::<Tally>(&id, ask, options).await.unwrap();
    }
    engine
}

type Events = Vec<Recorded<Happened>>;

fn events(engine: &Engine, id: &str) -> Events {
    let stream = StreamId::new("tally", id).unwrap();
    engine.events::<Happened>(&stream, 0, usize::MAX).unwrap()
}

/// The model: a fold over those events that count.
fn folded<A: Aggregate<Event = Happened>>(
    events: &Events,
    counts: impl Fn(&Recorded<Happened>) -> bool,
) -> Option<AggregateAt<A>> {
    let (mut state, mut last) = (A::default(), None);
    for event in events.iter().filter(|event| counts(event)) {
        state.evolve(&event.payload);
        last = Some(event);
    }
    last.map(|last| AggregateAt {
        state,
        version: last.version,
        position: last.position,
        recorded_at: last.recorded_at,
    })
}

fn at(partition: u16, offset: u64) -> At {
    At::from(Position {
        partition: PartitionId(partition),
        offset: Offset(offset),
    })
}

/// Asks about one tally at a moment and compares it with the model.
fn agree(
    engine: &Engine,
    id: &str,
    events: &Events,
    at: &At,
    counts: impl Fn(&Recorded<Happened>) -> bool,
) {
    let found = engine.aggregate_at::<Tally>(id, at.clone()).unwrap();
    assert_eq!(found, folded(events, counts), "{id} at {at:?}");
}

fn all_agree(engine: &Engine, random: &mut Random, every: u64) {
    let end = partition(engine, 0).len() as u64;
    let log = partition(engine, 0);
    for id in (0..TALLIES).map(|n| id_in(0, n)) {
        let events = events(engine, &id);
        let mut version = 0;
        while version < events.len() as u64 {
            agree(engine, &id, &events, &At::Version(version), |event| {
                event.version <= version
            });
            version += 1 + random.below(every);
        }
        let mut offset = 0;
        while offset < end {
            agree(engine, &id, &events, &at(0, offset), |event| {
                event.position.offset.0 <= offset
            });
            let recorded = log[offset as usize].recorded_at;
            for time in [recorded.0 - 1, recorded.0] {
                let moment = At::RecordedTime(Timestamp(time));
                agree(engine, &id, &events, &moment, |event| {
                    event.recorded_at.0 <= time
                });
            }
            offset += 1 + random.below(every);
        }
        for seconds in (895..1_105).step_by(1 + random.below(2 * every) as usize) {
            let time = Timestamp::from_seconds(seconds);
            let moment = At::EventTime(time);
            agree(engine, &id, &events, &moment, |event| {
                event.event_time <= time
            });
        }
        for latest in [
            At::Latest,
            engine.durable().into(),
            At::RecordedTime(Timestamp::MAX),
        ] {
            agree(engine, &id, &events, &latest, |_| true);
        }
        for nothing in [
            At::from(Token::default()),
            at(1, 0),
            At::RecordedTime(Timestamp::MIN),
        ] {
            agree(engine, &id, &events, &nothing, |_| false);
        }
    }
}

/// Goal: at every position, version, recorded time and event time of a small log the answer is that of a full replay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_moment_of_a_small_log_is_what_a_replay_gives() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    let engine = written(folder.path(), &mut random, 60).await;
    all_agree(&engine, &mut random, 1);
    close(engine).await;
}

/// The same at random moments of a larger one, which has many snapshots, and when those are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_moments_of_a_larger_log_are_what_a_replay_gives() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    let engine = written(folder.path(), &mut random, 700).await;
    let stream = StreamId::new("tally", &id_in(0, 0)).unwrap();
    let early = engine
        .state()
        .snapshot_fitting(&stream, |head| head.stream_version < 100);
    assert!(early.is_some(), "no earlier snapshot is kept");
    all_agree(&engine, &mut random, 40);
    close(engine).await;
    std::fs::remove_dir_all(folder.path().join("state")).unwrap();
    let engine = open_with(folder.path(), config(), eager()).await;
    all_agree(&engine, &mut random, 90);
    close(engine).await;
}

/// Goal: snapshots that do not belong to the log are not used. Method: the state of another store in the place of one's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_of_another_log_are_not_believed() {
    let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut random = Random::new();
    for folder in [own.path(), other.path()] {
        close(written(folder, &mut random, 120).await).await;
    }
    std::fs::remove_dir_all(own.path().join("state")).unwrap();
    std::fs::rename(other.path().join("state"), own.path().join("state")).unwrap();
    let engine = open_with(own.path(), config(), eager()).await;
    all_agree(&engine, &mut random, 20);
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moments_that_are_not_there_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    let engine = written(folder.path(), &mut random, 30).await;
    let id = id_in(0, 0);
    let count = events(&engine, &id).len() as u64;
    for version in [count, count + 7, u64::MAX] {
        let asked = engine.aggregate_at::<Tally>(&id, At::Version(version));
        assert!(
            matches!(&asked, Err(PastError::NoSuchVersion { events, .. }) if *events == count),
            "{asked:?}"
        );
    }
    let end = partition(&engine, 0).len() as u64;
    let asked = engine.aggregate_at::<Tally>(&id, at(0, end));
    assert!(
        matches!(&asked, Err(PastError::Ahead { next, .. }) if next.0 == end),
        "{asked:?}"
    );
    let never = engine.aggregate_at::<Tally>("never", At::Latest).unwrap();
    assert_eq!(never, None);
    let bad = engine.aggregate_at::<Tally>("", At::Latest);
    assert!(matches!(bad, Err(PastError::StreamId(_))), "{bad:?}");
    close(engine).await;
}

/// Where the log stood at a time, over all partitions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_position_at_a_time_is_the_last_event_until_then() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    let engine = written(folder.path(), &mut random, 40).await;
    for n in 0..20 {
        let id = id_in(1 + n % 2, 0);
        engine.send::<Tally>(&id, Ask::Add(1)).await.unwrap();
    }
    let logs: Vec<_> = (0..PARTITIONS)
        .map(|number| partition(&engine, number))
        .collect();
    let mut times: Vec<_> = logs
        .iter()
        .flatten()
        .map(|event| event.recorded_at)
        .collect();
    times.extend([Timestamp::MIN, Timestamp::MAX, Timestamp::EPOCH]);
    for time in times {
        let found = engine.position_at(time).unwrap();
        let mut expected = Token::default();
        for event in logs
            .iter()
            .flatten()
            .filter(|event| event.recorded_at <= time)
        {
            expected.observe(event.position);
        }
        assert_eq!(found, expected, "at {time}");
    }
    close(engine).await;
}

/// Goal: history is every event with the state after it; two moments differ by the events between them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_and_differences_are_those_of_the_events() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    let engine = written(folder.path(), &mut random, 1_000).await;
    let id = id_in(0, 1);
    let events = events(&engine, &id);
    let count = events.len() as u64;
    assert!(count > 200, "{count}");
    for from in [0, 1, 15, 16, 17, 40, count - 1, count] {
        let steps = engine.past::<Tally>(&id).unwrap().history(from).unwrap();
        let steps: Vec<_> = steps.map(Result::unwrap).collect();
        assert_eq!(steps.len() as u64, count - from);
        for (version, step) in (from..).zip(steps) {
            assert_eq!(step.event, events[version as usize]);
            let expected = folded(&events, |event| event.version <= version).unwrap();
            assert_eq!(step.state, expected.state);
        }
    }
    assert!(
        engine
            .past::<Tally>(&id)
            .unwrap()
            .history(count + 1)
            .is_err()
    );
    assert_eq!(engine.history::<Tally>("never").unwrap().count(), 0);
    for _ in 0..40 {
        let (from, to) = (random.below(count), random.below(count));
        let diff = engine
            .diff::<Tally>(&id, At::Version(from), At::Version(to))
            .unwrap();
        assert_eq!(diff.before, folded(&events, |event| event.version <= from));
        assert_eq!(diff.after, folded(&events, |event| event.version <= to));
        let between = |low: u64, high: u64| -> Events {
            let events = events
                .iter()
                .filter(|event| event.version > low && event.version <= high);
            events.cloned().collect()
        };
        assert_eq!(diff.added, between(from, to));
        assert_eq!(diff.removed, between(to, from));
        // What was known at a time, and what was the case then.
        let time = Timestamp::from_seconds(900 + random.below(200) as i64);
        let diff = engine
            .diff::<Tally>(&id, At::RecordedTime(time), At::EventTime(time))
            .unwrap();
        let only = |counts: &dyn Fn(&Recorded<Happened>) -> bool| -> Events {
            events
                .iter()
                .filter(|event| counts(event))
                .cloned()
                .collect()
        };
        let added = only(&|event| event.event_time <= time && event.recorded_at > time);
        let removed = only(&|event| event.event_time > time && event.recorded_at <= time);
        assert_eq!((diff.added, diff.removed), (added, removed));
    }
    close(engine).await;
}

/// Other code for the same events: what is added counts twice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Doubled {
    sum: i64,
}

impl Aggregate for Doubled {
    const CATEGORY: &'static str = "tally";
    const VERSION: u32 = 1;
    type Command = Ask;
    type Event = Happened;
    type Rejection = Refused;

    fn decide(&self, _: Ask, out: &mut Decision<'_, Self>) -> Result<(), Refused> {
        out.emit(added(self.sum));
        Ok(())
    }

    fn evolve(&mut self, event: &Happened) {
        if let Happened::Added { by } = event {
            self.sum += 2 * by;
        }
    }
}

/// Goal: a fork is a fold over an edited list, and the log is the same afterwards. Method: random edits, over the events
/// before and behind a snapshot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forks_are_replays_of_edited_events() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    let engine = written(folder.path(), &mut random, 300).await;
    let (id, durable) = (id_in(0, 2), engine.durable());
    let events = events(&engine, &id);
    for _ in 0..60 {
        let last = random.below(events.len() as u64);
        let mut list: Vec<Vec<Happened>> = events[..=last as usize]
            .iter()
            .map(|event| vec![event.payload.clone()])
            .collect();
        list.push(Vec::new()); // Behind the last one.
        let mut fork = engine.fork::<Tally>(&id, At::Version(last)).unwrap();
        let mut touched = std::collections::BTreeSet::new();
        for _ in 0..random.below(4) {
            let version = random.below(last + 2);
            if !touched.insert(version) {
                continue;
            }
            let place = &mut list[version as usize];
            match random.below(3) {
                0 if version <= last => {
                    *place = vec![added(-5)];
                    fork = fork.replace(version, added(-5));
                }
                1 if version <= last => {
                    place.clear();
                    fork = fork.without(version);
                }
                _ => {
                    let (one, two) = (added(7), Happened::Noted { text: "two".into() });
                    place.splice(0..0, [one.clone(), two.clone()]);
                    fork = fork.insert(version, one).insert(version, two);
                }
            }
        }
        let list: Vec<_> = list.into_iter().flatten().collect();
        let was = folded(&events, |event| event.version <= last);
        if random.below(2) == 0 {
            let outcome = fork.outcome().unwrap();
            let mut state = Tally::default();
            list.iter().for_each(|event| state.evolve(event));
            assert_eq!((outcome.was, outcome.state), (was, state));
            assert_eq!(outcome.events, list.len() as u64);
        } else {
            let outcome = fork.with::<Doubled>().outcome().unwrap();
            let mut state = Doubled::default();
            list.iter().for_each(|event| state.evolve(event));
            assert_eq!((&outcome.was, &outcome.state), (&was, &state));
            let decided = outcome.decide(Ask::Nothing, Timestamp::EPOCH);
            assert_eq!(decided, Ok(vec![added(state.sum)]));
        }
    }
    for beyond in [5u64, 6] {
        let fork = engine.fork::<Tally>(&id, At::Version(4)).unwrap();
        let outcome = fork.without(beyond).outcome();
        assert!(
            matches!(outcome, Err(PastError::NoSuchVersion { version, .. }) if version == beyond)
        );
    }
    let fork = engine.fork::<Tally>(&id, At::Latest).unwrap();
    let poisoned = fork.replace(3, Happened::Poison).outcome();
    assert!(
        matches!(poisoned, Err(PastError::Panicked { version: 3, .. })),
        "{poisoned:?}"
    );
    assert_eq!(engine.durable(), durable);
    close(engine).await;
}
