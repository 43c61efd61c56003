//! A damaged checkpoint is passed over; tables hold what the one that is begun from says, all the same. Where nothing but the
//! log lies outside, the one before it will do.

use std::ops::Bound;
use std::path::Path;

use millstream::prelude::*;
use millstream_engine::state::{StateBatch, StateOptions, StateStore, StateWrite};
use millstream_operators::keyed::Ttl;

use crate::support::*;

#[derive(Clone, Copy, Debug)]
enum Damaged {
    Manifest,
    Part,
}

/// Damages the newest checkpoint.
fn damage(data: &Path, what: Damaged) {
    let newest = numbers(data).last().unwrap().0.to_be_bytes();
    let options = StateOptions {
        map_bytes_max: 8 << 30,
        preallocate_step_bytes: 1 << 20,
        ..StateOptions::default()
    };
    let (store, writer) = StateStore::open(&data.join("state"), options).unwrap();
    let (writer, thread) = millstream_engine::state::start(writer).unwrap();
    let tables = store.projection("checkpoints rows", 1).unwrap().unwrap();
    let write = match what {
        Damaged::Manifest => StateWrite::PutRow {
            table: tables.table("manifests").unwrap(),
            key: newest.to_vec(),
            value: vec![1, 0xc1, 7],
        },
        Damaged::Part => {
            let table = tables.table("parts").unwrap();
            let keys = store.keys(table, Bound::Included(&newest), 1).unwrap();
            let key = keys.into_iter().next().unwrap();
            StateWrite::DeleteRow { table, key }
        }
    };
    writer.try_submit(StateBatch::new(vec![write])).unwrap();
    writer.flush().unwrap();
    thread.close().unwrap();
}

/// `has_savepoint`: there is an older one that can be begun from.
async fn pass_over(what: Damaged, has_savepoint: bool) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let mut model = Model::default();
    let engine = open(data, topology("a", options())).await;
    let rows = engine.dataflow("rows");
    append(&engine, &sales(1, 30)).await;
    model.add("a", &sales(1, 30));
    until_rows(&engine, &model).await;
    if has_savepoint {
        within(rows.savepoint()).await.unwrap();
    }
    for round in 2..5 {
        append(&engine, &sales(round, 30)).await;
        within(rows.checkpoint()).await.unwrap();
    }
    crash(engine).await;
    damage(data, what);
    // What is computed now is told from what was computed before.
    if !has_savepoint {
        model = Model::default();
        model.add("b", &sales(1, 30));
    }
    for round in 2..5 {
        model.add("b", &sales(round, 30));
    }
    let engine = open(data, topology("b", options())).await;
    let begun = engine.dataflow("rows").checkpoints().unwrap().completed;
    assert_eq!(
        begun.map(|epoch| epoch.0),
        has_savepoint.then_some(1),
        "{what:?}"
    );
    until_rows(&engine, &model).await;
    within(engine.dataflow("rows").checkpoint()).await.unwrap();
    crash(engine).await;
    let engine = open(data, topology("b", options())).await;
    until_rows(&engine, &model).await;
    close(engine).await;
}

/// The one before the damaged one has not all rows of the table, which have gone on: a savepoint has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_go_back_to_a_savepoint() {
    pass_over(Damaged::Manifest, true).await;
    pass_over(Damaged::Part, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_made_anew_where_there_is_no_savepoint() {
    pass_over(Damaged::Manifest, false).await;
    pass_over(Damaged::Part, false).await;
}

/// Each sale once more in the log, with a number of the state.
fn copying() -> Topology {
    let topology = Topology::named("shop").dataflow_with("rows", options(), |flow| {
        flow.events::<Sale>()
            .category("sale")
            .stream()
            .key_by(|sale: &Sale| sale.product.clone())
            .named("sums")
            .fold(Ttl::Never, 0_u64, |sum: &mut u64, sale: &Sale| {
                *sum += sale.cents;
            })
            .to_log_with_checkpoints("adder", |(product, cents): (String, u64)| {
                let stream: StreamId = format!("sum-{product}").parse().unwrap();
                (stream, Sale { product, cents })
            });
    });
    topology.build().unwrap()
}

fn sums(engine: &Engine, product: &str) -> Vec<u64> {
    let stream: StreamId = format!("sum-{product}").parse().unwrap();
    let events = engine.events::<Sale>(&stream, 0, 10_000).unwrap();
    events.iter().map(|event| event.payload.cents).collect()
}

/// Events that the damaged checkpoint had let out are computed once more and not appended twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tables_the_one_before_will_do() {
    for what in [Damaged::Manifest, Damaged::Part] {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let engine = open(data, copying()).await;
        let mut all = Vec::new();
        for round in 1..4 {
            append(&engine, &sales(round, 30)).await;
            all.extend(sales(round, 30));
            within(engine.dataflow("rows").checkpoint()).await.unwrap();
        }
        crash(engine).await;
        damage(data, what);
        let engine = open(data, copying()).await;
        let begun = engine.dataflow("rows").checkpoints().unwrap().completed;
        assert_eq!(begun.map(|epoch| epoch.0), Some(2), "{what:?}");
        append(&engine, &sales(4, 30)).await;
        all.extend(sales(4, 30));
        // The last one has all that was read.
        close(engine).await;
        let engine = open(data, copying()).await;
        for product in ["p0", "p1", "p3", "p17"] {
            let of_product = all.iter().filter(|sale| sale.product == product);
            let expected: Vec<u64> = of_product
                .scan(0, |sum, sale| {
                    *sum += sale.cents;
                    Some(*sum)
                })
                .collect();
            assert_eq!(sums(&engine, product), expected, "{what:?} {product}");
        }
        close(engine).await;
    }
}
