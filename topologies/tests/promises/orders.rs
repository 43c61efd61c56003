//! Promise: a projection that asks for it has the events of all partitions in one order, the same live, made anew and in the
//! past, and no effect before its cause.

use std::sync::Arc;

use millstream::TopologyFault;
use millstream::prelude::*;
use millstream_engine::event::{Offset, PartitionId, Position};
use millstream_engine::time::ManualClock;

use crate::support::*;

/// Partition and offset.
type Place = (u16, u64);

const LINES: Table<u64, Vec<Place>> = Table::named("lines");

/// Writes down what comes, in the order in which it does.
struct Lines<const BY_PARTITION: bool>;

impl<const BY_PARTITION: bool> Projection for Lines<BY_PARTITION> {
    const NAME: &'static str = "lines";
    const VERSION: u32 = 1;
    const ROWS: Rows = if BY_PARTITION {
        Rows::ByPartition
    } else {
        Rows::Global
    };
    const ORDER: Order = Order::Recorded;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<u64, Vec<Place>>,);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (LINES,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (lines,): &mut (TableMut<u64, Vec<Place>>,),
    ) -> Result<(), Self::Error> {
        lines.update(&0, |line| line.push(place(event.position)));
        Ok(())
    }
}

fn place(position: Position) -> Place {
    (position.partition.0, position.offset.0)
}

async fn start(folder: &std::path::Path, clock: &Arc<ManualClock>) -> Engine {
    let topology = Topology::named("orders")
        .aggregate::<Tally>()
        .projection(Lines::<false>)
        .build()
        .unwrap();
    let engine = Engine::open(folder).config(config());
    let engine = engine.clock(Arc::clone(clock) as _);
    engine.run(topology).await.unwrap()
}

/// Sends a command, then another one that follows from it, and so on; gives the places in the order of cause and effect.
async fn chain(
    engine: Engine,
    clock: Arc<ManualClock>,
    mut seed: u64,
    commands: u64,
) -> Vec<Place> {
    let mut places = Vec::new();
    for _ in 0..commands {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let number = seed >> 33;
        // Forwards, backwards, or not at all.
        if number.is_multiple_of(3) {
            clock.set(Timestamp(1_000_000_000 + (number % 1_000) as i64));
        }
        let id = format!("t{}", number % 9);
        let ask = if number.is_multiple_of(4) {
            // Gives nothing, but takes a turn.
            let _ = engine.send::<Tally>(&id, Ask::Refuse).await;
            continue;
        } else {
            Ask::AddAll(vec![1; (number % 3) as usize + 1])
        };
        let ack = engine.send::<Tally>(&id, ask).await.unwrap();
        places.push(place(ack.position.unwrap()));
    }
    places
}

async fn line(engine: &Engine) -> Vec<Place> {
    let everything = engine.durable();
    let query = engine
        .query(&LINES)
        .at_least(&everything)
        .deadline(PATIENCE);
    within(query.get(0_u64)).await.unwrap().unwrap_or_default()
}

/// All events, by the time at which they were recorded, then by partition, then as they were appended.
fn sorted(engine: &Engine) -> Vec<Place> {
    let mut all = Vec::new();
    for number in 0..engine.partitions() {
        for event in partition(engine, number) {
            if event.stream.starts_with("tally-") {
                all.push((event.recorded_at, place(event.position)));
            }
        }
    }
    all.sort_unstable();
    all.into_iter().map(|(_, place)| place).collect()
}

/// Goal: the order is that of recorded time and the same everywhere, and effects follow causes, with a clock that is set to and
/// fro and restarts in between. Method: tasks each of which goes on only when its last command is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_order_for_all_partitions() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp(1_000_000_000)));
    let mut random = Random::new();
    let mut chains: Vec<Vec<Place>> = Vec::new();
    let mut before = Vec::new();
    for _ in 0..3 {
        let engine = start(folder.path(), &clock).await;
        let tasks: Vec<_> = (0..6)
            .map(|_| tokio::spawn(chain(engine.clone(), Arc::clone(&clock), random.next(), 40)))
            .collect();
        let mut round = Vec::new();
        for task in tasks {
            round.push(within(task).await.unwrap());
        }
        // What one run acknowledged comes before what the next does.
        for ended in &chains {
            let pairs = round
                .iter()
                .filter_map(|begun| Some((*ended.last()?, *begun.first()?)));
            before.extend(pairs);
        }
        chains.extend(round);
        let live = line(&engine).await;
        assert_eq!(live, sorted(&engine));
        let place_of = |place: &Place| live.iter().position(|other| other == place).unwrap();
        for chain in &chains {
            assert!(chain.is_sorted_by_key(place_of), "{chain:?} in {live:?}");
        }
        for (cause, effect) in &before {
            assert!(
                place_of(cause) < place_of(effect),
                "{cause:?} {effect:?} in {live:?}"
            );
        }
        let past = engine.project_at(Lines::<false>, At::Latest).await.unwrap();
        assert_eq!(past.get(&LINES, 0_u64).unwrap(), Some(live.clone()));
        // A moment of the past has the events of that moment, in the same order.
        let middle = live[live.len() / 2];
        let upto = Position {
            partition: PartitionId(middle.0),
            offset: Offset(middle.1),
        };
        let past = engine.project_at(Lines::<false>, upto).await.unwrap();
        let expected: Vec<_> = live
            .iter()
            .filter(|place| place.0 == middle.0 && place.1 <= middle.1)
            .copied()
            .collect();
        assert_eq!(past.get(&LINES, 0_u64).unwrap(), Some(expected));
        close(engine).await;
    }
    std::fs::remove_dir_all(folder.path().join("state")).unwrap();
    let engine = start(folder.path(), &clock).await;
    assert_eq!(line(&engine).await, sorted(&engine));
    let verified = engine.verify(Lines::<false>).await.unwrap();
    assert!(verified.is_good(), "{verified:?}");
    close(engine).await;
}

#[test]
fn an_order_that_nobody_would_see_is_refused() {
    let built = Topology::named("refused").projection(Lines::<true>).build();
    let faults = built.unwrap_err().faults;
    let projection = "lines";
    assert!(faults.contains(&TopologyFault::OrderByPartition { projection }));
}
