//! Whose tables they are: a projection and a dataflow of one name, and what is stored of outboxes.

use std::convert::Infallible;
use std::time::Duration;

use millstream::prelude::*;

use crate::support::{Visit, config, fill, run};

const ENTERED: Table<String, u64> = Table::named("entered");
const SEEN: Table<u64, u64> = Table::named("seen");
const LETTERS: Outbox<String> = Outbox::named("letters");

/// Counts who entered, and sends a letter each time.
struct Hall;

impl Projection for Hall {
    const NAME: &'static str = "hall";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = "visit";
    type Event = Visit;
    type Tables = (Table<String, u64>, Outbox<String>);
    type Error = Infallible;

    fn tables(&self) -> Self::Tables {
        (ENTERED, LETTERS)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Visit>,
        (entered, letters): &mut (TableMut<String, u64>, OutboxMut<String>),
    ) -> Result<(), Infallible> {
        if let Visit::Entered { room, .. } = event.payload {
            entered.update(room, |count| *count += 1);
            letters.send(room.clone());
        }
        Ok(())
    }
}

/// Goal: all tables of a folder can be asked for, whatever else is stored beside them. Method: letters that nobody takes, and
/// a dataflow that is called as the projection is.
#[tokio::test(flavor = "multi_thread")]
async fn all_tables_of_a_folder_are_there_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let topology = Topology::named("house")
        .projection(Hall)
        .deliver(&LETTERS, |_: Effect<String>| async {
            Err::<(), _>("nobody is at home")
        })
        .dataflow(Hall::NAME, |flow| {
            let visits = flow.events::<Visit>().category("visit").stream();
            visits.map(|_| (1, Some(1))).to_table(&SEEN, |row| row);
        });
    let builder = Engine::open(folder.path()).config(config());
    let engine = builder.run(topology.build().unwrap()).await.unwrap();
    fill(&engine, |_| {}).await;
    let patience = Duration::from_secs(300);
    engine.projected(&engine.durable(), patience).await.unwrap();
    let is_seen = async {
        while engine.query(&SEEN).get(1u64).await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(patience, is_seen).await.unwrap();
    engine.shutdown().await.unwrap();
    drop(engine);
    let ask = |query: &'static str| {
        let path = folder.path().to_path_buf();
        async move {
            let asked = move || run(&path, &[query, "--format", "csv"]);
            let done = tokio::task::spawn_blocking(asked).await.unwrap();
            assert!(done.status.success(), "{done:?}");
            String::from_utf8(done.stdout).unwrap()
        }
    };
    let tables = "select distinct table_schema, table_name from information_schema.columns \
                  where table_schema <> 'information_schema' order by 1, 2";
    assert_eq!(
        ask(tables).await,
        "table_schema,table_name\nhall,entered\nhall,seen\npublic,entered\npublic,events\npublic,seen\npublic,streams\n"
    );
    assert_eq!(ask("select value from seen").await, "value\n1\n");
    let kept = ask("select sum(value) > 0 as kept from hall.entered").await;
    assert_eq!(kept, "kept\ntrue\n");
}
