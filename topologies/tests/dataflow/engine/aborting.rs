//! A dataflow that is aborted while it begins again.
//!
//! The story: an abort that came while the stages of the next run were made was told to the run that had failed already. The next
//! one was only stopped, and waited for whatever it waits for: the abort never came to an end, nor did what called it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use millstream::dataflow::Generate;
use millstream::prelude::*;
use tokio::sync::mpsc::channel;

use super::support::*;

/// Method: the second run's source waits, while it is made, until the abort was asked for; nobody reads what the sink sends.
#[tokio::test(flavor = "multi_thread")]
async fn an_abort_while_a_dataflow_begins_again_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let (tell_made, mut made) = channel(1);
    let (go_on, told_to_go_on) = channel::<()>(1);
    let (full, _unread) = channel(1);
    let (told_to_go_on, asked) = (Mutex::new(told_to_go_on), AtomicUsize::new(0));
    let waits = std::sync::Arc::new(move || {
        if asked.fetch_add(1, Ordering::SeqCst) == 1 {
            tell_made.blocking_send(()).unwrap();
            told_to_go_on.lock().unwrap().blocking_recv();
        }
    });
    let fails = std::sync::Arc::new(AtomicUsize::new(0));
    let topology = Topology::named("shop").dataflow_with("endless", options(), move |flow| {
        let numbers = Generate::each(move |_, _| {
            waits();
            0_u64..
        });
        let numbers = flow.source("numbers", numbers.splits(1).repeatable());
        let numbers = numbers.stream().inspect(move |_, _| {
            assert!(fails.fetch_add(1, Ordering::SeqCst) != 0, "once");
        });
        numbers.rebalance(2).to_channel(full);
    });
    let engine = open(folder.path(), topology.build().unwrap()).await;
    let endless = engine.dataflow("endless");
    within(made.recv()).await.unwrap();
    endless.begin_abort("a test says so");
    go_on.send(()).await.unwrap();
    let failure = within(endless.wait()).await.unwrap_err();
    assert!(failure.cause.contains("once"), "{failure}");
    let _ = within(engine.shutdown()).await;
}
