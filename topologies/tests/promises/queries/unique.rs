//! Unique indexes: who comes second fails, and nobody declares one that could not be kept.

use millstream::TopologyFault;
use millstream_engine::state::{DeadLetter, DeadLetterStatus};

use crate::failing_events::letters;

use super::*;

/// The one letter, once it is dead.
async fn until_dead(engine: &Engine) -> DeadLetter {
    within(async {
        loop {
            if let [letter] = &letters(engine)[..]
                && letter.status == DeadLetterStatus::Dead
            {
                return letter.clone();
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

/// Goal: no two rows are found by the same in a unique index; who comes second waits as a dead letter, and may come once
/// the first has gone. Method: two tallies that want the same sum, over a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_second_in_a_unique_index_fails() {
    let folder = tempfile::tempdir().unwrap();
    let engine = start(folder.path(), quick(1)).await;
    engine
        .send::<Tally>("first", Ask::Add(NAMED))
        .await
        .unwrap();
    projected(&engine).await;
    close(engine).await;

    // What was stored counts as well as what is in memory.
    let engine = start(folder.path(), quick(1)).await;
    engine
        .send::<Tally>("second", Ask::Add(NAMED))
        .await
        .unwrap();
    engine
        .send::<Tally>("third", Ask::Add(NAMED + 1))
        .await
        .unwrap();
    projected(&engine).await;
    let reader = engine.table(&TALLIES).unwrap();
    let named = |sum: i64| {
        let found = reader.by(&BY_NAME, &(sum as u64)).unwrap().all().unwrap();
        found.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(named(NAMED), ["first"]);
    assert_eq!(named(NAMED + 1), ["third"]);
    let found = until_dead(&engine).await;
    assert_eq!(found.key, "tally-second");
    assert!(found.cause[0].contains("by-sum"), "{:?}", found.cause);

    let ack = engine.send::<Tally>("first", Ask::Add(-1)).await.unwrap();
    engine
        .query(&TALLIES)
        .at_least(&ack.token())
        .deadline(PATIENCE)
        .get("first")
        .await
        .unwrap();
    let reason = "the name is free";
    engine
        .dead_letters()
        .redrive(&[found.id()], "ann", reason)
        .await
        .unwrap();
    within(async {
        while named(NAMED) != ["second"] {
            tokio::task::yield_now().await;
        }
    })
    .await;
    close(engine).await;
}

struct ByPartition;

impl Projection for ByPartition {
    const ROWS: Rows = Rows::ByPartition;
    const NAME: &'static str = Together::NAME;
    const VERSION: u32 = Together::VERSION;
    const CATEGORY: &'static str = Together::CATEGORY;
    type Event = Happened;
    type Tables = <Together as Projection>::Tables;
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (TALLIES, TOTAL)
    }

    fn project(
        &self,
        _: &ProjectedEvent<'_, Happened>,
        _: &mut (TableMut<String, SumRow>, TableMut<u64, SumRow>),
    ) -> Result<(), Self::Error> {
        Ok(())
    }
}

#[test]
fn an_index_that_nobody_could_keep_unique_is_refused() {
    let built = Topology::named("refused")
        .aggregate::<Tally>()
        .projection(ByPartition)
        .dataflow("made", |flow| {
            let numbers = flow.items([1_u64]).stream();
            numbers.to_table(&INDEXED, |number| (number, Some(SumRow::default())));
        })
        .build();
    let faults = built.unwrap_err().faults;
    assert!(faults.contains(&TopologyFault::UniqueByPartition {
        projection: "together",
        table: "tallies",
        index: "by-sum",
    }));
    let refused = faults.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert!(
        refused
            .iter()
            .any(|fault| fault.contains("\"made\"") && fault.contains("has indexes")),
        "{refused:?}"
    );
}

const OF_ROW: Index<u64, SumRow, u64> = Index::named("of-row", |_, row| Some(row.events));
const INDEXED: Table<u64, SumRow> = Table::named("indexed").indexed(&[&OF_ROW]);
