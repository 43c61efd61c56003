//! The bank from its files to its checks: a small history that is always there, and the real one where it is.
//!
//! The real data may not be shipped. They are looked for in `$MILLSTREAM_BERKA`, else in `shared/data/berka`
//! beside the workspace; where they are not, the test says so and passes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod days;
#[path = "../../../engine/tests/support/skipped.rs"]
mod skipped;

use std::path::{Path, PathBuf};
use std::process::Command;

use millstream::catalog::bank::berka::{BerkaReport, ORDER_COLUMNS, TRANS_COLUMNS};
use millstream::catalog::bank::books::{CONTROL_KEY, Control, LEDGER_ACCOUNTS};
use millstream::catalog::bank::run::{BankRunError, import, read_history, run};
use millstream::catalog::bank::{
    self, Account, AccountCommand, BALANCES, Balances, BankReport, Books, Cents, Channel, Replayed,
};
use millstream::{Engine, EngineConfig, Topology};
use millstream_engine::codec;
use millstream_engine::event::PartitionId;
use millstream_engine::log::LogReader;
use millstream_engine::state::{StateBatch, StateOptions, StateStore, StateWrite};
use millstream_operators::projection::{FailurePolicy, ProjectionConfig};

use self::skipped::skipped;

/// Transactions with a rounding, an overdraft, interest, a fee and a rounded fee; of three accounts, two
/// days, and not in the order in which they happened.
const TRANS: &str = r#"12;7;930102;"VYDAJ";"VYBER KARTOU";150.00;-50.00;" ";;
1;42;930101;"PRIJEM";"VKLAD";700.00;700.00;"";;
11;7;930102;"PRIJEM";"VKLAD";100.00;100.00;"";;
13;7;930102;"VYDAJ";"VYBER";10.00;-60.10;"SANKC. UROK";;
2;42;930102;"PRIJEM";"";1.44;801.40;"UROK";;
3;42;930102;"PRIJEM";"PREVOD Z UCTU";100.00;800.00;"DUCHOD";"AB";123
4;42;930103;"VYDAJ";"PREVOD NA UCET";300.40;501.00;"SIPO";"CD";456
5;42;930103;"VYDAJ";"VYBER";14.60;486.40;"SLUZBY";;
21;9;930103;"PRIJEM";"VKLAD";0.10;0.10;"";;
"#;

const ORDER: &str = "0,42,1,930101,2,0\n1,42,3,930102,6,0\n2,42,2,930102,5,-4\n3,42,4,930103,7,0\n\
    4,42,5,930103,8,0\n0,7,11,930102,3,0\n1,7,12,930102,1,0\n2,7,13,930102,4,-10\n0,9,21,930103,9,0\n";

fn write_history(folder: &Path) -> (PathBuf, PathBuf) {
    let (trans, order) = (folder.join("trans.asc"), folder.join("order.csv"));
    let columns: Vec<_> = TRANS_COLUMNS
        .iter()
        .map(|name| format!("\"{name}\""))
        .collect();
    let rows = TRANS.replace('\n', "\r\n");
    std::fs::write(&trans, format!("{}\r\n{rows}", columns.join(";"))).unwrap();
    std::fs::write(&order, format!("{}\n{ORDER}", ORDER_COLUMNS.join(","))).unwrap();
    (trans, order)
}

fn assert_good(report: &BankReport) {
    let failed: Vec<_> = report.checks.iter().filter(|check| !check.holds).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(report.is_good());
    assert_eq!(report.checks.len(), 8);
}

fn events(engine: &Engine) -> u64 {
    let partitions = (0..engine.partitions()).map(PartitionId);
    partitions
        .map(|p| engine.log().head(p).unwrap().next.0)
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_history_passes_every_check_and_a_repeat_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (trans, order) = write_history(folder.path());
    let data = folder.path().join("data");
    let first = run(&data, Some(3), &trans, &order).await.unwrap();
    assert_good(&first);
    // Nine transactions, three openings, two roundings.
    assert_eq!((first.commands, first.repeats), (14, 0));
    assert_eq!(
        first.replayed,
        Replayed {
            events: 14,
            transactions: 9,
            exact: 7,
            rounding_sum: Cents::new(-14),
            rounding_max: Cents::new(10),
        }
    );
    let again = run(&data, None, &trans, &order).await.unwrap();
    assert_good(&again);
    assert_eq!((again.commands, again.repeats), (14, 14));
    assert_eq!(again.replayed, first.replayed);
}

/// Goal: a repeat is harmless also after the engine forgot the ids of commands; what is missing is added.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_goes_on_behind_what_is_there_without_remembered_ids() {
    let folder = tempfile::tempdir().unwrap();
    let (trans, order) = write_history(folder.path());
    let history = read_history(&trans, &order).unwrap();
    let mut config = EngineConfig::default();
    config.partition.dedup.events_max = 0;
    let open = || {
        Engine::open(folder.path().join("data"))
            .config(config.clone())
            .run(bank::topology().unwrap())
    };
    let engine = open().await.unwrap();
    // As if an earlier run had been interrupted behind its first command.
    let overdraft_limit = Cents::ZERO;
    let opening = AccountCommand::Open { overdraft_limit };
    engine.send::<Account>("42", opening).await.unwrap();
    let first = import(&engine, &history).await.unwrap();
    assert_good(&first);
    assert_eq!((first.repeats, events(&engine)), (1, 14));
    engine.shutdown().await.unwrap();
    drop(engine);

    let engine = open().await.unwrap();
    let again = import(&engine, &history).await.unwrap();
    assert_good(&again);
    assert_eq!((again.repeats, events(&engine)), (14, 14));
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_did_not_happen_at_the_bank_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (trans, order) = write_history(folder.path());
    let history = read_history(&trans, &order).unwrap();
    let engine = Engine::open(folder.path().join("data"))
        .run(bank::topology().unwrap())
        .await
        .unwrap();
    assert_good(&import(&engine, &history).await.unwrap());
    let deposit = AccountCommand::Deposit {
        amount: Cents::new(5),
        channel: Channel::Cash,
        reference: 99,
    };
    engine.send::<Account>("9", deposit).await.unwrap();
    let report = import(&engine, &history).await.unwrap();
    assert!(!report.is_good());
    let failed: Vec<_> = report
        .checks
        .iter()
        .filter(|check| !check.holds)
        .map(|check| (check.name, check.detail.as_str()))
        .collect();
    assert_eq!(
        failed,
        [
            (
                "the recorded balance after every transaction",
                "account 9, 1 events after its last recorded transaction"
            ),
            (
                "the table of balances at the end",
                "account 9: 0.15 in the table, 0.10 recorded"
            ),
        ]
    );
    assert!(report.to_string().contains("FAILED the table of balances"));
    assert_eq!(report.to_json()["ok"], false);
    engine.shutdown().await.unwrap();
}

/// Goal: books that do not add up are noticed at the next event, which is parked whole; the rest goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_would_leave_the_books_out_of_balance_is_parked() {
    let folder = tempfile::tempdir().unwrap();
    let (trans, order) = write_history(folder.path());
    let data = folder.path().join("data");
    assert_good(&run(&data, Some(1), &trans, &order).await.unwrap());

    // Somebody changes the stored control row: five hundredths from nowhere.
    let (store, mut writer) =
        StateStore::open(&data.join("state"), StateOptions::default()).unwrap();
    let table = store
        .table_id("ledger", 1, "ledger-control")
        .unwrap()
        .unwrap();
    let key = CONTROL_KEY.as_bytes().to_vec();
    let stored = store.get(table, &key).unwrap().unwrap();
    let mut control: Control = codec::from_slice(&stored).unwrap();
    control.accounts += 5;
    let value = codec::to_vec(&control).unwrap();
    let put = StateWrite::PutRow { table, key, value };
    writer.step(vec![StateBatch::new(vec![put])]).unwrap();
    drop((store, writer));

    let once = ProjectionConfig {
        failures: FailurePolicy {
            attempts_max: 1,
            ..FailurePolicy::default()
        },
        ..ProjectionConfig::default()
    };
    let topology = Topology::named("bank")
        .aggregate::<Account>()
        .projection(Balances)
        .projection_with(Books, once)
        .build()
        .unwrap();
    let engine = Engine::open(&data).run(topology).await.unwrap();
    let deposit = |reference| AccountCommand::Deposit {
        amount: Cents::new(100),
        channel: Channel::Cash,
        reference,
    };
    let before = engine.query(&LEDGER_ACCOUNTS).get("42").await.unwrap();
    let ack = engine.send::<Account>("42", deposit(98)).await.unwrap();
    let after = engine.query(&LEDGER_ACCOUNTS).at_least(&ack.token());
    assert_eq!(after.get("42").await.unwrap(), before);
    let balances = engine.query(&BALANCES).at_least(&ack.token());
    assert_eq!(balances.get("42").await.unwrap(), Some(Cents::new(48_740)));
    engine.shutdown().await.unwrap();
    let letters = engine.state().dead_letters(None, None, 10).unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(
        letters[0].cause,
        ["after event 7 of account 42 the books would add up to 5 hundredths, not to zero"]
    );
}

#[tokio::test]
async fn files_that_are_not_there_are_named_and_no_folder_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let (trans, order) = write_history(folder.path());
    let (data, nothing) = (folder.path().join("data"), folder.path().join("nothing"));
    for (trans, order, what) in [
        (&nothing, &order, "transactions"),
        (&trans, &nothing, "order"),
    ] {
        let error = run(&data, None, trans, order).await.unwrap_err();
        assert!(matches!(error, BankRunError::NoData { .. }));
        let text = error.to_string();
        assert!(text.contains("nothing") && text.contains(what), "{text}");
    }
    std::fs::write(&trans, TRANS.replace("930103", "931303")).unwrap();
    let error = run(&data, None, &trans, &order).await.unwrap_err();
    assert!(error.to_string().contains("another header"), "{error}");
    assert!(!data.exists());
}

/// Where the real data are; `None`, and said, when they are not.
fn real_data() -> Option<(PathBuf, PathBuf)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let folders = match std::env::var_os("MILLSTREAM_BERKA") {
        Some(folder) => vec![PathBuf::from(folder)],
        // A second working tree lies one folder deeper.
        None => vec![
            root.join("../shared/data/berka"),
            root.join("../../shared/data/berka"),
        ],
    };
    for folder in &folders {
        let trans = folder.join("trans_prefix.asc.zst");
        let order = folder.join("order_found.csv.zst");
        if trans.is_file() && order.is_file() {
            return Some((trans, order));
        }
    }
    skipped(format_args!(
        "no trans_prefix.asc.zst and order_found.csv.zst in {}; the bank's history may not be shipped, \
         MILLSTREAM_BERKA names a folder that has it",
        folders[0].display()
    ));
    None
}

/// Story: a test that had nothing to look at passed, and said so where nobody saw it.
#[test]
fn without_the_real_history_it_is_said_that_nothing_was_looked_at() {
    let nothing = tempfile::tempdir().unwrap();
    let mut without = Command::new(std::env::current_exe().unwrap());
    without.args(["--exact", "the_real_history_has_every_recorded_balance"]);
    let output = without.env("MILLSTREAM_BERKA", nothing.path()).output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let said: Vec<_> = said.lines().map(str::trim).collect();
    assert!(
        said.iter()
            .any(|line| line.starts_with("skipped: no trans_prefix")),
        "{said:?}"
    );
}

/// Goal: after each of the bank's 46,997 transactions its account has the balance that the bank recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_real_history_has_every_recorded_balance() {
    let Some((trans, order)) = real_data() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let first = run(folder.path(), Some(4), &trans, &order).await.unwrap();
    println!("{first}");
    assert_good(&first);
    let expected = BerkaReport {
        transactions: 46_997,
        accounts: 1_229,
        overdrafts: 26,
        exact: 44_966,
        rounded: 2_031,
        rounding_sum: Cents::new(-4_270),
        rounding_max: Cents::new(10),
    };
    assert_eq!(first.recorded, expected);
    // Transactions, openings, roundings.
    let events = 46_997 + 1_229 + 2_031;
    assert_eq!((first.commands, first.repeats), (events, 0));
    assert_eq!(
        first.replayed,
        Replayed {
            events,
            transactions: 46_997,
            exact: 44_966,
            rounding_sum: expected.rounding_sum,
            rounding_max: expected.rounding_max,
        }
    );
    let again = run(folder.path(), None, &trans, &order).await.unwrap();
    assert_good(&again);
    assert_eq!((again.repeats, again.replayed), (events, first.replayed));
}
