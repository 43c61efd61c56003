//! Splits that are kept together in event time, over a restart.
//!
//! The story: what the splits had come to was kept from one run to the next. One that began again at the checkpoint was taken to
//! be as far ahead as before, waited for the other one, which had nothing to read any more, and never said where it was.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream::dataflow::{FlowOptions, SourcePlan};
use millstream::prelude::*;
use millstream_engine::checkpoint::CheckpointOptions;
use millstream_engine::flow::{
    Ascending, Emit, Fault, Pulled, SeekError, Source, Wiring, number_position, position_number,
};

use super::support::*;

/// Two splits of seconds. The first gives each second once, the second one again from where it is told to.
#[derive(Clone, Default)]
struct Seconds([Arc<Mutex<Vec<i64>>>; 2]);

impl Seconds {
    fn push(&self, split: usize, second: i64) {
        self.0[split].lock().unwrap().push(second);
    }
}

struct SecondsSplit {
    seconds: Arc<Mutex<Vec<i64>>>,
    number: usize,
    next: usize,
}

impl SourcePlan for Seconds {
    type Source = SecondsSplit;

    fn split_count(&self, _wiring: &Wiring) -> Result<usize, Fault> {
        Ok(2)
    }

    fn split(&self, number: usize, _wiring: &Wiring) -> Result<SecondsSplit, Fault> {
        let seconds = Arc::clone(&self.0[number]);
        Ok(SecondsSplit {
            seconds,
            number,
            next: 0,
        })
    }
}

impl Source for SecondsSplit {
    type Item = (usize, i64);

    fn pull<E: Emit<(usize, i64)>>(
        &mut self,
        items_max: usize,
        out: &mut E,
    ) -> Result<Pulled, Fault> {
        for _ in 0..items_max {
            let second = {
                let mut seconds = self.seconds.lock().unwrap();
                let second = seconds.get(self.next).copied();
                if second.is_some() && self.number == 0 {
                    seconds.remove(self.next);
                }
                second
            };
            let Some(second) = second else {
                return Ok(Pulled::PendingFor(Duration::from_millis(1)));
            };
            self.next += self.number;
            out.emit(Timestamp::from_seconds(second), (self.number, second));
        }
        Ok(Pulled::More)
    }

    fn position(&self) -> Result<Option<Vec<u8>>, Fault> {
        Ok((self.number == 1).then(|| number_position(self.next as u64)))
    }

    fn seek(&mut self, position: &[u8]) -> Result<(), SeekError> {
        self.next = usize::try_from(position_number(position)?).unwrap();
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_knows_nothing_of_how_far_the_one_before_had_read() {
    let folder = tempfile::tempdir().unwrap();
    let (seconds, seen) = (Seconds::default(), Arc::new(Mutex::new(Vec::new())));
    let fails = Arc::new(AtomicBool::new(false));
    let (plan, sees, failing) = (seconds.clone(), Arc::clone(&seen), Arc::clone(&fails));
    let options = FlowOptions {
        checkpoints: Some(CheckpointOptions {
            interval_ms: 3_600_000,
            ..CheckpointOptions::default()
        }),
        ..options()
    };
    let topology = Topology::named("shop").dataflow_with("aligned", options, move |flow| {
        let seconds = flow.source("seconds", plan).watermarks(Ascending::new());
        let seconds = seconds.aligned(Duration::from_secs(10)).partitions(1);
        seconds.stream().for_each(move |_, second| {
            assert!(!failing.swap(false, Ordering::Relaxed), "once");
            sees.lock().unwrap().push(second);
        });
    });
    let engine = open(folder.path(), topology.build().unwrap()).await;
    let until_seen = |wanted: Vec<(usize, i64)>| {
        let seen = Arc::clone(&seen);
        within(async move {
            while wanted != *seen.lock().unwrap() {
                tokio::task::yield_now().await;
            }
            seen.lock().unwrap().clear();
        })
    };
    seconds.push(0, 1);
    until_seen(vec![(0, 1)]).await;
    seconds.push(1, 1);
    until_seen(vec![(1, 1)]).await;
    within(engine.dataflow("aligned").checkpoint())
        .await
        .unwrap();
    seconds.push(0, 100);
    until_seen(vec![(0, 100)]).await;
    seconds.push(1, 100);
    until_seen(vec![(1, 100)]).await;
    fails.store(true, Ordering::Relaxed);
    seconds.push(1, 101);
    // The other split is silent from now on.
    until_seen(vec![(1, 100), (1, 101)]).await;
    close(engine).await;
}
