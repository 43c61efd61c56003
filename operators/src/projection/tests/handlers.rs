//! Projections that are put together: what the parts do is done as a whole, one by one and in batches.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::failing::{Classed, Failure};
use crate::projection::{
    Handler, HandlerError, Outbox, OutboxMut, ProjectedEvent, Projection, Reads, Rows, Table,
    TableMut, TableSet, project, same_in_batches,
};
use millstream_engine::codec::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Money {
    payer: String,
    cents: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Happened {
    Paid(Money),
    Refunded(Money),
    Seen,
}

impl Event for Happened {}

impl Happened {
    fn paid(&self) -> Option<&Money> {
        match self {
            Self::Paid(money) => Some(money),
            _ => None,
        }
    }

    fn refunded(&self) -> Option<&Money> {
        match self {
            Self::Refunded(money) => Some(money),
            _ => None,
        }
    }
}

const EVENTS: Table<String, u64> = Table::named("events");
const LARGE: Table<String, u64> = Table::named("large");
const PAID: Table<String, i64> = Table::named("paid");
const REFUNDED: Table<String, i64> = Table::named("refunded");
const NOTICES: Outbox<Money> = Outbox::named("notices");

/// Counts events by stream, whatever they are.
struct Count(Table<String, u64>);

impl<E: 'static> Handler<E> for Count {
    type Tables = Table<String, u64>;
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        self.0
    }

    fn handle(
        &self,
        event: &ProjectedEvent<'_, E>,
        counts: &mut TableMut<String, u64>,
    ) -> Result<(), Self::Error> {
        counts.update(&event.id.to_owned(), |count| *count += 1);
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0} cents are unlucky")]
struct Unlucky(i64);

/// Adds up by payer; some amounts it does not take, after it has changed its row.
struct Sum(Table<String, i64>);

impl Handler<Money> for Sum {
    type Tables = (Table<String, i64>,);
    type Error = Unlucky;

    fn tables(&self) -> Self::Tables {
        (self.0,)
    }

    fn handle(
        &self,
        money: &ProjectedEvent<'_, Money>,
        (sums,): &mut (TableMut<String, i64>,),
    ) -> Result<(), Unlucky> {
        let Money { payer, cents } = money.payload;
        sums.update(payer, |sum| *sum += cents);
        if cents % 13 == 0 {
            return Err(Unlucky(*cents));
        }
        Ok(())
    }

    fn handle_batch(
        &self,
        events: &[ProjectedEvent<'_, Money>],
        (sums,): &mut (TableMut<String, i64>,),
    ) -> Result<(), Unlucky> {
        assert!(!events.is_empty());
        let mut added = BTreeMap::<&str, i64>::new();
        for event in events {
            if event.payload.cents % 13 == 0 {
                return Err(Unlucky(event.payload.cents));
            }
            *added.entry(&event.payload.payer).or_default() += event.payload.cents;
        }
        for (payer, cents) in added {
            sums.update(&payer.to_owned(), |sum| *sum += cents);
        }
        Ok(())
    }
}

struct Notices;

impl Handler<Money> for Notices {
    type Tables = Outbox<Money>;
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        NOTICES
    }

    fn handle(
        &self,
        money: &ProjectedEvent<'_, Money>,
        notices: &mut OutboxMut<Money>,
    ) -> Result<(), Self::Error> {
        notices.send(money.payload.clone());
        Ok(())
    }
}

type Sums = ((Table<String, i64>,), (Table<String, i64>,));
type Counts = (Table<String, u64>, Table<String, u64>);

/// Counts, then sums in a tuple of their own; so what fails comes behind what has changed.
fn parts() -> impl Handler<Happened, Tables = (Counts, Sums), Error = HandlerError> {
    let is_large = |event: &ProjectedEvent<'_, Happened>| {
        let money = event.payload.paid().or(event.payload.refunded());
        money.is_some_and(|money| money.cents >= 50)
    };
    let counts = (Count(EVENTS), Count(LARGE).only(is_large));
    let sums = (
        Sum(PAID).of(Happened::paid),
        Sum(REFUNDED).of(Happened::refunded),
    );
    (counts, sums)
}

macro_rules! projection {
    ($name:ident, $parts:expr, $tables:ty, $batch:literal) => {
        struct $name;

        impl Projection for $name {
            const NAME: &'static str = stringify!($name);
            const VERSION: u32 = 1;
            const ROWS: Rows = Rows::Global;
            const CATEGORY: &'static str = "payment";
            const BATCH: usize = $batch;
            type Event = Happened;
            type Tables = $tables;
            type Error = HandlerError;

            fn tables(&self) -> Self::Tables {
                Handler::<Happened>::tables(&$parts)
            }

            fn project(
                &self,
                event: &ProjectedEvent<'_, Happened>,
                tables: &mut <Self::Tables as TableSet>::Writers,
            ) -> Result<(), HandlerError> {
                $parts.handle(event, tables)
            }

            fn project_batch(
                &self,
                events: &[ProjectedEvent<'_, Happened>],
                tables: &mut <Self::Tables as TableSet>::Writers,
            ) -> Result<(), HandlerError> {
                $parts.handle_batch(events, tables)
            }
        }
    };
}

projection!(Whole, parts(), (Counts, Sums), 16);
projection!(
    Telling,
    (Notices.of(Happened::paid), (Sum(PAID).of(Happened::paid),)),
    (Outbox<Money>, ((Table<String, i64>,),)),
    1
);

projection!(Doubled, (Count(EVENTS), Count(EVENTS)), Counts, 1);

#[test]
fn tables_of_parts_are_in_their_order() {
    assert_eq!(
        Whole.tables().names(),
        ["events", "large", "paid", "refunded"]
    );
    assert_eq!(Telling.tables().names(), ["paid"]);
    assert_eq!(Telling.tables().outboxes().len(), 1);
}

/// Looks into the counts of [`Whole`].
struct Looking;

impl Handler<Money> for Looking {
    type Tables = Table<String, i64>;
    type Error = std::convert::Infallible;

    fn tables(&self) -> Self::Tables {
        PAID
    }

    fn reads(&self) -> Reads {
        Reads::none().table(Whole, &EVENTS)
    }

    fn handle(
        &self,
        _: &ProjectedEvent<'_, Money>,
        _: &mut TableMut<String, i64>,
    ) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// Each table once, however many parts read it.
#[test]
fn what_parts_read_the_whole_reads() {
    let parts = (Sum(REFUNDED), (Looking.only(|_| true), Looking));
    assert_eq!(parts.reads().all().count(), 1);
    let parts = (Looking.of(Happened::paid), Count(EVENTS));
    assert_eq!(Handler::<Happened>::reads(&parts).all().count(), 1);
    assert!(Handler::<Happened>::reads(&Count(EVENTS)).is_empty());
}

/// What an error says, and its class, are those of the part that failed.
#[test]
fn an_error_of_a_part_keeps_its_causes_and_class() {
    #[derive(Debug, thiserror::Error)]
    #[error("the rate is missing")]
    struct Missing(#[source] Unlucky);
    let tables = ((Count(EVENTS),), Sum(PAID));
    let classed = Classed::new("rates", Missing(Unlucky(13)));
    let tables = Handler::<Money>::tables(&tables);
    let error = HandlerError::of(&tables, HandlerError::of(&tables.1, classed));
    assert_eq!(error.tables(), ["paid"]);
    let failure = Failure::of(error);
    assert_eq!(failure.class(), "rates");
    assert_eq!(
        failure.causes(),
        [
            "what keeps paid failed: the rate is missing",
            "the rate is missing",
            "13 cents are unlucky"
        ]
    );
}

#[test]
#[should_panic(expected = "has \"events\" twice")]
fn two_parts_with_one_table_are_refused() {
    drop(project(Doubled));
}

/// The second part fails, so the first has done nothing.
#[test]
fn a_part_that_fails_undoes_all_and_is_named() {
    let money = |cents| Money {
        payer: "ann".into(),
        cents,
    };
    project(Whole)
        .events("1", [Happened::Paid(money(60))])
        .failing("1", Happened::Refunded(money(65)), "65 cents are unlucky")
        .failing(
            "1",
            Happened::Refunded(money(65)),
            "what keeps refunded failed: 65",
        )
        .then_rows(&EVENTS, [("1", 1)])
        .then_rows(&LARGE, [("1", 1)])
        .then_rows(&PAID, [("ann", 60)])
        .then_rows(&REFUNDED, [] as [(&str, i64); 0]);
    project(Telling)
        .failing("1", Happened::Paid(money(13)), "13 cents are unlucky")
        .events("1", [Happened::Seen, Happened::Paid(money(7))])
        .then_sent(&NOTICES, [("1", money(7))]);
}

fn happened() -> impl Strategy<Value = (String, Happened)> {
    let money = ("[ab]", 1i64..100).prop_map(|(payer, cents)| Money { payer, cents });
    let event = prop_oneof![
        money.clone().prop_map(Happened::Paid),
        money.prop_map(Happened::Refunded),
        Just(Happened::Seen),
    ];
    ("[1-4]", event)
}

/// Adds to a row, as all of these tables do.
fn add<V: std::ops::AddAssign + Default>(rows: &mut BTreeMap<String, V>, key: &str, value: V) {
    *rows.entry(key.to_owned()).or_default() += value;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The rows are those of a model that knows nothing of parts, and the same however events are cut.
    #[test]
    fn the_whole_does_what_its_parts_do(events in prop::collection::vec(happened(), 0..60)) {
        let mut whole = project(Whole);
        let (mut counts, mut large) = (BTreeMap::new(), BTreeMap::new());
        let (mut paid, mut refunded) = (BTreeMap::new(), BTreeMap::new());
        for (id, event) in &events {
            let money = event.paid().or(event.refunded());
            if money.is_some_and(|money| money.cents % 13 == 0) {
                whole = whole.failing(id, event.clone(), "unlucky");
                continue;
            }
            whole = whole.events(id, [event.clone()]);
            add(&mut counts, id, 1);
            if let Some(money) = money {
                let sums = if event.paid().is_some() { &mut paid } else { &mut refunded };
                add(sums, &money.payer, money.cents);
                if money.cents >= 50 {
                    add(&mut large, id, 1);
                }
            }
        }
        whole
            .then_rows(&EVENTS, counts)
            .then_rows(&LARGE, large)
            .then_rows(&PAID, paid)
            .then_rows(&REFUNDED, refunded);
        same_in_batches(|| Whole, events.iter().map(|(id, event)| (id.as_str(), event.clone())));
    }
}
