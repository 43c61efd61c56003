//! Tries that have no bound, of a dataflow of an engine whose input has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use millstream::prelude::*;
use millstream_operators::failing::ItemPolicy;

use super::failing::until;
use super::support::*;

/// Goal: a shutdown waits for none of them; the next start goes on with them, and comes to the end once. Method: an item of
/// thirteen fails until that is mended, behind an exchange, whose source has long ended.
///
/// Story: the shutdown waited for the last of them, until it gave the dataflow up.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_tried_at_the_end_is_left_to_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let (tries, is_mended) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let topology = || {
        let (tries, is_mended) = (Arc::clone(&tries), Arc::clone(&is_mended));
        let policy = ItemPolicy::skip().attempts(u32::MAX, Duration::from_secs(3_600));
        let topology = Topology::named("shop").dataflow_with("sums", options(), move |flow| {
            let function = move |sale: &Sale| {
                tries.fetch_add(1, Ordering::Relaxed);
                let is_good = sale.cents != 13 || is_mended.load(Ordering::Relaxed);
                is_good.then(|| sale.clone()).ok_or("thirteen")
            };
            let events = flow.events::<Sale>().category("sale");
            let events = events.until_durable_end().stream();
            events
                .key_by(|sale: &Sale| sale.product.clone())
                .named("tried")
                .try_map(policy, function)
                .to_table(&TURNOVER, |sold| (sold.product, Some(sold.cents)));
        });
        topology.build().unwrap()
    };
    let engine = open(folder.path(), Topology::named("shop").build().unwrap()).await;
    append_to(&engine, "sale-0", sale("milk", 13)).await;
    append_to(&engine, "sale-0", sale("tea", 5)).await;
    close(engine).await;

    let row = async |engine: &Engine, product: &str| {
        let product = product.to_owned();
        engine.query(&TURNOVER).get(&product).await.unwrap()
    };
    let engine = open(folder.path(), topology()).await;
    until(|| tries.load(Ordering::Relaxed) > 5_000).await;
    close(engine).await;
    is_mended.store(true, Ordering::Relaxed);
    let engine = open(folder.path(), topology()).await;
    within(engine.dataflow("sums").wait()).await.unwrap();
    assert_eq!(row(&engine, "milk").await, Some(13));
    assert_eq!(row(&engine, "tea").await, Some(5));
    close(engine).await;

    let tried = tries.load(Ordering::Relaxed);
    let engine = open(folder.path(), topology()).await;
    within(engine.dataflow("sums").wait()).await.unwrap();
    assert_eq!(tries.load(Ordering::Relaxed), tried);
    close(engine).await;
}
