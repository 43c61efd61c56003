//! Letters of late items: nothing holds the items, so the letters can be let go of, and go with their stage. Their numbers are
//! given again to those that no checkpoint knew.

use std::path::{Path, PathBuf};

use millstream::DecideError;
use millstream::dataflow::{Flow, FlowOptions};
use millstream::prelude::*;
use millstream_engine::checkpoint::CheckpointOptions;
use millstream_engine::flow::Ascending;
use millstream_engine::state::DeadLetter;
use millstream_engine::time::Timestamp;
use millstream_operators::function::count;
use millstream_operators::projection::{LetterDecision, LetterOrder};
use millstream_operators::window::Tumbling;

use super::failing::{letters, until};
use super::support::*;

/// Counts sales in windows of these names, without those that are gone.
fn topology(names: &'static [&'static str], gone: &[&str]) -> Topology {
    topology_with(names, gone, 50)
}

/// With checkpoints so often.
fn topology_with(names: &'static [&'static str], gone: &[&str], interval_ms: u64) -> Topology {
    let options = FlowOptions {
        checkpoints: Some(CheckpointOptions {
            interval_ms,
            pause_ms_min: 1,
            drop_stages: gone.iter().map(ToString::to_string).collect(),
            ..CheckpointOptions::default()
        }),
        ..options()
    };
    let topology = Topology::named("shop");
    let topology = topology.dataflow_with("counts", options, |flow| count_sales(flow, names));
    topology.build().unwrap()
}

fn count_sales(flow: &Flow, names: &[&'static str]) {
    let events = flow.events::<Sale>().category("sale");
    let stamped = events.timestamps(|sale| Timestamp::from_seconds(sale.cents as i64));
    let sold = stamped.watermarks(Ascending::new()).stream();
    let mut branches = sold.share(2).into_iter();
    for name in names {
        let keyed = branches
            .next()
            .unwrap()
            .key_by(|sale: &Sale| sale.product.clone());
        let windows = keyed.named(name).window(Tumbling::of(SECOND));
        let counted = windows.late_to_dead_letters().aggregate(count());
        counted.for_each(|_, _| {});
    }
    for rest in branches {
        rest.for_each(|_, _| {});
    }
}

const SECOND: std::time::Duration = std::time::Duration::from_secs(1);

/// One in time, then two that are too late.
async fn sell(engine: &Engine) {
    for cents in [100, 1, 2] {
        append_to(engine, "sale-0", sale("tea", cents)).await;
    }
}

fn of_stage(engine: &Engine, stage: &str) -> Vec<DeadLetter> {
    let mut letters = letters(engine);
    letters.retain(|letter| letter.stage == stage);
    letters
}

/// Leaves a decision to discard this letter, as the command line does; gives where.
fn request(folder: &Path, letter: &DeadLetter) -> PathBuf {
    let order = LetterOrder::of_late(letter, "dataflow counts", "ann", "old").unwrap();
    let line = serde_json::to_string(&LetterDecision::Discarded(order)).unwrap();
    let requests = folder.join("requests");
    std::fs::create_dir_all(&requests).unwrap();
    std::fs::write(requests.join("1.jsonl"), line).unwrap();
    requests
}

/// Story: letters of late items could not be given up, and stayed when their stage was gone.
#[tokio::test(flavor = "multi_thread")]
async fn letters_of_late_items_are_let_go_of() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), topology(&["kept", "dropped"], &[])).await;
    sell(&engine).await;
    until(|| letters(&engine).len() == 4).await;
    within(engine.dataflow("counts").checkpoint())
        .await
        .unwrap();
    let kept = of_stage(&engine, "counts/kept");
    let (first, second) = (&kept[0], &kept[1]);
    let tried = within(engine.dead_letters().redrive(&[first.id()], "ann", "")).await;
    assert!(
        matches!(tried, Err(DecideError::NotParked { .. })),
        "{tried:?}"
    );
    within(engine.dead_letters().discard(&[first.id()], "ann", "old"))
        .await
        .unwrap();
    assert_eq!(of_stage(&engine, "counts/kept").len(), 1);
    close(engine).await;

    let requests = request(folder.path(), second);
    let engine = open(folder.path(), topology(&["kept"], &["dropped"])).await;
    until(|| of_stage(&engine, "counts/dropped").is_empty()).await;
    until(|| letters(&engine).is_empty()).await;
    until(|| std::fs::read_dir(&requests).unwrap().next().is_none()).await;
    close(engine).await;
}

/// Story: a start that was refused, since a stage had another name by mistake, deleted the letters of the stage as it was
/// called before. The program as it was counted them and did not find them again.
#[tokio::test(flavor = "multi_thread")]
async fn letters_of_late_items_outlive_a_start_that_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), topology(&["kept"], &[])).await;
    sell(&engine).await;
    until(|| letters(&engine).len() == 2).await;
    let taken = engine.dataflow("counts");
    within(taken.checkpoint()).await.unwrap();
    drop(taken);
    close(engine).await;

    let renamed = Engine::open(folder.path()).config(config());
    let refused = within(renamed.run(topology(&["renamed"], &[]))).await;
    let refused = refused.err().map(|error| error.to_string());
    assert!(
        refused.as_ref().is_some_and(|cause| cause.contains("kept")),
        "{refused:?}"
    );

    let engine = open(folder.path(), topology(&["kept"], &[])).await;
    assert_eq!(of_stage(&engine, "counts/kept").len(), 2);
    close(engine).await;
}

/// Story: a decision named a letter by its number alone, and was taken about whatever item had the number by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_is_of_another_item_by_now_is_not_let_go_of() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), topology(&["kept"], &[])).await;
    sell(&engine).await;
    until(|| letters(&engine).len() == 2).await;
    within(engine.dataflow("counts").checkpoint())
        .await
        .unwrap();
    let [first, mut second] = <[DeadLetter; 2]>::try_from(letters(&engine)).unwrap();
    close(engine).await;

    // Seen before a restart after which they came the other way round.
    second.position = first.position;
    let requests = request(folder.path(), &second);
    let engine = open(folder.path(), topology(&["kept"], &[])).await;
    until(|| std::fs::read_dir(&requests).unwrap().next().is_none()).await;
    assert_eq!(letters(&engine).len(), 2);
    request(folder.path(), &first);
    until(|| letters(&engine).len() == 1).await;
    close(engine).await;
}

/// Story: a program was let have a letter discarded whose number a restart would give to another item.
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_no_checkpoint_knows_is_not_let_go_of() {
    const NEVER: u64 = 3_600_000;
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), topology_with(&["kept"], &[], NEVER)).await;
    let discard = async |letter: &DeadLetter| {
        let letters = engine.dead_letters();
        within(letters.discard(&[letter.id()], "ann", "old")).await
    };
    sell(&engine).await;
    until(|| letters(&engine).len() == 2).await;
    let known = letters(&engine);
    let refused = discard(&known[0]).await;
    assert!(
        matches!(refused, Err(DecideError::Unsaved { .. })),
        "{refused:?}"
    );
    within(engine.dataflow("counts").checkpoint())
        .await
        .unwrap();
    append_to(&engine, "sale-0", sale("tea", 3)).await;
    until(|| letters(&engine).len() == 3).await;
    let refused = discard(&letters(&engine)[2]).await;
    assert!(
        matches!(refused, Err(DecideError::Unsaved { .. })),
        "{refused:?}"
    );
    discard(&known[0]).await.unwrap();
    assert_eq!(letters(&engine).len(), 2);
    close(engine).await;
}

/// Story: a letter was looked for in the checkpoints of the first dataflow whose name its stage begins with, where one's name is the
/// beginning of another's: those did not know it, and it could never be discarded.
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_of_its_dataflow_where_names_begin_alike() {
    let folder = tempfile::tempdir().unwrap();
    let topology =
        ["counts", "counts/eu"]
            .into_iter()
            .fold(Topology::named("shop"), |topology, name| {
                topology.dataflow_with(name, checkpointed(3_600_000), |flow| {
                    count_sales(flow, &["kept"]);
                })
            });
    let engine = open(folder.path(), topology.build().unwrap()).await;
    sell(&engine).await;
    until(|| of_stage(&engine, "counts/eu/kept").len() == 2).await;
    let dataflow = engine.dataflow("counts/eu");
    within(dataflow.checkpoint()).await.unwrap();
    let known = of_stage(&engine, "counts/eu/kept");
    let letters = engine.dead_letters();
    within(letters.discard(&[known[0].id()], "ann", "old"))
        .await
        .unwrap();
    assert_eq!(of_stage(&engine, "counts/eu/kept").len(), 1);
    drop((dataflow, letters));
    close(engine).await;
}
