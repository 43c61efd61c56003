//! Story: sources of the log without a name were told apart by their order. One that was declared before another one went on where
//! that one had been, so that nobody read what it should have seen before; and the other one, which was new by that, read everything
//! once more into the state that it still had: twice as much, and no error.

use std::path::Path;

use millstream::dataflow::{DataflowFault, Flow, StartDataflowError};
use millstream::prelude::*;
use millstream::{InvalidTopology, OpenError};
use millstream_engine::checkpoint::CheckpointError;
use millstream_operators::function::count;
use millstream_operators::keyed::Ttl;

use super::support::*;

const SOLD: Table<String, u64> = Table::named("sold");
const REFUNDED: Table<String, u64> = Table::named("refunded");

/// Counts the events of a category per product.
fn counted(flow: &Flow, category: &str, name: Option<&str>, table: &Table<String, u64>) {
    let events = flow.events::<Sale>().category(category).stream();
    let events = match name {
        Some(name) => events.stage_named(name),
        None => events,
    };
    events
        .key_by(|sale: &Sale| sale.product.clone())
        .named(category)
        .aggregate_running(Ttl::Never, count())
        .to_table(table, |(product, count)| (product, Some(count)));
}

/// Sales alone, as the program was first.
fn first() -> Topology {
    let topology = Topology::named("shop").dataflow_with("sums", options(), |flow| {
        counted(flow, "sale", None, &SOLD);
    });
    topology.build().unwrap()
}

/// Refunds before them, each under this name.
fn second(refunds: Option<&str>, sales: Option<&str>) -> Result<Topology, InvalidTopology> {
    let topology = Topology::named("shop").dataflow_with("sums", options(), |flow| {
        counted(flow, "refund", refunds, &REFUNDED);
        counted(flow, "sale", sales, &SOLD);
    });
    topology.build()
}

async fn started(folder: &Path, topology: Topology) -> Result<Engine, OpenError> {
    let opened = Engine::open(folder).config(config());
    within(opened.run(topology)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_goes_on_where_it_was_itself() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), first()).await;
    append(&engine, &sales(60)).await;
    for number in 0..5 {
        append_to(&engine, "refund-1", sale("tea", number)).await;
    }
    shown(&engine, &SOLD, 60).await;
    within(engine.dataflow("sums").checkpoint()).await.unwrap();
    close(engine).await;

    let both = second(None, Some("sales")).unwrap();
    let error = started(folder.path(), both).await.unwrap_err();
    let OpenError::Dataflow(StartDataflowError::Restore { stage, cause, .. }) = &error else {
        panic!("{error}");
    };
    let expected = CheckpointError::OtherSource {
        stored: "category sale".to_owned(),
        now: "category refund".to_owned(),
    };
    assert_eq!((stage.as_str(), cause), ("events", &expected));

    // As the message says.
    let both = second(Some("refunds"), Some("events")).unwrap();
    let engine = open(folder.path(), both).await;
    append(&engine, &sales(30)).await;
    shown(&engine, &REFUNDED, 5).await;
    shown(&engine, &SOLD, 90).await;
    close(engine).await;
}

/// Waits until a table counts so many events, and sees that it does not count more.
async fn shown(engine: &Engine, table: &Table<String, u64>, events: u64) {
    within(async {
        loop {
            let rows = engine.query(table).rows().await.unwrap();
            let counted: u64 = rows.iter().map(|(_, count)| count).sum();
            assert!(counted <= events, "{counted} instead of {events}");
            if counted == events {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Two that read the same cannot be told apart at a start, so several want names; not where nothing of them is kept.
#[test]
fn several_sources_of_the_log_want_names() {
    let unnamed = |stage: &str| DataflowFault::UnnamedStage {
        kind: "events".to_owned(),
        stage: stage.to_owned(),
    };
    let error = second(None, None).unwrap_err();
    let text = error.to_string();
    for stage in ["events", "events-2"] {
        assert!(text.contains(&unnamed(stage).to_string()), "{text}");
    }
    assert!(second(None, Some("sales")).is_ok());
    let topology = Topology::named("shop").dataflow_with("sums", without_checkpoints(), |flow| {
        counted(flow, "refund", None, &REFUNDED);
        counted(flow, "sale", None, &SOLD);
    });
    assert!(topology.build().is_ok());
}
