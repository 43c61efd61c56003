//! Promise: a projection has the rows of the events that it wants and of no other, now and in the past, and is not behind
//! because of those that it does not want.

use millstream::prelude::*;
use millstream_engine::event::Metadata;
use uuid::Uuid;

use crate::support::*;

const TYPE: usize = 0;
const CORRELATION: usize = 1;
const FILTER: usize = 2;
const NOTHING: usize = 3;
const NAMES: [&str; 4] = ["by-type", "by-correlation", "by-filter", "by-nothing"];
const CONVERSATION: Uuid = Uuid::from_u128(7);

/// Counts some events of each tally.
struct Chosen<const WHICH: usize>;

impl<const WHICH: usize> Chosen<WHICH> {
    const TABLE: Table<String, Vec<u64>> = Table::named(NAMES[WHICH]);
}

impl<const WHICH: usize> Projection for Chosen<WHICH> {
    const NAME: &'static str = NAMES[WHICH];
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = (Table<String, Vec<u64>>,);
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        (Self::TABLE,)
    }

    fn wanted(&self) -> Wanted {
        match WHICH {
            TYPE => Wanted::types(["Noted"]),
            CORRELATION => Wanted::all().correlation(CONVERSATION),
            FILTER => Wanted::types(["Added"])
                .filter(|event| event.version.is_multiple_of(2))
                .filter(|event| {
                    if event.version == 6 {
                        panics("this filter has had enough");
                    }
                    event.id != "t0"
                }),
            _ => Wanted::types(["Neverwritten"]),
        }
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        (versions,): &mut (TableMut<String, Vec<u64>>,),
    ) -> Result<(), Self::Error> {
        versions.update(&event.id.to_owned(), |row| row.push(event.version));
        Ok(())
    }
}

fn topology() -> Topology {
    let quick = crate::failing_events::quick(1);
    Topology::named("selections")
        .aggregate::<Tally>()
        .projection(Chosen::<TYPE>)
        .projection(Chosen::<CORRELATION>)
        .projection_with(Chosen::<FILTER>, quick)
        .projection(Chosen::<NOTHING>)
        .build()
        .unwrap()
}

/// Which versions of a stream of `asks` a projection has, in the plainest way.
fn expected(which: usize, id: &str, notes: &[bool], in_conversation: &[bool]) -> Vec<u64> {
    let wanted = |version: &u64| {
        let at = *version as usize;
        match which {
            TYPE => notes[at],
            CORRELATION => in_conversation[at],
            // The filter fails at one event, which all later ones of the key wait behind.
            FILTER => {
                let fails = notes.get(6).is_some_and(|is_note| !is_note);
                let waits = fails && *version >= 6;
                id != "t0" && !notes[at] && version.is_multiple_of(2) && !waits
            }
            _ => false,
        }
    };
    (0..notes.len() as u64).filter(wanted).collect()
}

async fn check<const WHICH: usize>(engine: &Engine, id: &str, expected: &[u64]) {
    let expected = (!expected.is_empty()).then(|| expected.to_vec());
    let everything = engine.durable();
    let query = engine
        .query(&Chosen::<WHICH>::TABLE)
        .at_least(&everything)
        .deadline(PATIENCE);
    let found = within(query.get(id)).await.unwrap();
    assert_eq!(found, expected, "{} of {id}", NAMES[WHICH]);
    let past = engine
        .project_at(Chosen::<WHICH>, At::Latest)
        .await
        .unwrap();
    let past = past.get(&Chosen::<WHICH>::TABLE, id.to_owned()).unwrap();
    assert_eq!(past, expected, "{} of {id} in a replay", NAMES[WHICH]);
}

/// Goal: rows by type, by correlation, by a filter that also fails, and of nothing at all are those of a naive selection;
/// queries that wait for a token of events that nobody wants have their answers; over restarts, live and by replay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_of_the_wanted_events_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    let ids = ["t0", "t1", "t2", "t3", "t4"];
    let (mut notes, mut conversations) = (vec![Vec::new(); 5], vec![Vec::new(); 5]);
    for _ in 0..3 {
        let engine = open_with(folder.path(), config(), topology()).await;
        for _ in 0..25 {
            let at = random.below(5) as usize;
            let (is_note, is_told) = (random.below(2) == 0, random.below(3) == 0);
            let ask = if is_note {
                Ask::Note("a note".to_owned())
            } else {
                Ask::Add(1)
            };
            let metadata = Metadata {
                correlation: is_told.then_some(CONVERSATION),
                ..Metadata::default()
            };
            let options = CommandOptions {
                metadata: Some(Box::new(metadata)),
                ..CommandOptions::default()
            };
            engine
                .send_with::<Tally>(ids[at], ask, options)
                .await
                .unwrap();
            notes[at].push(is_note);
            conversations[at].push(is_told);
        }
        for ((id, notes), conversations) in ids.iter().zip(&notes).zip(&conversations) {
            let of = |which| expected(which, id, notes, conversations);
            check::<TYPE>(&engine, id, &of(TYPE)).await;
            check::<CORRELATION>(&engine, id, &of(CORRELATION)).await;
            check::<FILTER>(&engine, id, &of(FILTER)).await;
            check::<NOTHING>(&engine, id, &of(NOTHING)).await;
        }
        for name in [TYPE, CORRELATION, NOTHING] {
            let letters = engine.state().dead_letters(None, None, usize::MAX).unwrap();
            let failed = letters
                .iter()
                .filter(|letter| *letter.stage == *NAMES[name]);
            assert_eq!(failed.count(), 0, "{letters:?}");
        }
        let verified = engine.verify(Chosen::<TYPE>).await.unwrap();
        assert!(verified.is_good(), "{verified:?}");
        close(engine).await;
    }
}
