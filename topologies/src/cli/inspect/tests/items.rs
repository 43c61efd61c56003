//! `dead-letters` of items that a dataflow failed on.

use std::convert::Infallible;
use std::time::Duration;

use millstream_engine::time::Timestamp;
use millstream_operators::failing::ItemPolicy;
use millstream_operators::keyed::{Context, TryKeyedProcess};

use super::letters::{until, until_left};
use super::*;

/// Key and amount.
type Amount = (String, u64);

/// Adds up, but for thirteens.
#[derive(Clone)]
struct Adding;

impl TryKeyedProcess<String, Amount> for Adding {
    type State = (u64, ());
    type Out = Amount;
    type Side = Infallible;
    type Error = Thirteen;

    fn item(
        &mut self,
        key: &String,
        (sum, ()): &mut (u64, ()),
        _time: Timestamp,
        (_, amount): &Amount,
        ctx: &mut Context<'_, Amount>,
    ) -> Result<(), Thirteen> {
        if *amount == 13 {
            return Err(Thirteen);
        }
        *sum += amount;
        ctx.emit((key.clone(), *sum));
        Ok(())
    }
}

const ADDED: Table<String, u64> = Table::named("added");

async fn open_adding(folder: &Path) -> Engine {
    let policy = ItemPolicy::dead_letter().attempts(1, Duration::ZERO);
    let topology = Topology::named("counters")
        .aggregate::<Counter>()
        .dataflow("adding", move |flow| {
            let records = flow.records::<Counted>().category("counter").stream();
            let amount = |record: millstream_engine::event::Recorded<Counted>| match record.payload
            {
                Counted::Added { amount, .. } => Some((record.stream.id().to_owned(), amount)),
                Counted::Cleared => None,
            };
            records
                .filter_map(amount)
                .key_by(|(key, _): &Amount| key.clone())
                .named("sums")
                .try_process(policy, Adding)
                .to_table(&ADDED, |(key, sum)| (key, Some(sum)));
        })
        .build()
        .unwrap();
    let engine = Engine::open(folder).partitions(1).run(topology);
    engine.await.unwrap()
}

/// Waits until the table has this sum of a key.
async fn until_sum(engine: &Engine, key: &str, sum: u64) {
    let wait = async {
        while engine.query(&ADDED).get(&key.to_owned()).await.unwrap() != Some(sum) {
            tokio::task::yield_now().await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), wait).await;
    assert!(ended.is_ok(), "{key} never had {sum}");
}

/// Goal: letters of a dataflow are listed with stage, key, cause and item, and what is asked for while no engine runs is
/// done when one starts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_of_dataflows_are_listed_and_decided_about() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open_adding(folder.path()).await;
    for (id, amount) in [("a", 1), ("b", 13), ("b", 5), ("a", 2)] {
        let note = String::new();
        let added = Counted::Added { amount, note };
        engine.send::<Counter>(id, added).await.unwrap();
    }
    until_left(&engine, 1).await;
    until_sum(&engine, "a", 3).await;
    engine.shutdown().await.unwrap();
    drop(engine);
    let run = |words: &[&str]| output(words, folder.path()).unwrap();
    let listed = run(&["dead-letters", "list", "DATA"]);
    let row: Vec<_> = listed.lines().nth(1).unwrap().split_whitespace().collect();
    let [id, rest @ ..] = &row[..] else { panic!() };
    assert_eq!(rest[..3], ["dataflow", "adding/sums", "b"], "{listed}");
    assert_eq!(rest[4..7], ["1", "dead", "1"], "{listed}");
    let shown = json(&run(&["dead-letters", "show", "DATA", id, "--json"]));
    assert_eq!(shown[0]["stage"], "adding/sums");
    assert_eq!(shown[0]["payload"], serde_json::json!(["b", 13]));
    let stats = run(&["dead-letters", "stats", "DATA", "--stage", "adding/sums"]);
    assert!(stats.contains("thirteen is"), "{stats}");
    let exported = json(&run(&["dead-letters", "export", "DATA"]));
    assert_eq!(exported[0]["id"], *id);
    let by = ["--by", "ann", "--reason", "perhaps"];
    let said = run(&[&["dead-letters", "redrive", "DATA", id], &by[..]].concat());
    assert!(
        said.starts_with("redrive of 1 dead letter requested"),
        "{said}"
    );

    let engine = open_adding(folder.path()).await;
    until(|| engine.state().dead_letters(None, None, 1).unwrap()[0].redrives == 1).await;
    until(|| engine.state().dead_letters(None, None, 1).unwrap()[0].attempts == 2).await;
    engine.shutdown().await.unwrap();
    drop(engine);
    let shown = json(&run(&["dead-letters", "show", "DATA", id, "--json"]));
    assert_eq!(shown[0]["earlier"][0]["redriven_by"], "ann");
    run(&[&["dead-letters", "discard", "DATA", "--key", "b"], &by[..]].concat());

    let engine = open_adding(folder.path()).await;
    until_left(&engine, 0).await;
    until_sum(&engine, "b", 5).await;
    engine.shutdown().await.unwrap();
    drop(engine);
    let log = run(&["log", "read", "DATA", "--category", "dead_letter", "--json"]);
    let decisions: Vec<_> = json(&log).iter().map(|one| one["type"].clone()).collect();
    assert_eq!(decisions, ["Redriven", "Discarded"]);
}

/// Goal: another item takes the place of one that failed, in its order and over restarts; what is no item, or one of another
/// key, is a letter again, and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_of_dataflows_are_edited() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open_adding(folder.path()).await;
    for amount in [13, 5] {
        let note = String::new();
        let added = Counted::Added { amount, note };
        engine.send::<Counter>("b", added).await.unwrap();
    }
    until_left(&engine, 1).await;
    engine.shutdown().await.unwrap();
    drop(engine);
    let run = |words: &[&str]| output(words, folder.path()).unwrap();
    let shown = || json(&run(&["dead-letters", "list", "DATA", "--json"])).remove(0);
    let id = shown()["id"].as_str().unwrap().to_owned();
    let edit = |payload| {
        let by = ["--by", "ann", "--reason", "a typo"];
        let edit = ["dead-letters", "edit", "DATA", &id, "--payload", payload];
        output(&[&edit, &by[..]].concat(), folder.path())
    };
    let refused = edit("[").unwrap_err().to_string();
    assert!(refused.contains("not JSON"), "{refused}");
    edit(r#"["b", "many"]"#).unwrap();
    let engine = open_adding(folder.path()).await;
    let redrives = || engine.state().dead_letters(None, None, 1).unwrap()[0].redrives;
    until(|| redrives() == 1).await;
    engine.shutdown().await.unwrap();
    drop(engine);
    assert_eq!(shown()["class"], "unreadable");
    assert_eq!(shown()["payload"], serde_json::json!(["b", 13]));
    edit(r#"["c", 12]"#).unwrap();
    let engine = open_adding(folder.path()).await;
    let redrives = || engine.state().dead_letters(None, None, 1).unwrap()[0].redrives;
    until(|| redrives() == 2).await;
    engine.shutdown().await.unwrap();
    drop(engine);
    let cause = shown()["causes"].to_string();
    assert!(cause.contains("an item of key c"), "{cause}");
    edit(r#"["b", 12]"#).unwrap();
    let engine = open_adding(folder.path()).await;
    until_left(&engine, 0).await;
    until_sum(&engine, "b", 17).await;
    engine.shutdown().await.unwrap();
}
