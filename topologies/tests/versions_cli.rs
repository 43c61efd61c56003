//! `projection progress`, `compare`, `switch`, `switch-back`, `drop` and `list`, beside a running engine and at rest.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/cli.rs"]
mod cli;

use std::convert::Infallible;
use std::path::Path;

use millstream::catalog::bank::{Account, AccountCommand, AccountEvent, Balances, Cents, Channel};
use millstream::prelude::*;
use serde_json::Value;

use cli::outcome;

/// Balances once more, with one cent too many for account 7 where `OFF`.
struct Again<const N: u32, const OFF: bool>;

const AGAIN: Table<String, i64> = Table::named("balances");

impl<const N: u32, const OFF: bool> Projection for Again<N, OFF> {
    const NAME: &'static str = Balances::NAME;
    const VERSION: u32 = N;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = "account";
    type Event = AccountEvent;
    type Tables = (Table<String, i64>,);
    type Error = Infallible;

    fn tables(&self) -> Self::Tables {
        (AGAIN,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, AccountEvent>,
        (balances,): &mut (TableMut<String, i64>,),
    ) -> Result<(), Infallible> {
        let off = i64::from(OFF && event.id == "7" && event.version == 0);
        let change = event.payload.change().hundredths() + off;
        balances.update(&event.id.to_owned(), |sum| *sum += change);
        Ok(())
    }
}

const FIRST: u32 = 1;
const SECOND: u32 = 2;

fn both() -> Topology {
    let bank = Topology::named("bank").aggregate::<Account>();
    let bank = bank.projection(Again::<FIRST, false>);
    bank.candidate(Again::<SECOND, true>).build().unwrap()
}

async fn open(data: &Path, topology: Topology) -> Engine {
    let engine = Engine::open(data).partitions(2).run(topology).await;
    engine.unwrap()
}

async fn deposit(engine: &Engine, id: u64) {
    let id = id.to_string();
    let overdraft_limit = Cents::ZERO;
    let opened = engine.send::<Account>(&id, AccountCommand::Open { overdraft_limit });
    opened.await.unwrap();
    let amount = Cents::new(100);
    let deposit = AccountCommand::Deposit {
        amount,
        channel: Channel::Cash,
        reference: 1,
    };
    engine.send::<Account>(&id, deposit).await.unwrap();
}

/// Status, output and error.
fn run(words: &[&str], data: &Path) -> (i32, String, String) {
    outcome(&[&["projection"], words].concat(), data)
}

/// Beside the engine of this process.
async fn beside(words: &'static [&'static str], data: &Path) -> (i32, String, String) {
    let data = data.to_owned();
    tokio::task::spawn_blocking(move || run(words, &data))
        .await
        .unwrap()
}

fn fine(outcome: (i32, String, String)) -> String {
    assert_eq!((outcome.0, outcome.2.as_str()), (0, ""));
    outcome.1
}

fn lines(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What cannot be done says why.
async fn refused(data: &Path) {
    for (words, why) in [
        (
            &["drop", "DATA", "balances", "1"][..],
            "switch to another one",
        ),
        (
            &["drop", "DATA", "balances", "9"],
            "version 9 of balances does not run",
        ),
        (&["switch", "DATA", "sums"], "no projection \"sums\""),
        (&["switch", "DATA", "balances", "--to", "9"], "[1, 2]"),
    ] {
        let (status, _, error) = beside(words, data).await;
        assert_eq!(status, 1);
        assert!(error.contains(why), "{error}");
    }
}

/// The two versions differ in one row.
async fn compared(data: &Path) {
    let (status, found, error) = beside(&["compare", "DATA", "balances", "--json"], data).await;
    assert_eq!(status, 1);
    assert!(error.contains("other rows"), "{error}");
    let found = &lines(&found)[0];
    let table = &found["tables"][0];
    assert_eq!(
        (&table["equal"], &table["different"]),
        (&9.into(), &1.into())
    );
    let sample = &table["samples"][0];
    assert_eq!(
        (&sample["active"], &sample["candidate"]),
        (&100.into(), &101.into())
    );
    let (_, text, _) = beside(&["compare", "DATA", "balances"], data).await;
    assert!(text.contains("balances 7: 101 instead of 100"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_beside_a_running_engine() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let engine = open(data, both()).await;
    for id in 0..10 {
        deposit(&engine, id).await;
    }
    engine.ready().await.unwrap();
    engine
        .rebuild("balances")
        .unwrap()
        .caught_up()
        .await
        .unwrap();

    let progress = fine(beside(&["progress", "DATA", "balances", "--json"], data).await);
    let progress = lines(&progress);
    assert_eq!(
        (&progress[0]["version"], &progress[0]["active"]),
        (&1.into(), &true.into())
    );
    assert_eq!(
        (&progress[1]["of"], &progress[1]["left"]),
        (&20.into(), &0.into())
    );
    assert_eq!(progress[1]["seconds_left"], 0.0);
    let text = fine(beside(&["progress", "DATA"], data).await);
    assert!(text.contains("time left") && text.contains("yes"), "{text}");

    compared(data).await;

    let said = fine(beside(&["switch", "DATA", "balances"], data).await);
    assert_eq!(said, "version 2 of balances answers instead of version 1\n");
    assert_eq!(engine.query(&AGAIN).get("7").await.unwrap(), Some(101));
    let said = fine(beside(&["switch-back", "DATA", "balances", "--json"], data).await);
    assert_eq!(lines(&said)[0]["active"], 1);
    refused(data).await;
    let listed = lines(&fine(beside(&["list", "DATA", "--json"], data).await));
    assert_eq!(
        (&listed[0]["active"], &listed[1]["active"]),
        (&true.into(), &false.into())
    );
    assert_eq!(
        (&listed[0]["failures"], &listed[0]["restarts"]),
        (&0.into(), &0.into())
    );

    fine(beside(&["drop", "DATA", "balances", "2"], data).await);
    assert!(engine.version::<Again<SECOND, true>>().is_err());
    engine.shutdown().await.unwrap();
    drop(engine);
    let listed = lines(&fine(run(&["list", "DATA", "--json"], data)));
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0]["behind"], &listed[0]["behind_seconds"]),
        (&0.into(), &0.0.into())
    );
    assert_eq!(listed[0]["failures"], Value::Null);
    assert!(listed[0]["bytes"].as_u64() > Some(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_at_rest() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let engine = open(data, both()).await;
    deposit(&engine, 7).await;
    engine.rebuild("balances").unwrap().switch().await.unwrap();
    engine.shutdown().await.unwrap();
    drop(engine);
    let said = fine(run(&["switch-back", "DATA", "balances"], data));
    assert_eq!(said, "version 1 of balances answers instead of version 2\n");
    let said = fine(run(&["switch", "DATA", "balances", "--to", "1"], data));
    assert_eq!(said, "version 1 of balances answers already\n");

    // Only the first one goes on.
    let bank = Topology::named("bank").aggregate::<Account>();
    let one = bank.projection(Again::<FIRST, false>).build().unwrap();
    let engine = open(data, one).await;
    assert_eq!(engine.query(&AGAIN).get("7").await.unwrap(), Some(100));
    deposit(&engine, 8).await;
    engine.shutdown().await.unwrap();
    drop(engine);
    for (words, why) in [
        (
            &["switch", "DATA", "balances"][..],
            "2 events behind version 1",
        ),
        (&["drop", "DATA", "balances", "1"], "switch to another one"),
        (
            &["drop", "DATA", "sums", "1"],
            "`millstream projection list`",
        ),
        (&["progress", "DATA"], "no engine runs"),
        (&["compare", "DATA", "balances"], "no engine runs"),
    ] {
        let (status, _, error) = run(words, data);
        assert_eq!(status, 1);
        assert!(error.contains(why), "{error}");
    }
    fine(run(&["drop", "DATA", "balances", "2"], data));
    let listed = lines(&fine(run(&["list", "DATA", "--json"], data)));
    assert_eq!((listed.len(), &listed[0]["version"]), (1, &1.into()));
    let (_, _, error) = run(&["switch", "DATA", "balances"], data);
    assert!(error.contains("there is no higher one"), "{error}");
}
