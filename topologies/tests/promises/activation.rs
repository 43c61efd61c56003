//! Danger: instances come and go, snapshots are of other versions or damaged, the state is gone or of another
//! store. What an aggregate decides on is always what its events give.

use std::collections::BTreeMap;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use millstream::prelude::*;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::support::*;

/// The same category as [`Tally`] with another state: its snapshots are no use to the other, nor the other way.
/// Its name for the sum is a text, so that a snapshot read by the wrong type would show.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct OtherTally {
    sum: String,
    total: i64,
}

impl Aggregate for OtherTally {
    const CATEGORY: &'static str = "tally";
    const VERSION: u32 = 2;
    type Command = Ask;
    type Event = Happened;
    type Rejection = Refused;

    fn decide(&self, ask: Ask, out: &mut Decision<'_, Self>) -> Result<(), Refused> {
        assert_eq!(self.sum.parse::<i64>().unwrap_or(0), self.total);
        match ask {
            Ask::Add(by) => out.emit(added(by)),
            Ask::AddAll(all) => all.into_iter().for_each(|by| out.emit(added(by))),
            _ => return Err(Refused::Sum(self.total)),
        }
        Ok(())
    }

    fn evolve(&mut self, event: &Happened) {
        if let Happened::Added { by } = event {
            self.total += by;
            self.sum = self.total.to_string();
        }
    }
}

fn other_topology(aggregate: AggregateConfig) -> Topology {
    Topology::named("others")
        .aggregate_with::<OtherTally>(aggregate)
        .projection(Sums)
        .projection(Digits)
        .build()
        .unwrap()
}

#[derive(Clone, Debug)]
enum Step {
    /// Several commands at once, so that some are in flight together.
    Add(Vec<(u8, i8)>),
    Look(u8),
    Panic(u8),
    Restart {
        other_version: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => prop::collection::vec((0u8..6, any::<i8>()), 1..40).prop_map(Step::Add),
        4 => (0u8..6).prop_map(Step::Look),
        1 => (0u8..6).prop_map(Step::Panic),
        1 => any::<bool>().prop_map(|other_version| Step::Restart { other_version }),
    ];
    prop::collection::vec(step, 1..25)
}

/// A running engine with one of the two versions of the aggregate.
struct Subject {
    engine: Option<Engine>,
    is_other: bool,
}

impl Subject {
    async fn open(folder: &Path, aggregate: &AggregateConfig, is_other: bool) -> Self {
        let topology = if is_other {
            other_topology(aggregate.clone())
        } else {
            topology_with(aggregate.clone(), ProjectionConfig::default())
        };
        Self {
            engine: Some(open_with(folder, config(), topology).await),
            is_other,
        }
    }

    fn engine(&self) -> Engine {
        self.engine.clone().unwrap()
    }

    async fn send(&self, id: u8, ask: Ask) -> Result<Ack, CommandError<Refused>> {
        let (engine, id) = (self.engine(), format!("t{id}"));
        if self.is_other {
            engine.send::<OtherTally>(&id, ask).await
        } else {
            engine.send::<Tally>(&id, ask).await
        }
    }

    async fn sum(&self, id: u8) -> i64 {
        let ask = Ask::AddIf {
            sum: i64::MIN,
            by: 0,
        };
        match self.send(id, ask).await {
            Err(CommandError::Rejected(Refused::Sum(sum))) => sum,
            other => panic!("{other:?}"),
        }
    }
}

async fn run(steps: Vec<Step>, aggregate: AggregateConfig) {
    let folder = tempfile::tempdir().unwrap();
    let mut subject = Subject::open(folder.path(), &aggregate, false).await;
    let mut model = BTreeMap::<u8, (i64, u64)>::new();
    for step in steps {
        match step {
            Step::Add(all) => {
                let sends = all
                    .iter()
                    .map(|&(id, by)| subject.send(id, Ask::Add(by.into())));
                let mut sends: Vec<_> = sends.map(Box::pin).collect();
                // Polled in order, so that they lie in the mailbox in order, before any is waited for.
                let mut answers: Vec<_> = sends.iter().map(|_| None).collect();
                std::future::poll_fn(|context| {
                    for (send, answer) in sends.iter_mut().zip(&mut answers) {
                        if answer.is_none()
                            && let std::task::Poll::Ready(ready) = send.as_mut().poll(context)
                        {
                            *answer = Some(ready);
                        }
                    }
                    if answers.iter().all(Option::is_some) {
                        std::task::Poll::Ready(())
                    } else {
                        std::task::Poll::Pending
                    }
                })
                .await;
                for (&(id, by), answer) in all.iter().zip(answers) {
                    let (sum, events) = model.entry(id).or_default();
                    assert_eq!(answer.unwrap().unwrap().version, Some(*events));
                    *sum += i64::from(by);
                    *events += 1;
                }
            }
            Step::Look(id) => {
                let (sum, _) = model.get(&id).copied().unwrap_or_default();
                assert_eq!(subject.sum(id).await, sum);
            }
            Step::Panic(id) if !subject.is_other => {
                let sent = subject.send(id, Ask::EvolvePanics).await;
                assert!(
                    matches!(sent, Err(CommandError::Panicked { .. })),
                    "{sent:?}"
                );
            }
            Step::Panic(_) => {}
            Step::Restart { other_version } => {
                close(subject.engine.take().unwrap()).await;
                subject = Subject::open(folder.path(), &aggregate, other_version).await;
            }
        }
    }
    for (id, (sum, _)) in &model {
        assert_eq!(subject.sum(*id).await, *sum);
    }
    let engine = subject.engine.take().unwrap();
    let streams = check(&engine).await;
    for (id, (_, events)) in &model {
        assert_eq!(streams[&format!("tally-t{id}")].len() as u64, *events);
    }
    close(engine).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Goal: whoever is passivated, reloaded, broken by a panic or read from a snapshot of either version
    /// decides on what its events give. Method: a model of sums, with limits so tight that instances come
    /// and go all the time and a snapshot is taken as often as can be.
    #[test]
    fn instances_come_and_go(
        steps in steps(),
        resident_bytes_max in prop_oneof![Just(0u64), Just(600), Just(1 << 20)],
        idle_seconds_max in 0u32..2,
        reload_target_us in prop_oneof![Just(0u64), Just(5_000)],
    ) {
        let aggregate = AggregateConfig { resident_bytes_max, idle_seconds_max, reload_target_us };
        runtime().block_on(within(run(steps, aggregate)));
    }
}

/// Snapshots as often as can be.
pub(crate) fn eager() -> AggregateConfig {
    AggregateConfig {
        resident_bytes_max: 0,
        idle_seconds_max: 0,
        reload_target_us: 0,
    }
}

/// A store with some hundred events per tally, closed; `by` makes its events differ from another's.
async fn filled(folder: &Path, by: i64) -> Streams {
    let engine = open_with(
        folder,
        config(),
        topology_with(eager(), ProjectionConfig::default()),
    )
    .await;
    for round in 0..60 {
        for n in 0..9 {
            let events = vec![by, round, n];
            engine
                .send::<Tally>(&format!("t{n}"), Ask::AddAll(events))
                .await
                .unwrap();
        }
    }
    let streams = check(&engine).await;
    let snapshots = (0..9)
        .filter(|n| {
            let id = StreamId::new("tally", &format!("t{n}")).unwrap();
            engine.state().snapshot(&id).is_some()
        })
        .count();
    assert!(snapshots > 0, "this test needs snapshots");
    close(engine).await;
    streams
}

/// Opens the store in `folder` and checks every table and every instance against its events.
async fn checked(folder: &Path, streams: &Streams) {
    let engine = open_with(
        folder,
        config(),
        topology_with(eager(), ProjectionConfig::default()),
    )
    .await;
    assert_eq!(check(&engine).await, *streams);
    for (id, row) in Tables::of(streams).sums {
        assert_eq!(sum(&engine, &id).await, row.sum, "{id}");
    }
    close(engine).await;
}

/// Goal: `state/` can be deleted, at any time between two runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_state() {
    let folder = tempfile::tempdir().unwrap();
    let streams = filled(folder.path(), 1).await;
    std::fs::remove_dir_all(folder.path().join("state")).unwrap();
    checked(folder.path(), &streams).await;
    checked(folder.path(), &streams).await;
}

/// Goal: the state of another store, and of the same store's past or other future, is recognised: nothing of it is
/// seen. Method: state folders are exchanged between two stores that differ in what they added, and between a
/// store and its older copy that went on otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_state_of_another_store() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = filled(one.path(), 1).await;
    let second = filled(two.path(), 2).await;
    assert_ne!(first, second);
    exchange_state(one.path(), two.path());
    checked(one.path(), &first).await;
    checked(two.path(), &second).await;

    // A backup of the log beside a state that is ahead of it, then one that is of another future.
    let backup = tempfile::tempdir().unwrap();
    copy(&one.path().join("log"), &backup.path().join("log"));
    let longer = filled(one.path(), 5).await;
    copy(&one.path().join("state"), &backup.path().join("state"));
    checked(backup.path(), &first).await;
    let otherwise = filled(backup.path(), 7).await;
    assert_ne!(longer, otherwise);
    exchange_state(one.path(), backup.path());
    checked(one.path(), &longer).await;
    checked(backup.path(), &otherwise).await;
}

fn exchange_state(one: &Path, two: &Path) {
    let aside = one.join("aside");
    std::fs::rename(one.join("state"), &aside).unwrap();
    std::fs::rename(two.join("state"), one.join("state")).unwrap();
    std::fs::rename(&aside, two.join("state")).unwrap();
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Goal: damage of the state's file never reaches an answer: it is set aside, or what it holds is refused and
/// made anew. Method: some bytes are overwritten at random places in the part that is in use, 25 times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_damaged_state() {
    let folder = tempfile::tempdir().unwrap();
    let streams = filled(folder.path(), 1).await;
    let kept = tempfile::tempdir().unwrap();
    copy(&folder.path().join("state"), kept.path());
    let mut random = Random::new();
    for _ in 0..25 {
        copy(kept.path(), &folder.path().join("state"));
        let path = folder.path().join("state").join("data.mdb");
        let used = last_used_byte(&path);
        let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        for _ in 0..1 + random.below(20) {
            file.seek(SeekFrom::Start(random.below(used))).unwrap();
            file.write_all(&[random.next() as u8; 3]).unwrap();
        }
        drop(file);
        checked(folder.path(), &streams).await;
    }
}

fn last_used_byte(path: &Path) -> u64 {
    let bytes = std::fs::read(path).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64
}
