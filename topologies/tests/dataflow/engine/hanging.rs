//! Code of the program's own that does not come back: its dataflow begins again without it, others go on, and whenever it
//! comes back it does nothing more.
//!
//! Time is the test's own: it goes on a little at each look, and by more than a stage may take where that is the point.

mod hang;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream::dataflow::{DataflowStatus, FlowOptions};
use millstream::prelude::*;
use millstream::{StallPolicy, WatchdogConfig};
use millstream_engine::time::{ManualClock, Timestamp};
use millstream_operators::function::count;
use millstream_operators::keyed::Ttl;

use self::hang::{Hang, Held, Shown};
use super::support::*;

/// Longer than a stage may go without a step.
const TOO_LONG: Duration = Duration::from_secs(31);
/// Cents of the sale at which code hangs.
const UNLUCKY: u64 = 13;
/// All that is sold; each has other cents, from 1.
const SALES: u64 = 40;
/// Sales seen by the dataflow beside the one that hangs.
const OTHER: Table<String, u64> = Table::named("other");
const COUNTS: Table<String, u64> = Table::named("counts");
const SHOWN: Table<u64, Shown> = Table::named("shown");

type Received = Arc<Mutex<Vec<Sale>>>;

/// One dataflow that hangs, with sinks of several kinds, and one that does not.
fn topology(hang: &Arc<Hang>, received: &Received, token: &Arc<AtomicBool>) -> Topology {
    let options = checkpointed(10);
    let at = |place: &'static str| {
        let (hang, token) = (Arc::clone(hang), Arc::clone(token));
        move |sale: &Sale| {
            // Whoever has this closure has the token.
            token.load(Ordering::Relaxed);
            hang.at(place, sale);
        }
    };
    let (early, late, logged) = (at("source"), at("sink"), at("log"));
    let (received, shown) = (Arc::clone(received), Arc::clone(hang));
    let topology = Topology::named("shop").dataflow_with("hangs", options.clone(), move |flow| {
        let sales = flow.events::<Sale>().category("sale").stream();
        let mut copies = sales
            .inspect(move |_, sale| early(sale))
            .share(4)
            .into_iter();
        let keyed = |sale: &Sale| sale.product.clone();
        copies
            .next()
            .unwrap()
            .key_by(keyed)
            .named("counted")
            .aggregate_running(Ttl::Never, count())
            .to_table(&COUNTS, |(product, count)| (product, Some(count)));
        copies
            .next()
            .unwrap()
            .map(move |sale| {
                late(&sale);
                sale
            })
            .deliver(move |delivery| received.lock().unwrap().push(delivery.item));
        copies
            .next()
            .unwrap()
            .key_by(|sale: &Sale| (sale.product.clone(), sale.cents))
            .named("copied")
            .aggregate_running(Ttl::Never, count())
            .to_log_with_checkpoints("copier", move |((product, cents), _)| {
                let sale = sale(&product, cents);
                logged(&sale);
                (stream(&format!("copy-{cents}")), sale)
            });
        copies
            .next()
            .unwrap()
            .key_by(|sale: &Sale| (sale.product.clone(), sale.cents))
            .named("shown")
            .aggregate_running(Ttl::Never, count())
            .to_table(&SHOWN, move |((product, cents), _)| {
                let (sale, hang) = (sale(&product, cents), Some(Arc::clone(&shown)));
                (cents, Some(Shown { sale, hang }))
            });
    });
    let topology = topology.dataflow_with("other", options, |flow| {
        let sales = flow.events::<Sale>().category("sale").stream();
        sales
            .key_by(|sale: &Sale| sale.product.clone())
            .aggregate_running(Ttl::Never, count())
            .to_table(&OTHER, |(product, count)| (product, Some(count)));
    });
    topology.build().unwrap()
}

struct Shop {
    engine: Engine,
    clock: Arc<ManualClock>,
    hang: Arc<Hang>,
    received: Received,
    token: Arc<AtomicBool>,
}

impl Shop {
    async fn open(folder: &Path, hang: &Arc<Hang>, policy: StallPolicy) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
        let (received, token) = (Received::default(), Arc::default());
        let topology = topology(hang, &received, &token);
        let mut config = config();
        config.restart.attempts_max = 2;
        config.restart.backoff_first = Duration::from_millis(1);
        config.watchdog = WatchdogConfig {
            policy,
            ..WatchdogConfig::default()
        };
        let builder = Engine::open(folder).config(config);
        let builder = builder.clock(Arc::<ManualClock>::clone(&clock) as _);
        let engine = builder.run(topology).await.unwrap();
        Self {
            engine,
            clock,
            hang: Arc::clone(hang),
            received,
            token,
        }
    }

    /// Until it holds; time goes on meanwhile.
    async fn until(&self, holds: impl AsyncFn() -> bool) {
        within(async {
            let mut looks = tokio::time::interval(Duration::from_millis(1));
            while !holds().await {
                looks.tick().await;
                self.clock.advance(Duration::from_millis(3));
            }
        })
        .await;
    }

    async fn until_hung(&self, times: usize) {
        self.until(async || self.hang.entered.load(Ordering::SeqCst) == times)
            .await;
    }

    /// Whether a table has all of these sales.
    async fn counts(&self, table: &Table<String, u64>, sold: &[Sale]) -> bool {
        let rows = self.engine.query(table).rows().await.unwrap();
        let mut counts = BTreeMap::<String, u64>::new();
        for sale in sold {
            *counts.entry(sale.product.clone()).or_default() += 1;
        }
        rows.into_iter().collect::<BTreeMap<_, _>>() == counts
    }

    /// After the one has failed the other takes what more there is; what hung comes back at the end.
    async fn other_goes_on(self, before: &[Sale], more: &[Sale]) {
        append(&self.engine, more).await;
        let all = [before, more].concat();
        self.until(async || self.counts(&OTHER, &all).await).await;
        self.hang.release();
        let Self { engine, .. } = self;
        // It says that the dataflow had failed.
        within(engine.shutdown()).await.unwrap_err();
    }

    fn copied(&self) -> Vec<Sale> {
        let mut copied = Vec::new();
        for cents in 1..=SALES {
            let events = self
                .engine
                .events::<Sale>(&stream(&format!("copy-{cents}")), 0, 10_000);
            copied.extend(events.unwrap().into_iter().map(|event| event.payload));
        }
        sorted(copied)
    }

    fn delivered(&self) -> Vec<Sale> {
        sorted(self.received.lock().unwrap().clone())
    }

    /// Until everything is everywhere, once.
    async fn until_all_is_there(&self, sold: &[Sale]) {
        let all = sorted(sold.to_vec());
        self.until(async || {
            let is_counted = self.counts(&COUNTS, sold).await;
            is_counted && self.copied().len() >= all.len() && self.delivered().len() >= all.len()
        })
        .await;
        self.check(sold);
    }

    fn check(&self, sold: &[Sale]) {
        let all = sorted(sold.to_vec());
        assert_eq!(self.copied(), all);
        // Under one id each, so that none is here twice: a checkpoint is complete before anything is given out.
        assert_eq!(self.delivered(), all);
    }
}

fn sorted(mut sales: Vec<Sale>) -> Vec<Sale> {
    sales.sort_by_key(|sale| sale.cents);
    sales
}

/// Whatever stage hangs once: each result is there once, also after what hung has come back; the other dataflow does not wait.
async fn hangs_once(place: &'static str) {
    let folder = tempfile::tempdir().unwrap();
    let hang = Hang::new(place, 1);
    let _held = Held(Arc::clone(&hang));
    let shop = Shop::open(folder.path(), &hang, StallPolicy::Restart).await;
    let all = sales(SALES);
    append(&shop.engine, &all[..20]).await;
    shop.until_hung(1).await;
    append(&shop.engine, &all[20..30]).await;
    shop.until(async || shop.counts(&OTHER, &all[..30]).await)
        .await;
    shop.clock.advance(TOO_LONG);
    shop.until_all_is_there(&all[..30]).await;
    assert_eq!(
        shop.engine.dataflow("hangs").status(),
        DataflowStatus::Running
    );
    // What hung comes back, and is gone: nothing has its closures any more but the run that took its place.
    let held = Arc::strong_count(&shop.token);
    hang.release();
    shop.until(async || Arc::strong_count(&shop.token) < held)
        .await;
    assert_eq!(hang.left.load(Ordering::SeqCst), 1);
    shop.check(&all[..30]);
    append(&shop.engine, &all[30..]).await;
    shop.until_all_is_there(&all).await;
    shop.until(async || shop.counts(&OTHER, &all).await).await;
    let Shop { engine, .. } = shop;
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_source_stage_that_hangs_is_left_behind() {
    hangs_once("source").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_stage_that_hangs_before_its_sink_gives_nothing_out_later() {
    hangs_once("sink").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_stage_that_hangs_before_it_appends_appends_nothing_later() {
    hangs_once("log").await;
}

/// One that always hangs ends, with the first cause, after a bounded number of tries; the engine and the other go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_dataflow_that_hangs_over_and_over_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let hang = Hang::new("sink", usize::MAX);
    let _held = Held(Arc::clone(&hang));
    let shop = Shop::open(folder.path(), &hang, StallPolicy::Restart).await;
    let all = sales(30);
    append(&shop.engine, &all[..20]).await;
    for times in 1..=3 {
        shop.until_hung(times).await;
        shop.clock.advance(TOO_LONG);
    }
    let dataflow = shop.engine.dataflow("hangs");
    shop.until(async || matches!(dataflow.status(), DataflowStatus::Failed(_)))
        .await;
    let DataflowStatus::Failed(failure) = dataflow.status() else {
        unreachable!("it was waited for");
    };
    assert!(failure.stage.starts_with("hangs/"), "{failure}");
    assert_eq!(failure.cause, "a step did not come back within 30s");
    shop.other_goes_on(&all[..20], &all[20..]).await;
}

/// What is behind the fence could still be done beside another run, so there is none: the dataflow has failed, and says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_dataflow_that_hangs_while_it_hands_over_has_failed() {
    let folder = tempfile::tempdir().unwrap();
    let hang = Hang::new("shown", 1);
    let _held = Held(Arc::clone(&hang));
    let shop = Shop::open(folder.path(), &hang, StallPolicy::Restart).await;
    let all = sales(30);
    append(&shop.engine, &all[..20]).await;
    shop.until_hung(1).await;
    shop.clock.advance(TOO_LONG);
    let dataflow = shop.engine.dataflow("hangs");
    shop.until(async || dataflow.status() != DataflowStatus::Running)
        .await;
    let DataflowStatus::Failed(failure) = dataflow.status() else {
        panic!("{:?}", dataflow.status());
    };
    assert!(failure.stage.starts_with("hangs/"), "{failure}");
    let cause = "a step did not come back within 30s, while it handed something over";
    assert!(failure.cause.starts_with(cause), "{failure}");
    shop.other_goes_on(&all[..20], &all[20..]).await;
}

/// Told so, it only reports: what hangs goes on when it comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn one_that_is_only_reported_goes_on_when_it_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let hang = Hang::new("sink", 1);
    let _held = Held(Arc::clone(&hang));
    let shop = Shop::open(folder.path(), &hang, StallPolicy::Report).await;
    let all = sales(20);
    append(&shop.engine, &all).await;
    shop.until_hung(1).await;
    shop.clock.advance(TOO_LONG);
    shop.until(async || shop.counts(&OTHER, &all).await).await;
    hang.release();
    shop.until_all_is_there(&all).await;
    assert_eq!(hang.entered.load(Ordering::SeqCst), 1);
    let Shop { engine, .. } = shop;
    close(engine).await;
}

/// Goal: a dataflow with threads of its own takes none of the engine's, however long what it calls does not return. Method:
/// the engine has one.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn one_with_threads_of_its_own_keeps_nobody_else_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let hang = Hang::new("sink", usize::MAX);
    let _held = Held(Arc::clone(&hang));
    let own = FlowOptions {
        own_threads: std::num::NonZeroUsize::new(2),
        ..options()
    };
    let inner = Arc::clone(&hang);
    let topology = Topology::named("shop")
        .dataflow_with("hangs", own, move |flow| {
            let sales = flow.events::<Sale>().category("sale").stream();
            sales.for_each(move |_, sale| inner.at("sink", &sale));
        })
        .dataflow("other", |flow| {
            let sales = flow.events::<Sale>().category("sale").stream();
            sales
                .key_by(|sale: &Sale| sale.product.clone())
                .aggregate_running(Ttl::Never, count())
                .to_table(&OTHER, |(product, count)| (product, Some(count)));
        });
    let engine = open(folder.path(), topology.build().unwrap()).await;
    let all = sales(SALES);
    append(&engine, &all[..20]).await;
    within(async {
        let mut looks = tokio::time::interval(Duration::from_millis(1));
        while hang.entered.load(Ordering::SeqCst) == 0 {
            looks.tick().await;
        }
        append(&engine, &all[20..]).await;
        while engine
            .query(&OTHER)
            .rows()
            .await
            .unwrap()
            .iter()
            .map(|(_, count)| count)
            .sum::<u64>()
            < SALES
        {
            looks.tick().await;
        }
    })
    .await;
    assert_eq!(hang.left.load(Ordering::SeqCst), 0, "it still hangs");
    hang.release();
    close(engine).await;
}
