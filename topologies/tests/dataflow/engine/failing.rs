//! Items that a dataflow of an engine fails on: letters, decisions about them, and restarts in between.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use millstream::DecideError;
use millstream::dataflow::DataflowStatus;
use millstream::prelude::*;
use millstream_engine::state::{DeadLetter, DeadLetterStatus};
use millstream_engine::time::Timestamp;
use millstream_operators::failing::ItemPolicy;
use millstream_operators::keyed::{Context, TryKeyedProcess};
use millstream_operators::projection::{LetterDecision, LetterOrder};

use super::support::*;

/// Cents per product so far; nothing for thirteen cents, which is unlucky until it is mended.
#[derive(Clone)]
struct Running {
    is_mended: Arc<AtomicBool>,
}

#[derive(Debug, thiserror::Error)]
#[error("{product} cannot be sold")]
struct Refused {
    product: String,
    source: std::num::ParseIntError,
}

impl TryKeyedProcess<String, Sale> for Running {
    type State = (u64, ());
    type Out = Sale;
    type Side = Infallible;
    type Error = Refused;

    fn item(
        &mut self,
        product: &String,
        (sum, ()): &mut (u64, ()),
        _time: Timestamp,
        sold: &Sale,
        ctx: &mut Context<'_, Sale>,
    ) -> Result<(), Refused> {
        *sum += sold.cents;
        ctx.emit(sale(product, *sum));
        if sold.cents == 13 && !self.is_mended.load(Ordering::Relaxed) {
            let source = "thirteen".parse::<u64>().unwrap_err();
            let product = product.clone();
            return Err(Refused { product, source });
        }
        assert_ne!(sold.cents, 1_313, "it is worse");
        Ok(())
    }
}

fn topology(interval_ms: u64, is_mended: &Arc<AtomicBool>) -> Topology {
    let is_mended = Arc::clone(is_mended);
    let policy = ItemPolicy::dead_letter().attempts(2, Duration::from_millis(5));
    let topology =
        Topology::named("shop").dataflow_with("sums", checkpointed(interval_ms), move |flow| {
            let running = Running { is_mended };
            let sums = flow
                .events::<Sale>()
                .category("sale")
                .stream()
                .key_by(|sale: &Sale| sale.product.clone())
                .named("running")
                .try_process(policy, running);
            let mut both = sums.share(2).into_iter();
            let (rows, events) = (both.next().unwrap(), both.next().unwrap());
            rows.to_table(&TURNOVER, |sum| (sum.product, Some(sum.cents)));
            events.to_log_with_checkpoints("adder", |sum| {
                (stream(&format!("sum-{}", sum.product)), sum)
            });
        });
    topology.build().unwrap()
}

/// Soon: stages look for decisions once a second.
pub(super) async fn until(is_so: impl Fn() -> bool) {
    within(async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

pub(super) fn letters(engine: &Engine) -> Vec<DeadLetter> {
    engine.state().dead_letters(None, None, 100).unwrap()
}

async fn until_dead(engine: &Engine, attempts: u32) -> DeadLetter {
    until(|| {
        letters(engine)
            .iter()
            .any(|letter| letter.status == DeadLetterStatus::Dead && letter.attempts == attempts)
    })
    .await;
    letters(engine).remove(0)
}

/// Sums of a product in the log.
fn sums(engine: &Engine, product: &str) -> Vec<u64> {
    let name = stream(&format!("sum-{product}"));
    let events = engine.events::<Sale>(&name, 0, 1_000).unwrap();
    events
        .into_iter()
        .map(|event| event.payload.cents)
        .collect()
}

async fn row(engine: &Engine, product: &str) -> Option<u64> {
    let product = product.to_owned();
    engine.query(&TURNOVER).get(&product).await.unwrap()
}

/// Sold one after the other in one partition, so that their order is known.
async fn sell(engine: &Engine, sold: &[(&str, u64)]) {
    for (product, cents) in sold {
        append_to(engine, "sale-0", sale(product, *cents)).await;
    }
}

/// Stages are told of a checkpoint when they have their next turn.
pub(super) async fn redrive(engine: &Engine, letter: &DeadLetter, by: &str) {
    within(async {
        let letters = engine.dead_letters();
        while let Err(error) = letters.redrive(&[letter.id()], by, "mended").await {
            assert!(matches!(error, DecideError::Unsaved { .. }), "{error}");
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Goal: what failed, and what waits behind it, outlives restarts; a decision is carried out once. Method: an item is
/// redriven in vain, the engine is opened again, what was wrong is mended, it is redriven once more.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_outlives_restarts_and_is_redriven_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let is_mended = Arc::new(AtomicBool::new(false));
    let engine = open(folder.path(), topology(50, &is_mended)).await;
    let sold = [
        ("tea", 1),
        ("milk", 13),
        ("milk", 5),
        ("tea", 2),
        ("milk", 7),
    ];
    sell(&engine, &sold).await;
    let letter = until_dead(&engine, 2).await;
    assert_eq!((&*letter.stage, &*letter.key), ("sums/running", "milk"));
    let causes = ["milk cannot be sold", "invalid digit found in string"];
    assert_eq!(letter.cause, causes);
    assert_eq!(
        serde_json::from_slice::<Sale>(&letter.payload).unwrap(),
        sale("milk", 13)
    );
    until(|| sums(&engine, "tea") == [1, 3]).await;
    let parked = || engine.parked_item("sums", "running", "milk").unwrap();
    assert_eq!(parked().unwrap().letter, letter.id());
    assert!(
        engine
            .parked_item("sums", "running", "tea")
            .unwrap()
            .is_none()
    );

    within(engine.dataflow("sums").checkpoint()).await.unwrap();
    redrive(&engine, &letter, "ann").await;
    let again = until_dead(&engine, 3).await;
    assert_eq!((again.id(), again.redrives), (letter.id(), 1));
    assert_eq!(again.earlier[0].redriven_by, "ann");
    until(|| letters(&engine)[0].followers == 2).await;
    let before = letters(&engine);
    close(engine).await;

    let engine = open(folder.path(), topology(50, &is_mended)).await;
    assert_eq!(letters(&engine), before);
    sell(&engine, &[("milk", 1), ("tea", 4)]).await;
    until(|| sums(&engine, "tea") == [1, 3, 7]).await;
    assert_eq!(sums(&engine, "milk"), [0; 0]);
    is_mended.store(true, Ordering::Relaxed);
    redrive(&engine, &letter, "bob").await;
    until(|| sums(&engine, "milk") == [13, 18, 25, 26]).await;
    until(|| letters(&engine).is_empty()).await;
    assert!(
        engine
            .parked_item("sums", "running", "milk")
            .unwrap()
            .is_none()
    );
    close(engine).await;

    // Nothing is carried out again.
    is_mended.store(false, Ordering::Relaxed);
    let engine = open(folder.path(), topology(50, &is_mended)).await;
    sell(&engine, &[("milk", 1)]).await;
    until(|| sums(&engine, "milk") == [13, 18, 25, 26, 27]).await;
    within(async {
        while row(&engine, "milk").await != Some(27) || row(&engine, "tea").await != Some(7) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(letters(&engine).is_empty());
    close(engine).await;
}

/// Goal: a decision is not forgotten and not repeated when the dataflow goes back to a checkpoint from before it was
/// carried out. Method: checkpoints are taken by hand; after the decision is carried out a panic elsewhere would repeat
/// it, here the engine's dataflow is aborted.
#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_found_again_behind_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let is_mended = Arc::new(AtomicBool::new(false));
    let engine = open(folder.path(), topology(3_600_000, &is_mended)).await;
    sell(
        &engine,
        &[("milk", 13), ("milk", 5), ("tea", 1_313), ("tea", 2)],
    )
    .await;
    until(|| letters(&engine).len() == 2).await;
    let is_dead = |letter: &DeadLetter| letter.status == DeadLetterStatus::Dead;
    until(|| letters(&engine).iter().all(is_dead)).await;
    let of = |key: &str| {
        letters(&engine)
            .into_iter()
            .find(|letter| letter.key == key)
    };
    let (milk, tea) = (of("milk").unwrap(), of("tea").unwrap());
    assert!(tea.cause[0].starts_with("panicked"), "{:?}", tea.cause);
    let early = engine.dead_letters().redrive(&[milk.id()], "ann", "").await;
    assert!(
        matches!(early, Err(DecideError::Unsaved { .. })),
        "{early:?}"
    );
    within(engine.dataflow("sums").checkpoint()).await.unwrap();
    is_mended.store(true, Ordering::Relaxed);
    redrive(&engine, &milk, "ann").await;
    // Its partition may be told of the checkpoint later.
    within(async {
        let letters = engine.dead_letters();
        while let Err(error) = letters.discard(&[tea.id()], "ann", "hopeless").await {
            assert!(matches!(error, DecideError::Unsaved { .. }), "{error}");
            tokio::task::yield_now().await;
        }
    })
    .await;
    until(|| letters(&engine).is_empty()).await;
    let handle = engine.dataflow("sums");
    let aborted = within(handle.abort("it must go back")).await;
    assert!(aborted.is_err() && handle.status() != DataflowStatus::Running);
    let late = engine.dead_letters().redrive(&[milk.id()], "ann", "").await;
    assert!(matches!(late, Err(DecideError::Unknown { .. })), "{late:?}");
    let _ = within(engine.shutdown()).await;
    drop(engine);

    let engine = open(folder.path(), topology(50, &is_mended)).await;
    sell(&engine, &[("milk", 1), ("tea", 3)]).await;
    until(|| sums(&engine, "milk") == [13, 18, 19] && sums(&engine, "tea") == [2, 5]).await;
    until(|| letters(&engine).is_empty()).await;
    close(engine).await;
}

/// A dataflow over what is there now ends with dead letters, which can be decided about all the same: the next start
/// carries that out.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_dead_at_the_end_is_redriven_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let is_mended = Arc::new(AtomicBool::new(false));
    let topology = || {
        let is_mended = Arc::clone(&is_mended);
        let policy = ItemPolicy::dead_letter().attempts(3, Duration::from_secs(3_600));
        let topology = Topology::named("shop").dataflow_with("sums", options(), move |flow| {
            let events = flow.events::<Sale>().category("sale");
            let function = move |sale: &Sale| {
                let is_good = sale.cents != 13 || is_mended.load(Ordering::Relaxed);
                is_good.then(|| sale.clone()).ok_or("thirteen")
            };
            events
                .until_durable_end()
                .stream()
                .try_map(policy, function)
                .to_table(&TURNOVER, |sold| (sold.product, Some(sold.cents)));
        });
        topology.build().unwrap()
    };
    let engine = open(folder.path(), Topology::named("shop").build().unwrap()).await;
    sell(&engine, &[("milk", 13), ("tea", 5)]).await;
    close(engine).await;
    let engine = open(folder.path(), topology()).await;
    // The hour before the second try is not waited for.
    within(engine.dataflow("sums").wait()).await.unwrap();
    let letter = letters(&engine).remove(0);
    assert_eq!(
        (letter.attempts, letter.status),
        (3, DeadLetterStatus::Dead)
    );
    assert_eq!(
        (&*letter.key, &letter.cause[..]),
        ("item", &["thirteen".to_owned()][..])
    );
    assert_eq!(
        (row(&engine, "milk").await, row(&engine, "tea").await),
        (None, Some(5))
    );
    is_mended.store(true, Ordering::Relaxed);
    engine
        .dead_letters()
        .redrive(&[letter.id()], "ann", "")
        .await
        .unwrap();
    close(engine).await;
    let engine = open(folder.path(), topology()).await;
    within(engine.dataflow("sums").wait()).await.unwrap();
    until(|| letters(&engine).is_empty()).await;
    assert_eq!(row(&engine, "milk").await, Some(13));
    close(engine).await;
}

/// Who does not wait for its end has decided all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_nobody_waits_for_is_carried_out() {
    let folder = tempfile::tempdir().unwrap();
    let is_mended = Arc::new(AtomicBool::new(false));
    let engine = open(folder.path(), topology(50, &is_mended)).await;
    sell(&engine, &[("milk", 13), ("milk", 5)]).await;
    let letter = until_dead(&engine, 2).await;
    // The first is waited for, so that the second is about a letter that is open.
    redrive(&engine, &letter, "ann").await;
    until_dead(&engine, 3).await;
    is_mended.store(true, Ordering::Relaxed);
    let letters_of = engine.dead_letters();
    let ids = [letter.id()];
    let mut deciding = Box::pin(letters_of.redrive(&ids, "bob", "mended"));
    let polled = std::future::poll_fn(|context| Poll::Ready(deciding.as_mut().poll(context))).await;
    assert!(!matches!(polled, Poll::Ready(Err(_))), "{polled:?}");
    drop(deciding);
    drop(letters_of);
    until(|| sums(&engine, "milk") == [13, 18]).await;
    close(engine).await;
}

/// What no checkpoint has may wait for long; the rest of a request does not wait with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_taken_but_for_what_no_checkpoint_has() {
    let folder = tempfile::tempdir().unwrap();
    let is_mended = Arc::new(AtomicBool::new(false));
    let engine = open(folder.path(), topology(3_600_000, &is_mended)).await;
    sell(&engine, &[("milk", 13)]).await;
    let milk = until_dead(&engine, 2).await;
    within(engine.dataflow("sums").checkpoint()).await.unwrap();
    sell(&engine, &[("rum", 13)]).await;
    let of = |key: &str| {
        let mut all = letters(&engine).into_iter();
        all.find(|letter| letter.key == key)
    };
    let has_tried = |key: &str, attempts| {
        of(key).is_some_and(|letter| {
            letter.attempts == attempts && letter.status == DeadLetterStatus::Dead
        })
    };
    until(|| has_tried("rum", 2)).await;
    let known = engine.state().projections().unwrap();
    let owner = known.iter().find(|one| one.id == milk.projection).unwrap();
    let order = |letter: &DeadLetter| LetterOrder::of_item(letter, &owner.name, "ann", "").unwrap();
    let lines = [of("rum").unwrap(), milk]
        .map(|letter| serde_json::to_string(&LetterDecision::Redriven(order(&letter))).unwrap());
    let requests = folder.path().join("requests");
    std::fs::create_dir_all(&requests).unwrap();
    std::fs::write(requests.join("1.begun"), lines.join("\n")).unwrap();
    std::fs::rename(requests.join("1.begun"), requests.join("1.jsonl")).unwrap();
    until(|| has_tried("milk", 3)).await;
    assert!(has_tried("rum", 2));
    within(engine.dataflow("sums").checkpoint()).await.unwrap();
    until(|| has_tried("rum", 3)).await;
    until(|| std::fs::read_dir(&requests).unwrap().next().is_none()).await;
    close(engine).await;
}

/// Nobody could settle them.
#[tokio::test(flavor = "multi_thread")]
async fn letters_of_a_stage_that_is_gone_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let topology = |names: &'static [&'static str], gone: &[&str]| {
        let mut options = checkpointed(50);
        let checkpoints = options.checkpoints.as_mut().unwrap();
        checkpoints.drop_stages = gone.iter().map(ToString::to_string).collect();
        let policy = ItemPolicy::dead_letter().attempts(1, Duration::ZERO);
        let topology = Topology::named("shop").dataflow_with("sums", options, move |flow| {
            let events = flow.events::<Sale>().category("sale").stream();
            let mut branches = events.share(2).into_iter();
            for name in names {
                let sold = branches.next().unwrap();
                sold.key_by(|sale: &Sale| sale.product.clone())
                    .named(name)
                    .try_map(policy, |sale: &Sale| match sale.cents {
                        13 => Err("thirteen"),
                        _ => Ok(sale.clone()),
                    })
                    .for_each(|_, _| {});
            }
            for rest in branches {
                rest.for_each(|_, _| {});
            }
        });
        topology.build().unwrap()
    };
    let engine = open(folder.path(), topology(&["kept", "dropped"], &[])).await;
    sell(&engine, &[("milk", 13)]).await;
    until(|| letters(&engine).len() == 2).await;
    within(engine.dataflow("sums").checkpoint()).await.unwrap();
    close(engine).await;
    let engine = open(folder.path(), topology(&["kept"], &["dropped"])).await;
    let stages = || {
        letters(&engine)
            .into_iter()
            .map(|letter| letter.stage.to_string())
    };
    until(|| stages().eq(["sums/kept"])).await;
    close(engine).await;
}
