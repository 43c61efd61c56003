//! What is asked while an actor begins again in a process that goes on.

use std::convert::Infallible;
use std::fmt;
use std::future::ready;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_engine::codec::Event;
use millstream_engine::event::{Offset, PartitionId, Position, Token};
use millstream_engine::log::frame::Encoding;
use millstream_engine::stage::StageCore;
use millstream_engine::time::{Clock, ManualClock, Timestamp};
use millstream_operators::projection::{
    OpenReads, Owners, ProgressBoard, ProjectedEvent, Projection, ProjectionConfig, QueryError,
    Rows, Table, TableMut, TableReader,
};
use serde::{Deserialize, Serialize};

use crate::support::{Declared, Log, NewEvent, Opening, State, in_memory};

const PARTITIONS: u16 = 2;
const COUNTS: Table<String, u64> = Table::named("counts");

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Counted;

impl Event for Counted {
    const ENCODING: Encoding = Encoding::Json;
}

struct Counts;

impl Projection for Counts {
    const NAME: &'static str = "counts";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::Global;
    const CATEGORY: &'static str = "note";
    type Event = Counted;
    type Tables = (Table<String, u64>,);
    type Error = Infallible;

    fn tables(&self) -> Self::Tables {
        (COUNTS,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Counted>,
        (counts,): &mut (TableMut<String, u64>,),
    ) -> Result<(), Infallible> {
        counts.update(&event.id.to_owned(), |count| *count += 1);
        Ok(())
    }
}

type Look = Box<dyn FnMut() + Send>;

/// A clock of a board: whenever a position is shown somebody looks at it, in the middle of what is done.
struct Watched {
    clock: Arc<ManualClock>,
    look: Mutex<Option<Look>>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.clock).finish()
    }
}

impl Clock for Watched {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn monotonic(&self) -> Duration {
        if let Some(look) = &mut *self.look.lock().unwrap() {
            look();
        }
        self.clock.monotonic()
    }
}

/// An event of a stream of each partition; gives the streams, and what they are all in.
fn append(log: &mut Log) -> (Vec<String>, Token) {
    let mut token = Token::default();
    let streams = log.partitions().map(|partition| {
        let event = |id: &String| NewEvent::of(("note", id), "Counted", &Counted);
        let mut ids = (0..).map(|id: u32| id.to_string());
        ids.find(|id| log.is_in(&event(id), partition)).unwrap()
    });
    let streams: Vec<_> = streams.collect();
    let events = streams.iter();
    let events: Vec<_> = events
        .map(|id| NewEvent::of(("note", id), "Counted", &Counted))
        .collect();
    for (partition, offset) in log.add(&events) {
        token.observe(Position {
            partition: PartitionId(partition),
            offset: Offset(offset),
        });
    }
    (streams, token)
}

/// What of these streams is answered at once to whoever has the token.
fn asked(
    reader: &TableReader<String, u64>,
    streams: &[String],
    token: &Token,
) -> Vec<Option<Result<Option<u64>, QueryError>>> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().build().unwrap();
    let answer = |id: &String| {
        runtime.block_on(async {
            tokio::select! {
                biased;
                answer = reader.at_least(token).get(id.clone()) => Some(answer),
                () = ready(()) => None,
            }
        })
    };
    streams.iter().map(answer).collect()
}

/// Story: rows went back to the stored ones before all positions had, so that a query with a token was answered with the row from
/// before its client's own write. Method: a query at each of the steps of the beginning, in the same thread.
#[test]
fn a_token_holds_while_an_actor_begins_again() {
    let (mut log, state, _steps) = in_memory(PARTITIONS);
    let watched = Arc::new(Watched {
        clock: Arc::clone(&log.clock),
        look: Mutex::default(),
    });
    let clock = Arc::clone(&watched) as Arc<dyn Clock>;
    let board = ProgressBoard::of_log("counts", Arc::clone(&log.feed), clock);
    let (streams, token) = append(&mut log);
    let mut declared = Declared::new(Counts, &state);
    let config = ProjectionConfig {
        store_every_ms: 1_000_000,
        ..ProjectionConfig::default()
    };
    let mut open = |log: &Log, state: &State| {
        let opening = Opening {
            board: Arc::clone(&board),
            config: &config,
            reads: OpenReads::default(),
            owners: Owners::default(),
        };
        declared.open(log, state, opening)
    };
    let mut running = open(&log, &state);
    let reader = running.table(&COUNTS);
    let counts = |found: Vec<Option<Result<Option<u64>, QueryError>>>| {
        let found = found.into_iter();
        found
            .map(|found| found.map(Result::unwrap))
            .collect::<Vec<_>>()
    };
    // Nothing of it is ever stored: no step of the state's writer is taken.
    let apply = |core: &mut dyn StageCore| {
        while board.behind(&token).is_some() {
            core.step();
        }
    };
    apply(&mut running.cores[0]);
    let all = vec![Some(Some(1)); streams.len()];
    assert_eq!(counts(asked(&reader, &streams, &token)), all);
    drop(running);
    let looks = Arc::new(Mutex::new(Vec::new()));
    *watched.look.lock().unwrap() = Some(Box::new({
        let (looks, reader) = (Arc::clone(&looks), reader.clone());
        let (streams, token) = (streams.clone(), token.clone());
        move || {
            looks.lock().unwrap().push(asked(&reader, &streams, &token));
        }
    }));
    let mut running = open(&log, &state);
    watched.look.lock().unwrap().take();
    let looks = std::mem::take(&mut *looks.lock().unwrap());
    assert!(looks.len() >= usize::from(PARTITIONS), "{looks:?}");
    for found in looks {
        assert_eq!(counts(found), vec![None; streams.len()]);
    }
    apply(&mut running.cores[0]);
    assert_eq!(counts(asked(&reader, &streams, &token)), all);
}
