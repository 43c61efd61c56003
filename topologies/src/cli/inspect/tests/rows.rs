//! `projection verify`: stored rows beside a replay.

use millstream_engine::codec::to_vec;
use millstream_engine::state::{StateBatch, StateOptions, StateStore, StateWrite};

use super::*;
use crate::catalog::bank::{self, Account, AccountCommand, Cents, Channel};

async fn bank(folder: &Path) {
    let engine = Engine::open(folder)
        .run(bank::topology().unwrap())
        .await
        .unwrap();
    for id in ["1", "2", "3"] {
        let overdraft_limit = Cents::ZERO;
        let open = AccountCommand::Open { overdraft_limit };
        engine.send::<Account>(id, open).await.unwrap();
        let deposit = AccountCommand::Deposit {
            amount: Cents::new(700),
            channel: Channel::Cash,
            reference: 1,
        };
        engine.send::<Account>(id, deposit).await.unwrap();
    }
    engine.shutdown().await.unwrap();
}

/// Changes what is stored behind everybody's back.
fn spoil(folder: &Path, writes: impl FnOnce(&StateStore) -> Vec<StateWrite>) {
    let (store, mut writer) =
        StateStore::open(&folder.join("state"), StateOptions::default()).unwrap();
    let writes = writes(&store);
    writer.step(vec![StateBatch::new(writes)]).unwrap();
}

#[tokio::test]
async fn rows_that_no_replay_makes_are_told() {
    let folder = tempfile::tempdir().unwrap();
    bank(folder.path()).await;
    let words = ["--json", "projection", "verify", "DATA"];
    let whole = json(&output(&words, folder.path()).unwrap());
    assert!(whole.len() >= 2, "{whole:?}");
    for projection in &whole {
        assert_eq!(projection["ok"], true, "{projection}");
        assert!(projection["events"].as_u64().unwrap() >= 6);
        for table in projection["tables"].as_array().unwrap() {
            assert!(table["rows"].as_u64().unwrap() > 0, "{table}");
            assert_eq!(table["checksum"], table["replayed_checksum"]);
        }
    }
    let text = output(
        &["projection", "verify", "DATA", "--projection", "balances"],
        folder.path(),
    );
    assert!(
        text.unwrap()
            .contains("balances version 1: 6 events replayed, 0 not applied")
    );

    spoil(folder.path(), |store| {
        let table = store.table_id("balances", 1, "balances").unwrap().unwrap();
        let put = |key: &str, cents: i64| StateWrite::PutRow {
            table,
            key: key.into(),
            value: to_vec(&Cents::new(cents)).unwrap(),
        };
        let gone = StateWrite::DeleteRow {
            table,
            key: "1".into(),
        };
        vec![gone, put("2", 701), put("9", 5)]
    });
    let words = [
        "projection",
        "verify",
        "DATA",
        "--projection",
        "balances",
        "--json",
    ];
    let (found, error) = failing(&words, folder.path());
    assert!(error.contains("1 of 1 projections"), "{error}");
    let table = &json(&found)[0]["tables"][0];
    assert_eq!(
        (&table["missing"], &table["extra"], &table["different"]),
        (&1.into(), &1.into(), &1.into())
    );
    assert_ne!(table["checksum"], table["replayed_checksum"]);
    let keys = table["samples"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sample| sample["key"].as_str().unwrap());
    assert_eq!(keys.collect::<Vec<_>>(), ["1", "2", "9"]);
    let (text, _) = failing(&words[..5], folder.path());
    assert!(text.contains("balances 1: no row instead of"), "{text}");

    let (_, error) = failing(
        &["projection", "verify", "DATA", "--projection", "none"],
        folder.path(),
    );
    assert!(error.contains("no projection"), "{error}");
}
