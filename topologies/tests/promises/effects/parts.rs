//! A projection of parts in tuples of tuples is stored, restarted, verified and asked about the past as any other: each part
//! finds its own tables and what lies beside them again, and its own outbox.

use std::collections::BTreeMap;

use super::*;
use crate::failing_events::letters;

const BY_SUM: Index<String, SumRow, i64> = Index::named("by-sum", |_, row: &SumRow| Some(row.sum));
const PLAIN: Table<String, SumRow> = Table::named("plain");
const KEPT: Table<String, SumRow> = Table::named("kept").versioned(Retention::FOREVER);
const INDEXED: Table<String, SumRow> = Table::named("indexed").indexed(&[&BY_SUM]);
const NEWS: Outbox<String> = Outbox::named("news").from_start();

/// A row per tally in one of the tables.
struct Rowed(Table<String, SumRow>);

impl Handler<Happened> for Rowed {
    type Tables = Table<String, SumRow>;
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        self.0
    }

    fn handle(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        rows: &mut TableMut<String, SumRow>,
    ) -> Result<(), Self::Error> {
        rows.update(&event.id.to_owned(), |row| row.add(event.payload));
        Ok(())
    }
}

/// Tells of what was added. The last part, so that what it fails on was in all tables.
struct News;

impl Handler<i64> for News {
    type Tables = (Outbox<String>,);
    type Error = Unwritten;

    fn tables(&self) -> Self::Tables {
        (NEWS,)
    }

    fn handle(
        &self,
        added: &ProjectedEvent<'_, i64>,
        (news,): &mut (OutboxMut<String>,),
    ) -> Result<(), Unwritten> {
        news.send(mail(added.id, added.version, *added.payload, 0));
        (*added.payload != FAILS).then_some(()).ok_or(Unwritten)
    }
}

type Tables = (
    (Table<String, SumRow>, (Table<String, SumRow>,)),
    (Table<String, SumRow>, (Outbox<String>,)),
);

/// How much was added.
fn added(event: &Happened) -> Option<&i64> {
    match event {
        Happened::Added { by } => Some(by),
        _ => None,
    }
}

struct Whole;

impl Whole {
    fn parts() -> impl Handler<Happened, Tables = Tables, Error = HandlerError> {
        (
            (Rowed(PLAIN), (Rowed(KEPT),)),
            (Rowed(INDEXED), News.of(added)),
        )
    }
}

impl Projection for Whole {
    const NAME: &'static str = "whole";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = "tally";
    type Event = Happened;
    type Tables = Tables;
    type Error = HandlerError;

    fn tables(&self) -> Tables {
        Self::parts().tables()
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        tables: &mut <Tables as TableSet>::Writers,
    ) -> Result<(), HandlerError> {
        Self::parts().handle(event, tables)
    }
}

/// Makes a handler a projection by itself, whose only table or outbox is that of the handler.
macro_rules! alone {
    ($projection:ident: $name:literal, $handler:expr => $tables:ty) => {
        struct $projection;

        impl Projection for $projection {
            const NAME: &'static str = $name;
            const VERSION: u32 = 1;
            const ROWS: Rows = Rows::ByPartition;
            const CATEGORY: &'static str = "tally";
            type Event = Happened;
            type Tables = $tables;
            type Error = std::convert::Infallible;

            fn tables(&self) -> $tables {
                Handler::<Happened>::tables(&$handler)
            }

            fn project(
                &self,
                event: &ProjectedEvent<'_, Happened>,
                tables: &mut <$tables as TableSet>::Writers,
            ) -> Result<(), Self::Error> {
                $handler.handle(event, tables)
            }
        }
    };
}

const ALONE: Table<String, SumRow> = Table::named("alone");
const BY_ITSELF: Outbox<String> = Outbox::named("by-itself").from_start();

/// Tells of all events.
struct Told;

impl Handler<Happened> for Told {
    type Tables = Outbox<String>;
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        BY_ITSELF
    }

    fn handle(
        &self,
        event: &ProjectedEvent<'_, Happened>,
        told: &mut OutboxMut<String>,
    ) -> Result<(), Self::Error> {
        told.send(format!("{}.{}", event.id, event.version));
        Ok(())
    }
}

alone!(OneTable: "one-table", Rowed(ALONE) => Table<String, SumRow>);
alone!(OneOutbox: "one-outbox", Told => Outbox<String>);

async fn start(folder: &Path, outside: &Outside, others: &Outside) -> Engine {
    let topology = Topology::named("whole")
        .aggregate::<Tally>()
        .projection(Whole)
        .deliver_with(&NEWS, quick(), outside.deliver())
        .projection(OneTable)
        .projection(OneOutbox)
        .deliver_with(&BY_ITSELF, quick(), others.deliver());
    open_with(folder, config(), topology.build().unwrap()).await
}

type Sums = BTreeMap<String, SumRow>;

/// All tables have these rows, the index finds them, and a replay makes them.
async fn check(engine: &Engine, rows: &Sums) {
    let everything = engine.durable();
    let snapshot = within(
        engine
            .snapshot::<Whole>()
            .at_least(&everything)
            .deadline(PATIENCE)
            .open(),
    );
    let snapshot = snapshot.await.unwrap();
    for table in [PLAIN, KEPT, INDEXED] {
        let found: Sums = snapshot
            .table(&table)
            .unwrap()
            .scan()
            .all()
            .unwrap()
            .into_iter()
            .collect();
        assert_eq!(found, *rows, "{}", table.name());
    }
    let indexed = engine
        .query(&INDEXED)
        .at_least(&everything)
        .deadline(PATIENCE)
        .ready();
    let indexed = within(indexed).await.unwrap();
    for (id, row) in rows {
        let found = indexed.by(&BY_SUM, &row.sum).unwrap().all().unwrap();
        assert!(found.iter().any(|(own, _)| own == id));
    }
    let verified = within(engine.verify(Whole)).await.unwrap();
    assert_eq!(verified.tables.len(), 3);
    assert!(verified.is_good(), "{verified:?}");
    let alone = engine
        .query(&ALONE)
        .at_least(&everything)
        .deadline(PATIENCE)
        .rows();
    let alone: Sums = within(alone).await.unwrap().into_iter().collect();
    let seen = alone.iter().filter(|(id, _)| *id != "d");
    assert!(seen.eq(rows.iter()), "{alone:?}");
    let verified = within(engine.verify(OneTable)).await.unwrap();
    assert!(verified.is_good() && verified.tables.len() == 1);
}

#[tokio::test]
async fn parts_find_their_tables_and_outboxes_again() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), Outside::default());
    let others = Outside::default();
    let (mut rows, mut news) = (Sums::new(), BTreeMap::<String, Vec<String>>::new());
    let mut past = None;
    for round in 0..3 {
        let engine = start(folder.path(), &outside, &others).await;
        check(&engine, &rows).await;
        for id in ["a", "b", "c"] {
            let by = round + 1;
            let ack = engine.send::<Tally>(id, Ask::Add(by)).await.unwrap();
            let row = rows.entry(id.to_owned()).or_default();
            (row.sum, row.events) = (row.sum + by, row.events + 1);
            let mail = mail(id, ack.version.unwrap(), by, 0);
            news.entry(id.to_owned()).or_default().push(mail);
        }
        past.get_or_insert((engine.durable(), rows.clone()));
        check(&engine, &rows).await;
        close(engine).await;
    }
    let engine = start(folder.path(), &outside, &others).await;
    let count = news.values().map(Vec::len).sum::<usize>();
    outside
        .until(|outside| outside.taken().len() == count)
        .await;
    assert_eq!(outside.mails(), news);
    others.until(|others| others.taken().len() == count).await;
    let told = others.mails().into_values().map(|own| own.len());
    assert!(told.eq([3, 3, 3]));
    let (then, were) = past.unwrap();
    let kept = within(engine.table_at(&KEPT, &then).from_versions().open())
        .await
        .unwrap();
    assert_eq!(
        kept.scan().all().unwrap().into_iter().collect::<Sums>(),
        were
    );

    // What the last part fails on is in no table, and its letter says whose tables the part has.
    engine.send::<Tally>("d", Ask::Add(FAILS)).await.unwrap();
    until("it is parked", || !letters(&engine).is_empty()).await;
    let letter = letters(&engine).remove(0);
    assert_eq!(
        letter.cause,
        [format!("what keeps news failed: {Unwritten}")]
    );
    check(&engine, &rows).await;
    close(engine).await;
}
