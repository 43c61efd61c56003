//! What loads measure.

use millstream_engine::time::SystemClock;

use super::*;

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

struct Sleeper(u64);

impl Caller for Sleeper {
    async fn call(&mut self) -> Result<u64> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.0 += 3;
        Ok(3)
    }
}

#[tokio::test]
async fn a_closed_loop_counts_what_ended_in_its_window() {
    // Longer windows where the machine was too busy for a call in one.
    let mut seconds = Duration::from_millis(100);
    let (loaded, callers) = loop {
        let callers = vec![Sleeper(0), Sleeper(0)];
        let (loaded, callers) = closed_loop(&clock(), callers, seconds).await.unwrap();
        if !loaded.latencies.is_empty() {
            break (loaded, callers);
        }
        seconds *= 2;
    };
    let all: u64 = callers.iter().map(|caller| caller.0).sum();
    assert_eq!(loaded.items_all, all);
    assert!(loaded.items < all && loaded.items == 3 * loaded.latencies.len());
    assert!(loaded.quantile_us(0.5) >= 2_000.0);
}

/// A generator that is held up by its own first call must charge the others for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_loop_measures_from_the_meant_start() {
    let load = OpenLoop {
        rate: 1_000.0,
        seconds: Duration::from_millis(100),
        arrivals: Arrivals::Even,
    };
    let call = |number: u64| {
        if number == 0 {
            std::thread::sleep(Duration::from_millis(50));
        }
        async { Ok(()) }
    };
    let loaded = load.run(&clock(), call).await.unwrap();
    assert_eq!(loaded.items, 100);
    assert!(loaded.quantile_us(0.9) >= 30_000.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poisson_arrivals_come_at_their_rate() {
    let load = OpenLoop {
        rate: 10_000.0,
        seconds: Duration::from_millis(200),
        arrivals: Arrivals::Poisson,
    };
    let loaded = load.run(&clock(), |_| async { Ok(()) }).await.unwrap();
    // 2,000 gaps: their sum is off by a tenth once in a million.
    assert!(loaded.elapsed >= Duration::from_millis(180));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_call_fails_the_load() {
    let load = OpenLoop {
        rate: 1_000.0,
        seconds: Duration::from_millis(10),
        arrivals: Arrivals::Even,
    };
    let call = |number| async move {
        ensure!(number != 3, "three");
        Ok(())
    };
    assert!(load.run(&clock(), call).await.is_err());
}
