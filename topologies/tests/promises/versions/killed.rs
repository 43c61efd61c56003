//! A follower of the feed, and a kill after any change.

use std::str::FromStr;

use crate::processes::{self, Victim};

use super::*;

/// Names the folder to the process that is going to be killed, and the place from which it goes on.
const VICTIM: &str = "MILLSTREAM_VERSIONS_VICTIM";
const PLACE: &str = "MILLSTREAM_VERSIONS_PLACE";

/// Writes, and tells each change of the table with the place behind it, until it is killed. Does nothing by itself.
#[test]
fn victim() {
    let Ok(folder) = std::env::var(VICTIM) else {
        return;
    };
    runtime().block_on(async {
        let engine = start(Path::new(&folder)).await;
        let from = match std::env::var(PLACE) {
            Ok(place) => ChangesFrom::Behind(place.parse().unwrap()),
            Err(_) => ChangesFrom::Oldest,
        };
        let mut changes = engine.changes(&KEPT, from).unwrap();
        for _ in 0..3 {
            let engine = engine.clone();
            tokio::spawn(async move { written(&engine, Random::new(), u64::MAX).await });
        }
        while let Some(change) = changes.next().await.unwrap() {
            let (key, row) = (change.key, change.row.unwrap());
            let (events, sum, place) = (row.events, row.sum, changes.cursor());
            processes::acknowledge(format_args!("{key} {events} {sum} {place}"));
        }
    });
}

/// A change as the victim tells it.
struct Told(String, SumRow, ChangeCursor);

impl FromStr for Told {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut words = text.split(' ');
        let key = words.next().ok_or(())?.to_owned();
        let events = words.next().and_then(|word| word.parse().ok()).ok_or(())?;
        let sum = words.next().and_then(|word| word.parse().ok()).ok_or(())?;
        let place = words.next().and_then(|word| word.parse().ok()).ok_or(())?;
        Ok(Self(key, SumRow { sum, events }, place))
    }
}

/// Goal: somebody who stored what he did about each change, with its place, misses nothing and sees nothing twice when
/// the engine is killed and he goes on. Method: the process that follows and writes is killed after some changes, over and
/// over; the last life reads to the end. `KILLS=` rounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_goes_on_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    let mut copied = Copied::<String>::from(ChangesFrom::Oldest);
    for _ in 0..processes::kills() {
        let mut victim = processes::alone("versions::killed::victim");
        victim.env(VICTIM, folder.path());
        if let ChangesFrom::Behind(place) = &copied.from {
            victim.env(PLACE, place.to_string());
        }
        let wanted = 1 + random.below(400) as usize;
        for Told(key, row, place) in Victim::of(&mut victim).killed_after::<Told>(wanted) {
            let events = copied.rows.get(&key).map_or(0, |row| row.events);
            assert_eq!(row.events, events + 1, "left out, or given twice: {key}");
            copied.rows.insert(key, row);
            copied.from = place.into();
        }
    }
    let engine = start(folder.path()).await;
    let changes = engine.changes(&KEPT, copied.from.clone()).unwrap();
    let following = tokio::spawn(copied.follow(changes));
    let rows = engine
        .query(&KEPT)
        .at_least(&engine.durable())
        .deadline(PATIENCE)
        .rows()
        .await;
    close(engine).await;
    let copied = within(following).await.unwrap();
    assert_eq!(copied.rows, rows.unwrap().into_iter().collect());
}
