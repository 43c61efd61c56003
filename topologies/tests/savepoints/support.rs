//! An engine whose log has sales in it, a table of what they add up to, and the program that looks into its folder.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use millstream::dataflow::FlowOptions;
use millstream::prelude::*;
use millstream_engine::checkpoint::CheckpointOptions;
use millstream_operators::keyed::Ttl;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::millstream_on;
pub(crate) use crate::cli::printed as out;
use crate::small_files::small_files;
pub(crate) use crate::within::{close, within};

/// An event that no aggregate writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sale {
    pub(crate) product: String,
    pub(crate) cents: u64,
}

impl Event for Sale {}

pub(crate) const ROWS: Table<String, u64> = Table::named("rows");

/// Sums by product that are in the table; the others were removed.
pub(crate) fn is_shown(sum: u64) -> bool {
    !sum.is_multiple_of(3)
}

/// No checkpoint but those that are asked for.
pub(crate) fn options() -> FlowOptions {
    FlowOptions {
        partitions: 2,
        checkpoints: Some(CheckpointOptions {
            interval_ms: 3_600_000,
            pause_ms_min: 1,
            ..CheckpointOptions::default()
        }),
        ..FlowOptions::default()
    }
}

/// Sums by product, in rows whose keys begin with `version`.
pub(crate) fn topology(version: &'static str, options: FlowOptions) -> Topology {
    let topology = Topology::named("shop").dataflow_with("rows", options, move |flow| {
        flow.events::<Sale>()
            .category("sale")
            .stream()
            .key_by(|sale: &Sale| sale.product.clone())
            .fold(Ttl::Never, 0_u64, |sum: &mut u64, sale: &Sale| {
                *sum += sale.cents;
            })
            .to_table(&ROWS, move |(product, sum): (String, u64)| {
                (format!("{version}:{product}"), is_shown(sum).then_some(sum))
            });
    });
    topology.build().unwrap()
}

/// What the table holds and the sums that it is made from.
#[derive(Clone, Default)]
pub(crate) struct Model {
    sums: BTreeMap<String, u64>,
    pub(crate) rows: BTreeMap<String, u64>,
}

impl Model {
    pub(crate) fn add(&mut self, version: &str, sales: &[Sale]) {
        for Sale { product, cents } in sales {
            let sum = self.sums.entry(product.clone()).or_default();
            *sum += cents;
            let key = format!("{version}:{product}");
            if is_shown(*sum) {
                self.rows.insert(key, *sum);
            } else {
                self.rows.remove(&key);
            }
        }
    }
}

/// So many sales of some products; no two rounds are alike.
pub(crate) fn sales(round: u64, count: u64) -> Vec<Sale> {
    let sale = |number: u64| Sale {
        product: format!("p{}", (number * number + round) % (7 + 4 * round)),
        cents: number * 5 + round,
    };
    (0..count).map(sale).collect()
}

pub(crate) async fn open(folder: &Path, topology: Topology) -> Engine {
    let builder = Engine::open(folder).config(small_files(3));
    let opened = builder.run(topology).await;
    opened.unwrap_or_else(|error| panic!("the engine did not open: {error}"))
}

/// Ends it as a crash does, as far as its dataflow is concerned.
pub(crate) async fn crash(engine: Engine) {
    let aborted = within(engine.dataflow("rows").abort("a test says so")).await;
    aborted.unwrap_err();
    // A shutdown tells that it failed.
    let _ = within(engine.shutdown()).await;
}

/// Appends to one stream of each product: the sums of a product have an order.
pub(crate) async fn append(engine: &Engine, sales: &[Sale]) {
    for sale in sales {
        let stream: StreamId = format!("sale-{}", sale.product).parse().unwrap();
        let event = NewEvent::typed(sale.clone());
        let appender = engine.appender();
        let appended = appender.append(stream, Expected::Any, vec![event]);
        within(appended).await.unwrap();
    }
}

/// Waits until the table holds exactly this.
pub(crate) async fn until_rows(engine: &Engine, model: &Model) {
    let expected: Vec<_> = model.rows.clone().into_iter().collect();
    let mut found = Vec::new();
    let bound = Duration::from_secs(300);
    let same = async {
        loop {
            found = engine.query(&ROWS).rows().await.unwrap();
            if found == expected {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    let same = tokio::time::timeout(bound, same).await;
    assert!(same.is_ok(), "{found:?}\ninstead of\n{expected:?}");
}

/// The program, with `DATA` for the folder.
pub(crate) fn program(words: &[&str], data: &Path) -> Output {
    millstream_on(words, data).output().unwrap()
}

/// What it says is wrong.
pub(crate) fn error(words: &[&str], data: &Path) -> String {
    let output = program(words, data);
    assert_eq!(output.status.code(), Some(1), "{words:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// The checkpoints, as `list --json` has them.
pub(crate) fn listed(data: &Path) -> Vec<Value> {
    let lines = out(&["checkpoint", "list", "DATA", "--json"], data);
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

/// Their numbers, with whether each is a savepoint and whether the next start begins from it.
pub(crate) fn numbers(data: &Path) -> Vec<(u64, bool, bool)> {
    let line = |line: &Value| {
        let is = |what: &str| line[what] == Value::Bool(true);
        (
            line["epoch"].as_u64().unwrap(),
            is("savepoint"),
            is("next_start"),
        )
    };
    listed(data).iter().map(line).collect()
}

/// Waits until they are these: what is no longer kept is deleted a moment later.
pub(crate) async fn until_numbers(data: &Path, expected: &[(u64, bool, bool)]) {
    let mut found = Vec::new();
    let same = async {
        while found != expected {
            let data = data.to_owned();
            let look = tokio::task::spawn_blocking(move || numbers(&data));
            found = look.await.unwrap();
        }
    };
    let same = tokio::time::timeout(Duration::from_secs(300), same).await;
    assert!(same.is_ok(), "{found:?} instead of {expected:?}");
}
