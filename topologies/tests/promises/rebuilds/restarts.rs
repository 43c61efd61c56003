//! What a later start finds: the version that answered, a candidate in the middle of its rebuild, or no state at all.

use std::time::Duration;

use millstream::RebuildError;
use millstream_engine::state::StateError;

use super::*;

/// Goal: which version answers outlasts restarts, and what a program declares later decides as it is documented.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_answers_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let engine = start(folder.path(), two()).await;
    fill(&engine, 10).await;
    let rebuild = engine.rebuild("sums").unwrap();
    rebuild.switch().await.unwrap();
    drop(rebuild);
    close(engine).await;

    let engine = start(folder.path(), two()).await;
    let active = engine.rebuild("sums").unwrap().active();
    assert_eq!(active, 2, "as it was switched");
    let error = engine.rebuild("sums").unwrap().switch().await.unwrap_err();
    assert!(
        matches!(error, RebuildError::NoCandidate { active: 2, .. }),
        "{error}"
    );
    check(&engine).await;
    close(engine).await;

    // A program that was put back answers with what it knows.
    let one = || tallies().projection(SumsOf::<1>).build().unwrap();
    let engine = start(folder.path(), one()).await;
    assert_eq!(engine.rebuild("sums").unwrap().active(), 1);
    check(&engine).await;
    // The other one is there, and does not run.
    let rebuild = engine.rebuild("sums").unwrap();
    let error = rebuild.switch_back().await.unwrap_err();
    assert!(
        matches!(
            error,
            RebuildError::NoPrevious {
                previous: Some(2),
                ..
            }
        ),
        "{error}"
    );
    drop(rebuild);
    close(engine).await;

    // Dropped while it does not run.
    let engine = start(folder.path(), one()).await;
    let stored = engine.state().projection("sums", 2).unwrap().unwrap();
    assert_eq!(engine.state().count(stored.tables[0]).unwrap(), 10);
    let rebuild = engine.rebuild("sums").unwrap();
    rebuild.drop_version(2).await.unwrap();
    let error = rebuild.drop_version(7).await.unwrap_err();
    assert!(
        matches!(error, RebuildError::UnknownVersion { version: 7, .. }),
        "{error}"
    );
    until("its rows are gone", || {
        engine.state().count(stored.tables[0]).unwrap() == 0
    })
    .await;
    drop(rebuild);
    close(engine).await;

    // Declared beside another one it is not built again, until a start has not declared it.
    let engine = start(folder.path(), two()).await;
    assert!(engine.version::<SumsOf<2>>().is_err());
    assert!(engine.state().projection("sums", 2).unwrap().is_none());
    close(engine).await;
    close(start(folder.path(), one()).await).await;
    let engine = start(folder.path(), two()).await;
    let rebuild = engine.rebuild("sums").unwrap();
    within(rebuild.caught_up()).await.unwrap();
    assert!(within(rebuild.compare()).await.unwrap().is_same());
    close(engine).await;
}

/// Goal: progress is told in sum and per partition; a candidate that is stopped in the middle goes on from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_goes_on_where_it_was_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let one = tallies().projection_with(SumsOf::<1>, busy()).build();
    let engine = start(folder.path(), one.unwrap()).await;
    fill(&engine, 200).await;
    close(engine).await;
    for round in 0..20 {
        let engine = start(folder.path(), two()).await;
        let rebuild = engine.rebuild("sums").unwrap();
        let progress = rebuild.progress().unwrap();
        assert_eq!(progress.of, 600, "round {round}");
        let applied: u64 = progress.partitions.iter().map(|one| one.applied).sum();
        assert_eq!(applied, progress.applied);
        assert!(!progress.is_active && progress.version == 2);
        // Ended at once, however much is left.
        drop(rebuild);
        close(engine).await;
    }
    let engine = start(folder.path(), two()).await;
    let rebuild = engine.rebuild("sums").unwrap();
    within(rebuild.caught_up()).await.unwrap();
    let progress = rebuild.progress().unwrap();
    assert!(progress.is_caught_up() && progress.time_left == Some(Duration::ZERO));
    assert_eq!(progress.age, Duration::ZERO);
    assert!(within(rebuild.compare()).await.unwrap().is_same());
    close(engine).await;
}

/// Goal: the record of the version that answers and the rows are one store: a version that is not there cannot answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_state_the_declared_version_answers() {
    let folder = tempfile::tempdir().unwrap();
    let engine = start(folder.path(), two()).await;
    fill(&engine, 10).await;
    engine.rebuild("sums").unwrap().switch().await.unwrap();
    close(engine).await;
    std::fs::remove_dir_all(folder.path().join("state")).unwrap();
    let engine = start(folder.path(), two()).await;
    within(engine.ready()).await.unwrap();
    assert_eq!(engine.rebuild("sums").unwrap().active(), 1);
    check(&engine).await;
    let error = engine.rebuild("nobody").unwrap_err();
    assert!(error.to_string().contains("digits"), "{error}");
    let closed = engine.rebuild("sums").unwrap();
    close(engine).await;
    let error = closed.switch().await.unwrap_err();
    assert!(
        matches!(
            error,
            RebuildError::State(StateError::Closed) | RebuildError::Query(_)
        ),
        "{error}"
    );
}
