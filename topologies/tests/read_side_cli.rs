//! `projection changes` and `history`, and `effects`: what is stored for the read side, printed without the program it is of.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/cli.rs"]
mod cli;

use std::convert::Infallible;
use std::path::Path;

use millstream::catalog::bank::{Account, AccountCommand, AccountEvent, Cents, Channel};
use millstream::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use cli::{outcome as run, printed as fine};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Kept {
    cents: i64,
    events: u64,
}

const KEPT: Table<String, Kept> = Table::named("kept").versioned(Retention::FOREVER);
const FEW: Table<(String, u32), i64> = Table::named("few").versioned(Retention::last(2));
const PLAIN: Table<String, i64> = Table::named("plain");
const LETTERS: Outbox<Kept> = Outbox::named("letters");

/// Keeps what each account had; an account with nothing has no row. Sends what it has beyond ten.
struct Keeps;

impl Projection for Keeps {
    const NAME: &'static str = "keeps";
    const VERSION: u32 = 3;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = "account";
    type Event = AccountEvent;
    type Tables = (
        Table<String, Kept>,
        Table<(String, u32), i64>,
        Table<String, i64>,
        Outbox<Kept>,
    );
    type Error = Infallible;

    fn tables(&self) -> Self::Tables {
        (KEPT, FEW, PLAIN, LETTERS)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, AccountEvent>,
        (kept, few, _, letters): &mut (
            TableMut<String, Kept>,
            TableMut<(String, u32), i64>,
            TableMut<String, i64>,
            OutboxMut<Kept>,
        ),
    ) -> Result<(), Infallible> {
        let (id, by) = (event.id.to_owned(), event.payload.change().hundredths());
        let mut row = kept.get(&id).cloned().unwrap_or_default();
        row.cents += by;
        row.events += 1;
        few.put(&(id.clone(), 7), row.cents);
        if row.cents > 10 {
            letters.send(row.clone());
        }
        if row.cents == 0 {
            kept.remove(&id);
        } else {
            kept.put(&id, row);
        }
        Ok(())
    }
}

async fn open(data: &Path) -> Engine {
    let once = DeliveryConfig {
        attempts_max: Some(1),
        ..DeliveryConfig::default()
    };
    let topology = Topology::named("bank")
        .aggregate::<Account>()
        .projection(Keeps)
        .deliver_with(&LETTERS, once, |_: Effect<Kept>| async {
            Err::<(), _>("no\u{1b}[31m stamp")
        })
        .build()
        .unwrap();
    Engine::open(data)
        .partitions(2)
        .run(topology)
        .await
        .unwrap()
}

/// A folder at rest in which account 1 was opened, given 5, emptied, and given 20, and account 2 opened.
async fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    let (channel, reference) = (Channel::Cash, 1);
    let deposit = |cents| AccountCommand::Deposit {
        amount: Cents::new(cents),
        channel,
        reference,
    };
    let overdraft_limit = Cents::ZERO;
    let open = AccountCommand::Open { overdraft_limit };
    let empty = AccountCommand::Withdraw {
        amount: Cents::new(5),
        channel,
        reference,
    };
    for command in [open.clone(), deposit(5), empty, deposit(20)] {
        engine.send::<Account>("1", command).await.unwrap();
    }
    engine.send::<Account>("2", open).await.unwrap();
    let letters = engine.outbox(&LETTERS).unwrap();
    let given_up = async {
        let mut looks = tokio::time::interval(std::time::Duration::from_millis(1));
        while letters.list(None, 1).unwrap().is_empty() {
            looks.tick().await;
        }
    };
    let bound = std::time::Duration::from_secs(300);
    tokio::time::timeout(bound, given_up).await.unwrap();
    drop(letters);
    engine.shutdown().await.unwrap();
    folder
}

fn lines(words: &[&str], data: &Path) -> Vec<Value> {
    let words = [words, &["--json"]].concat();
    let out = fine(&words, data);
    let lines = out.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn changes_are_printed_and_gone_on_from() {
    let folder = folder().await;
    let data = folder.path();
    let words = ["projection", "changes", "DATA", "keeps", "kept"];
    let all = lines(&words, data);
    let of_one: Vec<_> = all.iter().filter(|change| change["key"] == "1").collect();
    let rows: Vec<_> = of_one
        .iter()
        .map(|change| [&change["before"], &change["row"]])
        .collect();
    let row = |cents: i64, events: u64| json!({ "cents": cents, "events": events });
    // What leaves no row and finds none is no change.
    let expected = [
        [Value::Null, row(5, 1)],
        [row(5, 1), Value::Null],
        [Value::Null, row(20, 1)],
    ];
    assert_eq!(rows, expected.each_ref().map(|[a, b]| [a, b]), "{all:?}");
    assert!(of_one.windows(2).all(|two| {
        two[0]["offset"].as_u64() < two[1]["offset"].as_u64() && two[0]["late"] == false
    }));
    // Page by page, each change once.
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let mut words = words.to_vec();
        words.extend(["--limit", "1"]);
        let cursor: Option<String> = after.take();
        if let Some(cursor) = &cursor {
            words.extend(["--after", cursor]);
        }
        let page = lines(&words, data);
        let Some(last) = page.last() else { break };
        after = last["cursor"].as_str().map(str::to_owned);
        paged.extend(page);
    }
    assert_eq!(paged, all);
    let text = fine(&words, data);
    assert!(
        text.contains(r#" 1: no row -> {"cents":5,"events":1}"#),
        "{text}"
    );
    let last = all.last().unwrap()["cursor"].as_str().unwrap();
    assert!(text.ends_with(&format!("go on with --after {last}\n")));
    let rest = fine(&[&words[..], &["--after", last]].concat(), data);
    assert!(rest.starts_with("no changes\n"), "{rest}");
}

#[tokio::test]
async fn the_history_of_a_row_is_printed() {
    let folder = folder().await;
    let data = folder.path();
    let words = ["projection", "history", "DATA", "keeps", "kept", "1"];
    let versions = lines(&words, data);
    let rows: Vec<_> = versions
        .iter()
        .map(|version| &version["row"]["cents"])
        .collect();
    assert_eq!(rows, [&json!(5), &Value::Null, &json!(20)]);
    assert_eq!(versions[0]["change_kept"], true);
    let text = fine(&words, data);
    assert!(text.contains(" no row\n"), "{text}");
    // Of a table that keeps little, with a key of two parts; how much of it is gone is up to when it was stored.
    let few = ["projection", "history", "DATA", "keeps", "few"];
    let words = [&few[..], &["--key", "text,u32", "1", "7"]].concat();
    let versions = lines(&words, data);
    assert_eq!(versions[0]["key"], json!(["1", 7]));
    let rows: Vec<_> = versions
        .iter()
        .map(|version| version["row"].clone())
        .collect();
    let all = [0, 5, 0, 20].map(|row| json!(row));
    assert!(rows.len() > 1 && all.ends_with(&rows), "{rows:?}");
    // The same key as it is printed where nobody says what it is made of.
    let hex = [&few[..], &["0x31000000000007"]].concat();
    assert_eq!(lines(&hex, data).len(), versions.len());
}

#[tokio::test]
async fn what_cannot_be_printed_says_what_to_do() {
    let folder = folder().await;
    let data = folder.path();
    let of_few = lines(&["projection", "changes", "DATA", "keeps", "few"], data);
    let foreign = of_few[0]["cursor"].as_str().unwrap();
    let mut other = lines(&["projection", "changes", "DATA", "keeps", "kept"], data)
        .pop()
        .map(|change| change["cursor"].as_str().unwrap().to_owned())
        .unwrap();
    // Another hash.
    let end = other.pop().unwrap();
    other.push(if end == '0' { '1' } else { '0' });
    for (words, why) in [
        (
            &["changes", "DATA", "sums", "kept"][..],
            "`millstream projection list`",
        ),
        (
            &["changes", "DATA", "keeps", "sums"],
            r#"no table "sums", but ["kept", "few", "plain"]"#,
        ),
        (&["changes", "DATA", "keeps", "kept##changes"], "no table"),
        (
            &["changes", "DATA", "keeps", "kept", "--version", "9"],
            "no version 9 here, but [3]",
        ),
        (
            &["changes", "DATA", "keeps", "plain"],
            "say .versioned(…) in its program",
        ),
        (
            &["changes", "DATA", "keeps", "kept", "--after", foreign],
            "of another table",
        ),
        (
            &["changes", "DATA", "keeps", "kept", "--after", &other],
            "did not have the changes that lie before the cursor",
        ),
        (
            &["history", "DATA", "keeps", "kept", "9"],
            "say what they are with --key",
        ),
        (
            &["history", "DATA", "keeps", "kept", "0x31ff"],
            "say --key text where that is a text",
        ),
        (
            &["history", "DATA", "keeps", "few", "1", "7"],
            "such as --key text,u64",
        ),
    ] {
        let (status, _, error) = run(&[&["projection"], words].concat(), data);
        assert_eq!(status, 1, "{words:?}");
        assert!(error.contains(why), "{words:?}: {error}");
    }
    let words = [
        "projection",
        "changes",
        "DATA",
        "keeps",
        "kept",
        "--after",
        "x",
    ];
    let (status, _, error) = run(&words, data);
    assert_eq!(status, 2);
    assert!(error.contains("give back what the feed gave"), "{error}");
}

/// Goal: a cursor behind which changes are gone is told, with the place where what is kept begins.
#[tokio::test]
async fn a_place_behind_which_changes_are_gone_is_told() {
    let folder = folder().await;
    let data = folder.path();
    let words = ["projection", "changes", "DATA", "keeps", "few"];
    let last = lines(&words, data).pop().unwrap();
    let place = last["cursor"].as_str().unwrap().to_owned();
    let engine = open(data).await;
    // One by one: what is too old goes with a later store.
    for reference in 2..12 {
        let deposit = AccountCommand::Deposit {
            amount: Cents::new(1),
            channel: Channel::Cash,
            reference,
        };
        let ack = engine.send::<Account>("1", deposit).await.unwrap();
        let reader = engine
            .query(&FEW)
            .at_least(&ack.token())
            .ready()
            .await
            .unwrap();
        let mut changes = engine.changes(&FEW, ChangesFrom::Oldest).unwrap();
        let cents = reader.get(&("1".to_owned(), 7)).unwrap();
        // A feed has it stored.
        while changes.next().await.unwrap().unwrap().row != cents {}
    }
    let beside = lines(&words, data);
    engine.shutdown().await.unwrap();
    drop(engine);
    assert_eq!(beside, lines(&words, data));
    let after = [&words[..], &["--after", &place]].concat();
    let (status, _, error) = run(&after, data);
    assert_eq!(status, 1);
    let told = error.split_once("are those behind ").unwrap();
    let oldest = told.1.trim();
    let kept = lines(&[&words[..], &["--after", oldest]].concat(), data);
    assert!(!kept.is_empty());
    assert_eq!(kept, lines(&words, data));
}

#[tokio::test]
async fn effects_that_were_given_up_are_listed_and_shown() {
    let folder = folder().await;
    let data = folder.path();
    let listed = lines(&["effects", "list", "DATA"], data);
    let [effect] = &listed[..] else {
        panic!("{listed:?}")
    };
    assert_eq!(
        (&effect["projection"], &effect["outbox"], &effect["stream"]),
        (&json!("keeps"), &json!("letters"), &json!("1"))
    );
    assert_eq!(effect["payload"], json!({ "cents": 20, "events": 1 }));
    assert_eq!(
        (&effect["attempts"], &effect["status"]),
        (&json!(1), &json!("given_up"))
    );
    let id = effect["id"].as_str().unwrap();
    let text = fine(&["effects", "list", "DATA", "--outbox", "letters"], data);
    assert!(
        text.contains(id) && text.contains("no [31m stamp"),
        "{text}"
    );
    let text = fine(&["effects", "show", "DATA", id], data);
    for part in [
        "status      given up at ",
        "after 1 attempts",
        "cause       no [31m stamp",
        r#"payload     {"cents":20,"events":1}"#,
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(lines(&["effects", "show", "DATA", id], data), listed);
    // The outside is given the same id. Beside an engine the same is printed.
    let engine = open(data).await;
    assert_eq!(lines(&["effects", "list", "DATA"], data), listed);
    let letters = engine.outbox(&LETTERS).unwrap();
    let (_, own) = letters.list(None, 1).unwrap().remove(0);
    assert_eq!(own.unwrap().effect.id.to_string(), id);
    drop(letters);
    engine.shutdown().await.unwrap();
    drop(engine);
    for (words, said) in [
        (
            &["list", "DATA", "--outbox", "mails"][..],
            "no effect was given up\n",
        ),
        (&["list", "DATA", "--waiting"], "no effect waits\n"),
    ] {
        assert_eq!(fine(&[&["effects"], words].concat(), data), said);
    }
    let list = ["effects", "list", "DATA", "--projection", "summs"];
    let (status, _, error) = run(&list, data);
    assert_eq!(status, 1);
    assert!(
        error.contains("no projection summs has outboxes"),
        "{error}"
    );
    let other = "9034461c-98a5-8f82-86a2-0575001d660e";
    let (status, _, error) = run(&["effects", "show", "DATA", other], data);
    assert_eq!(status, 1);
    assert!(
        error.contains("it was delivered, or thrown away"),
        "{error}"
    );
}
