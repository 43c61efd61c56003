//! Promise: a projection that looks into the tables of another one sees them as of each event, live, after a restart, made anew
//! beside traffic and in a replay; what cannot be promised is refused when the topology is built.

use std::collections::BTreeMap;
use std::path::Path;

use millstream::prelude::*;
use millstream::{RebuildError, StoredEvent, TopologyFault};
use millstream_engine::codec::EventReader;
use millstream_engine::log::frame::Kind;
use millstream_operators::projection::ReadFault;

use crate::support::*;

const SUMS_KEPT: Table<String, SumRow> = Table::named("sums-kept").versioned(Retention::FOREVER);
const PLAIN: Table<String, SumRow> = Table::named("sums-plain");
const SEEN: Table<String, Seen> = Table::named("seen");
const TALLIES: u64 = 7;

/// Of each event, by its number, what was found of its own tally and of the next one.
type Seen = BTreeMap<u64, [Option<SumRow>; 2]>;

/// The sum of each tally, with all that it was.
struct SumsKept<const VERSION: u32>;

impl<const VERSION: u32> Projection for SumsKept<VERSION> {
    const NAME: &'static str = "sums-kept";
    const VERSION: u32 = VERSION;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<String, SumRow>, Table<String, SumRow>);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (SUMS_KEPT, PLAIN)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (kept, _): &mut (TableMut<String, SumRow>, TableMut<String, SumRow>),
    ) -> Result<(), Self::Error> {
        kept.update(&event.id.to_owned(), |row| row.add(event.payload));
        Ok(())
    }
}

/// What each event finds.
struct Looks<const VERSION: u32>;

/// The tally after this one, of so many: the first one after the last.
pub(super) fn next(id: &str, tallies: u64) -> String {
    let number: u64 = id[1..].parse().unwrap();
    format!("t{}", (number + 1) % tallies)
}

impl<const VERSION: u32> Projection for Looks<VERSION> {
    const NAME: &'static str = "looks";
    const VERSION: u32 = VERSION;
    const ROWS: Rows = Rows::Global;
    const ORDER: Order = Order::Recorded;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<String, Seen>,);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (SEEN,)
    }

    fn reads(&self) -> Reads {
        Reads::none().table(SumsKept::<1>, &SUMS_KEPT)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (seen,): &mut (TableMut<String, Seen>,),
    ) -> Result<(), Self::Error> {
        let keys = [event.id.to_owned(), next(event.id, TALLIES)];
        let found = keys.each_ref().map(|key| event.look_up(&SUMS_KEPT, key));
        seen.update(&keys[0], |seen| {
            seen.insert(event.version, found);
        });
        Ok(())
    }
}

fn topology() -> Topology {
    let slow = ProjectionConfig {
        store_every_ms: 40,
        ..ProjectionConfig::default()
    };
    Topology::named("enrich")
        .aggregate::<Tally>()
        .projection(Looks::<1>)
        .candidate(Looks::<2>)
        .projection_with(SumsKept::<1>, slow)
        .candidate(SumsKept::<2>)
        .build()
        .unwrap()
}

async fn start(folder: &Path) -> Engine {
    open_with(folder, config(), topology()).await
}

/// Sends so many commands to so many tallies, all at the same time.
pub(super) async fn written(engine: &Engine, random: &mut Random, commands: u64, tallies: u64) {
    let mut asked = Vec::new();
    for _ in 0..commands {
        let by = (0..1 + random.below(3)).map(|_| random.below(1_000) as i64);
        let ask = Ask::AddAll(by.collect());
        let (id, engine) = (format!("t{}", random.below(tallies)), engine.clone());
        let send = async move { engine.send::<Tally>(&id, ask).await.map(drop) };
        asked.push(tokio::spawn(send));
    }
    for sent in asked {
        within(sent).await.unwrap().unwrap();
    }
}

pub(super) fn happened(event: &StoredEvent) -> Happened {
    let kind = Kind {
        category: "tally".into(),
        event_type: event.event_type.as_str().into(),
        schema_version: event.schema_version,
        encoding: event.encoding,
    };
    let mut reader = EventReader::<Happened>::new();
    reader.begin_frame(&event.dictionary).unwrap();
    reader.decode(&kind, &event.payload).unwrap()
}

/// The events of all tallies, with the tally of each, as they were recorded.
pub(super) fn recorded(engine: &Engine) -> Vec<(String, StoredEvent)> {
    let mut all = Vec::new();
    for number in 0..engine.partitions() {
        for event in partition(engine, number) {
            if let Some(id) = event.stream.strip_prefix("tally-") {
                all.push((id.to_owned(), event));
            }
        }
    }
    all.sort_by_key(|(_, event)| (event.recorded_at, event.position));
    all
}

/// What one event after the other finds.
fn expected(engine: &Engine) -> BTreeMap<String, Seen> {
    let (mut sums, mut found) = (BTreeMap::<String, SumRow>::new(), BTreeMap::new());
    for (id, event) in &recorded(engine) {
        let happened = happened(event);
        sums.entry(id.clone()).or_default().add(&happened);
        let keys = [id.clone(), next(id, TALLIES)];
        let seen: &mut Seen = found.entry(id.clone()).or_default();
        seen.insert(event.version, keys.map(|key| sums.get(&key).cloned()));
    }
    found
}

async fn seen(engine: &Engine) -> BTreeMap<String, Seen> {
    let everything = engine.durable();
    let rows = engine
        .query(&SEEN)
        .at_least(&everything)
        .deadline(PATIENCE)
        .rows();
    within(rows).await.unwrap().into_iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_live_after_restarts_made_anew_and_in_a_replay() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    for _ in 0..3 {
        let engine = start(folder.path()).await;
        written(&engine, &mut random, 60, TALLIES).await;
        assert_eq!(seen(&engine).await, expected(&engine));
        // Ends while the one waits for the other.
        written(&engine, &mut random, 20, TALLIES).await;
        close(engine).await;
    }
    let engine = start(folder.path()).await;
    assert_eq!(seen(&engine).await, expected(&engine));
    let verified = within(engine.verify(Looks::<1>)).await.unwrap();
    assert!(verified.is_good(), "{verified:?}");
    let rebuild = engine.rebuild("looks").unwrap();
    within(rebuild.caught_up()).await.unwrap();
    within(rebuild.switch()).await.unwrap();
    assert_eq!(seen(&engine).await, expected(&engine));
    let sums = engine.rebuild("sums-kept").unwrap();
    within(sums.caught_up()).await.unwrap();
    within(sums.switch()).await.unwrap();
    // It answers no more, and is read still.
    written(&engine, &mut random, 20, TALLIES).await;
    assert_eq!(seen(&engine).await, expected(&engine));
    let refused = within(sums.drop_version(1)).await.unwrap_err();
    let is_told = matches!(
        refused,
        RebuildError::Read {
            reader: "looks",
            ..
        }
    );
    assert!(is_told, "{refused}");
    close(engine).await;
}

/// Looks into what it must not.
struct Wrong<const GLOBAL: bool>;

impl<const GLOBAL: bool> Projection for Wrong<GLOBAL> {
    const NAME: &'static str = if GLOBAL { "wrong-global" } else { "wrong" };
    const VERSION: u32 = 1;
    const ROWS: Rows = if GLOBAL {
        Rows::Global
    } else {
        Rows::ByPartition
    };
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<String, i64>,);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (Table::named(Self::NAME).versioned(Retention::FOREVER),)
    }

    fn reads(&self) -> Reads {
        let of_other: Table<String, i64> = Table::named("wrong-global");
        let of_this: Table<String, i64> = Table::named("wrong");
        let other_rows: Table<String, i64> = Table::named("sums-kept");
        let reads = Reads::none()
            .table(SumsKept::<3>, &SUMS_KEPT)
            .table(SumsKept::<1>, &PLAIN)
            .table(SumsKept::<1>, &other_rows)
            .table(Looks::<1>, &SEEN.versioned(Retention::FOREVER));
        if GLOBAL {
            reads.table(Wrong::<false>, &of_this)
        } else {
            reads.table(Wrong::<true>, &of_other)
        }
    }

    fn project(
        &self,
        _: &ProjectedEvent<'_, Happened>,
        _: &mut (TableMut<String, i64>,),
    ) -> Result<(), Self::Error> {
        Ok(())
    }
}

#[test]
fn what_cannot_be_promised_is_told_all_at_once() {
    let built = Topology::named("wrong")
        .aggregate::<Tally>()
        .projection(SumsKept::<1>)
        .projection(Looks::<1>)
        .projection(Wrong::<false>)
        .projection(Wrong::<true>)
        .build();
    let faults = built.unwrap_err().faults.into_iter();
    let told: Vec<_> = faults
        .map(|fault| match fault {
            TopologyFault::Reads { projection, fault } => (projection, fault),
            other => panic!("{other}"),
        })
        .collect();
    let of = |name: &str| -> Vec<_> {
        let own = told.iter().filter(|(projection, _)| *projection == name);
        own.map(|(_, fault)| fault.clone()).collect()
    };
    let (kept, plain) = ("sums-kept", "sums-plain");
    let both = [
        ReadFault::NotVersioned {
            of: kept,
            table: plain,
        },
        ReadFault::NoTable {
            of: kept,
            table: kept,
        },
        ReadFault::NotVersioned {
            of: "looks",
            table: "seen",
        },
        ReadFault::Undeclared {
            of: kept,
            version: 3,
            table: kept,
        },
    ];
    for fault in both {
        for name in ["wrong", "wrong-global"] {
            assert!(of(name).contains(&fault), "{name}: {fault}");
        }
    }
    let by_arrival = ReadFault::ByArrival { of: "wrong-global" };
    assert!(of("wrong").contains(&by_arrival));
    assert!(of("wrong").contains(&ReadFault::Cycle { of: "wrong-global" }));
    assert!(of("wrong-global").contains(&ReadFault::Cycle { of: "wrong" }));
    assert_eq!(told.len(), 11, "{told:?}");
}
