//! Danger: while two versions of a projection ran, nobody could decide about a letter of either, so that what failed in the
//! version that answers stayed parked until a restart without the other one.

use millstream_operators::projection::QueryError;

use super::*;

const TWICE: Table<String, Vec<i64>> = Table::named("twice");

/// A list per tally. A version fails on the number of [`fails`] until it is mended.
struct Twice<const VERSION: u32>(Arc<Switch>);

const fn fails(version: u32) -> i64 {
    POISON + version as i64
}

#[derive(Debug, thiserror::Error)]
#[error("not this one")]
struct NotThisOne;

impl<const VERSION: u32> Projection for Twice<VERSION> {
    const NAME: &'static str = "twice";
    const VERSION: u32 = VERSION;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<String, Vec<i64>>,);
    type Error = NotThisOne;

    fn tables(&self) -> Self::Tables {
        (TWICE,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (twice,): &mut (TableMut<String, Vec<i64>>,),
    ) -> Result<(), NotThisOne> {
        let Happened::Added { by } = *event.payload else {
            return Ok(());
        };
        if by == fails(VERSION) && self.0.failing.lock().unwrap().contains(&by) {
            return Err(NotThisOne);
        }
        twice.update(&event.id.to_owned(), |list| list.push(by));
        Ok(())
    }
}

/// The letters of a version, once they are so many and all dead.
async fn dead_of(engine: &Engine, version: u32, count: usize) -> Vec<DeadLetter> {
    let own = engine.state().projection("twice", version);
    let id = own.unwrap().unwrap().id;
    let of_version = || {
        let all = letters(engine).into_iter();
        all.filter(|letter| letter.projection == id)
            .collect::<Vec<_>>()
    };
    until("the letters of this version are dead", || {
        let found = of_version();
        found.len() == count && found.iter().all(is_dead)
    })
    .await;
    of_version()
}

/// A redrive, an edit and a discard about letters of the second version.
async fn decided(engine: &Engine, switch: &Switch, phase: &str) -> Result<(), QueryError> {
    switch.failing.lock().unwrap().insert(fails(2));
    let id = |what: &str| format!("{what}-{phase}");
    for what in ["again", "other", "never"] {
        add(engine, &id(what), &[1, fails(2), 2]).await;
    }
    let found = dead_of(engine, 2, 3).await;
    let of = |what: &str| {
        let key = format!("tally-{}", id(what));
        let mut found = found.iter();
        found.find(|letter| letter.key == key).unwrap().id()
    };
    switch.failing.lock().unwrap().remove(&fails(2));
    let decisions = engine.dead_letters();
    let redriven = decisions.redrive(&[of("again")], "ann", "mended").await;
    redriven.unwrap();
    let seven = r#"{"Added":{"by":7}}"#;
    let edited = decisions.edit(of("other"), seven, "ann", "seven").await;
    edited.unwrap();
    let discarded = decisions.discard(&[of("never")], "ann", "no").await;
    discarded.unwrap();
    dead_of(engine, 2, 0).await;
    let (second, seen) = (engine.version::<Twice<2>>()?, engine.durable());
    for (what, expected) in [
        ("again", vec![1, fails(2), 2]),
        ("other", vec![1, 7, 2]),
        ("never", vec![1, 2]),
    ] {
        let row = second.query(&TWICE).at_least(&seen).get(id(what)).await?;
        assert_eq!(row, Some(expected), "{what} {phase}");
    }
    Ok(())
}

/// Goal: letters of the highest version can be decided about whichever version answers, and those of a lower one cannot while
/// the higher one has rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_highest_version_takes_decisions() {
    let folder = tempfile::tempdir().unwrap();
    let switch = Arc::new(Switch::default());
    switch.failing.lock().unwrap().insert(fails(1));
    let topology = Topology::named("twice")
        .aggregate::<Tally>()
        .projection_with(Twice::<1>(Arc::clone(&switch)), quick(1))
        .candidate_with(Twice::<2>(Arc::clone(&switch)), quick(1))
        .build();
    let engine = open_with(folder.path(), config(), topology.unwrap()).await;
    add(&engine, "first", &[fails(1)]).await;
    let lower = [dead_of(&engine, 1, 1).await.remove(0).id()];
    let rebuild = engine.rebuild("twice").unwrap();
    for phase in ["before", "after"] {
        decided(&engine, &switch, phase).await.unwrap();
        let refused = engine.dead_letters().discard(&lower, "ann", "no").await;
        let is_told = matches!(&refused, Err(DecideError::NewerVersion { newer: 2, .. }));
        assert!(is_told, "{refused:?}");
        if phase == "before" {
            assert_eq!(within(rebuild.switch()).await.unwrap(), 2);
        }
    }
    within(rebuild.drop_version(1)).await.unwrap();
    decided(&engine, &switch, "dropped").await.unwrap();
    drop(rebuild);
    close(engine).await;
}
