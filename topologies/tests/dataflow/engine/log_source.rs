//! The log as a source: everything once, from where it was asked, to where it was asked.

use std::sync::Arc;
use std::time::Duration;

use millstream::dataflow::{
    Collected, Dataflow, DataflowStatus, Driver, Flow, LogFrom, LogPlan, Origin, SourceBuilder,
    Stream,
};
use millstream::prelude::*;
use millstream_engine::event::{Offset, PartitionId};
use millstream_engine::flow::{Ascending, Operator, Pulled, Resources, Source, Wiring};
use millstream_engine::mailbox::{Mailbox, MailboxLimits};
use millstream_engine::time::{Clock, ManualClock};
use millstream_operators::function::count;
use millstream_operators::source::{LogAccess, LogSource, LogSplit, PayloadOnly, Unreadable};
use millstream_operators::window::{Tumbling, Windowed};

use super::support::*;

fn empty() -> Topology {
    Topology::named("log").build().unwrap()
}

/// Steps a dataflow over the engine's log until nothing is left to do.
fn drive<T>(engine: &Engine, declare: impl FnOnce(&Flow) -> T) -> (Driver, T) {
    let mut given = None;
    let flow = Dataflow::build_with("read", options(), |flow| given = Some(declare(flow)));
    let mut driver = Driver::with(flow.unwrap(), 7, engine.resources()).unwrap();
    driver.run().unwrap();
    (driver, given.unwrap())
}

fn sorted(collected: &Collected<Sale>) -> Vec<u64> {
    let mut cents: Vec<_> = collected
        .take_items()
        .iter()
        .map(|sale| sale.cents)
        .collect();
    cents.sort_unstable();
    cents
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_of_a_category_comes_once_and_others_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), empty()).await;
    append(&engine, &sales(50)).await;
    append_to(&engine, "other-1", sale("gold", 1_000)).await;
    let (mut driver, read) = drive(&engine, |flow| {
        let sales = flow.events::<Sale>().category("sale");
        sales.stream().collect()
    });
    assert_eq!(sorted(&read), (1..=50).collect::<Vec<_>>());
    assert!(!driver.is_ended());
    // What is appended later comes as well.
    append(&engine, &[sale("tea", 99)]).await;
    append_to(&engine, "other-2", sale("gold", 1_000)).await;
    driver.run().unwrap();
    assert_eq!(sorted(&read), [99]);
    drop(driver);
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_to_the_durable_end_ends_there() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), empty()).await;
    append(&engine, &sales(30)).await;
    let mut given = None;
    let flow = Dataflow::build_with("read", options(), |flow| {
        let sales = flow.events::<Sale>().all_categories().until_durable_end();
        given = Some(sales.stream().collect());
    });
    let mut driver = Driver::with(flow.unwrap(), 1, engine.resources()).unwrap();
    // After the start, so it is not part of the read.
    append(&engine, &sales(10)).await;
    driver.run().unwrap();
    assert!(driver.is_ended());
    assert_eq!(sorted(&given.unwrap()), (1..=30).collect::<Vec<_>>());
    drop(driver);
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_begins_behind_a_token_or_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), empty()).await;
    append(&engine, &sales(20)).await;
    let token = engine.durable();
    append(&engine, &[sale("tea", 71), sale("tea", 72)]).await;
    let from = |from: LogFrom| {
        let read = drive(&engine, |flow| {
            let sales = flow.events::<Sale>().category("sale").from(from);
            sales.stream().collect()
        });
        sorted(&read.1)
    };
    assert_eq!(from(token.into()), [71, 72]);
    assert_eq!(from(LogFrom::End), [0; 0]);
    assert_eq!(from(Token::default().into()).len(), 22);
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_records_are_what_the_log_holds() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), empty()).await;
    append(&engine, &sales(25)).await;
    let (_driver, read) = drive(&engine, |flow| {
        let records = flow.records::<Sale>().category("sale").until_durable_end();
        records.stream().collect()
    });
    let mut found = read.take();
    assert!(
        found
            .iter()
            .all(|(time, record)| *time == record.recorded_at)
    );
    found.sort_by_key(|(_, record)| (record.stream.clone(), record.version));
    let mut expected = Vec::new();
    for number in 0..10 {
        let name = stream(&format!("sale-{number}"));
        expected.extend(engine.events::<Sale>(&name, 0, 100).unwrap());
    }
    let found: Vec<_> = found.into_iter().map(|(_, record)| record).collect();
    assert_eq!(found, expected);
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_close_by_the_time_of_recording_and_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), empty()).await;
    append(&engine, &sales(40)).await;
    let (driver, counted) = drive(&engine, |flow| {
        let sales = flow.events::<Sale>().category("sale").until_durable_end();
        let days = Tumbling::of(Duration::from_secs(1));
        let counted = sales.stream().key_by(|sale: &Sale| sale.product.clone());
        counted.window(days).aggregate(count()).collect()
    });
    assert!(driver.is_ended());
    let counts = counted.take_items();
    // None is late, however the partitions were read.
    assert_eq!(counts.iter().map(|window| window.value).sum::<u64>(), 40);
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_read_is_named_or_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), empty()).await;
    append(&engine, &sales(5)).await;
    append_to(&engine, "sale-odd", Other { weight: 3 }).await;
    let mut given = None;
    let flow = Dataflow::build_with("read", options(), |flow| {
        let sales = flow.events::<Sale>().category("sale");
        given = Some(sales.stream().collect());
    });
    let mut driver = Driver::with(flow.unwrap(), 7, engine.resources()).unwrap();
    let failure = driver.run().unwrap_err();
    let partition = stream("sale-odd").partition(engine.partitions());
    let place = format!("event {partition}:");
    assert!(failure.cause.starts_with(&place), "{failure}");
    assert!(
        failure.cause.contains("sale-odd, cannot be read"),
        "{failure}"
    );
    let (_driver, read) = drive(&engine, |flow| {
        let sales = flow.events::<Sale>().category("sale").skip_unreadable();
        sales.stream().collect()
    });
    assert_eq!(sorted(&read), [1, 2, 3, 4, 5]);
    close(engine).await;
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Other {
    weight: u64,
}

impl Event for Other {}

#[test]
fn without_an_engine_there_is_no_log() {
    let flow = Dataflow::build("read", |flow| {
        let sales = flow.events::<Sale>().category("sale");
        sales.stream().for_each(|_, _| {});
    });
    let error = Driver::with(flow.unwrap(), 0, Resources::new()).unwrap_err();
    assert!(error.to_string().contains("there is no log"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finite_read_inside_an_engine_ends_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), empty()).await;
    append(&engine, &sales(10)).await;
    close(engine).await;
    let mut given = None;
    let topology = Topology::named("log").dataflow_with("read", options(), |flow| {
        let sales = flow.events::<Sale>().category("sale").until_durable_end();
        given = Some(sales.stream().collect());
    });
    let engine = open(folder.path(), topology.build().unwrap()).await;
    let read = engine.dataflow("read");
    within(read.wait()).await.unwrap();
    assert_eq!(read.status(), DataflowStatus::Ended);
    assert_eq!(sorted(&given.unwrap()).len(), 10);
    close(engine).await;
}

/// Windows of a second over events of one stream, so that two partitions of the log are silent; how many have closed
/// six seconds later.
async fn closed_beside_silence(source: impl Fn(SourceBuilder<LogPlan<Sale>>) -> Counted) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), empty()).await;
    for number in 0..20 {
        append_to(&engine, "sale-0", sale("tea", number)).await;
    }
    let (mut driver, counted) = drive(&engine, |flow| {
        source(flow.events::<Sale>().category("sale"))
    });
    assert!(counted.is_empty(), "partitions are waited for");
    driver.advance(Duration::from_secs(6)).unwrap();
    drop(driver);
    close(engine).await;
    counted.len()
}

type Counted = Collected<Windowed<(), u64>>;

fn count_each<P: Origin, O: Operator<P::Item, Out = Sale> + Clone>(sales: Stream<P, O>) -> Counted {
    let window = Tumbling::of(Duration::from_micros(1));
    sales
        .key_by(|_: &Sale| ())
        .window(window)
        .aggregate(count())
        .collect()
}

/// That a silent partition has nothing from the past is known of times of recording, and of no others.
#[tokio::test(flavor = "multi_thread")]
async fn silent_partitions_are_waited_for_where_events_have_times_of_their_own() {
    let recorded = closed_beside_silence(|source| count_each(source.stream()));
    assert!(recorded.await > 0);
    let own = closed_beside_silence(|source| {
        count_each(source.event_times().watermarks(Ascending::new()).stream())
    });
    assert_eq!(own.await, 0);
    let stamped = closed_beside_silence(|source| {
        let stamped = source.timestamps(|sale| Timestamp::from_seconds(sale.cents as i64));
        count_each(stamped.watermarks(Ascending::new()).stream())
    });
    assert_eq!(stamped.await, 0);
    let said = closed_beside_silence(|source| {
        let said = source.idle_after(Duration::from_secs(1)).event_times();
        count_each(said.watermarks(Ascending::new()).stream())
    });
    assert!(said.await > 0);
    let never = closed_beside_silence(|source| count_each(source.never_idle().stream()));
    assert_eq!(never.await, 0);
}

/// Whatever else is in the log, a pull ends after a while, and the next one goes on.
#[tokio::test(flavor = "multi_thread")]
async fn frames_of_other_categories_are_passed_over_in_several_pulls() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), empty()).await;
    for number in 0..200 {
        append_to(&engine, "other-1", sale("gold", number)).await;
    }
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let wiring = Wiring {
        stage: "read".into(),
        identity: "read".into(),
        partition: 0,
        partitions: 1,
        mailbox: Mailbox::new(MailboxLimits::default(), Arc::clone(&clock)),
        clock: Arc::clone(&clock),
        resources: Arc::new(engine.resources()),
        checkpoints: None,
    };
    let mut pulls_max = 0;
    for partition in 0..3 {
        let split = LogSplit {
            partition: PartitionId(partition),
            from: Offset(0),
            until: None,
            categories: Some(["sale".to_owned()].into()),
            unreadable: Unreadable::Fail,
            event_times: false,
            own_watermark: true,
        };
        let access = wiring.resources.get::<LogAccess>().unwrap();
        let mut source = LogSource::<Sale, PayloadOnly>::new(access, split, &wiring);
        let limits = options().mailbox;
        source
            .open(&Mailbox::new(limits, Arc::clone(&clock)))
            .unwrap();
        let mut pulls = 1;
        let mut out = |_: Timestamp, sale: Sale| panic!("{sale:?}");
        while source.pull(10, &mut out).unwrap() == Pulled::More {
            pulls += 1;
        }
        pulls_max = pulls_max.max(pulls);
    }
    assert!(pulls_max > 2, "{pulls_max}");
    close(engine).await;
}
