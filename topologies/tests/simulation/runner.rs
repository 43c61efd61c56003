//! Runs many seeds, each with a scenario that it chooses, on all cores.
//!
//! By default 500 of them. `MILLSTREAM_SEEDS=FROM..TO` runs others; a failing one says how to run it again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream_engine::time::{Clock, SystemClock};

use crate::simulation::{Random, asked_seeds, with_seed};
use crate::tally::TALLY;
use crate::{engine, joins, other_windows, processes, sinks, windows};

/// Seeds that are run when nobody asks for others.
const SEEDS: u64 = 500;
/// Seeds between two lines that say how far it has come.
const TOLD_EVERY: u64 = 1_000;
/// Failing seeds after which it stops.
const FAILURES_MAX: usize = 20;

/// What a seed may be run with.
type Scenario = (&'static str, fn());

macro_rules! scenarios {
    ($($name:path,)*) => { &[$((stringify!($name), $name)),*] };
}

/// Dataflows: one operator each.
const OF_OPERATORS: &[Scenario] = scenarios![
    joins::interval_joins,
    joins::interval_joins_in_other_partitions,
    joins::tumbling_joins,
    joins::tumbling_joins_in_other_partitions,
    joins::sliding_joins,
    joins::sliding_joins_in_other_partitions,
    joins::unbounded_joins,
    joins::unbounded_joins_in_other_partitions,
    joins::unique_joins,
    joins::unique_joins_in_other_partitions,
    joins::as_of_joins,
    joins::joined_tables_end_the_same,
    joins::tables_joined_by_a_foreign_key_end_the_same,
    windows::windows_of_windows_give_each_result_once,
    windows::windows_of_windows_in_another_number_of_partitions,
    sinks::files_have_each_row_once,
    sinks::files_have_each_row_once_in_other_partitions,
    sinks::late_items_are_kept_once,
    sinks::late_items_are_kept_once_in_other_partitions,
    sinks::channels_receive_each_row_at_least_once,
    other_windows::sessions_find_what_belongs_together,
    other_windows::sessions_take_back_what_they_gave,
    other_windows::sessions_with_early_results,
    other_windows::sessions_by_the_clock_lose_nothing,
    other_windows::count_windows_in_order,
    other_windows::count_windows_of_several_sources_lose_nothing,
    other_windows::overlapping_count_windows_in_order,
    other_windows::triggers_of_tumbling_windows,
    other_windows::triggers_of_sliding_windows_with_late_items,
    other_windows::tumbling_windows_by_the_clock_lose_nothing,
    other_windows::windows_by_the_clock_that_are_kept_lose_nothing,
    other_windows::sliding_windows_by_the_clock_lose_nothing,
    other_windows::triggers_by_the_clock_lose_nothing,
    other_windows::global_windows_lose_nothing,
    other_windows::sums_before_the_exchange,
    other_windows::sums_of_sliding_windows_before_the_exchange,
    other_windows::count_windows_keep_the_order_of_items,
    processes::timers_of_event_time,
    processes::timers_of_the_clock_lose_nothing,
    processes::running_aggregates_with_a_time_to_live,
    processes::reduced_in_order,
    processes::folded_in_order,
    processes::repeats_are_dropped_in_order,
    processes::repeats_of_one_time_are_dropped,
    processes::throttled_in_order,
    processes::patterns_in_order,
    processes::patterns_that_end_in_a_negation,
    processes::broadcast_state_loses_no_item,
];

/// The scenario of a seed.
fn scenario(seed: u64) -> Scenario {
    let mut random = Random(seed ^ 0x5eed);
    // The engine has most of what there is to be found.
    if random.below(2) == 0 {
        return ("engine::the_whole_engine", engine::the_whole_engine);
    }
    OF_OPERATORS[random.below(OF_OPERATORS.len() as u64) as usize]
}

/// One seed after the other, by several threads.
struct Course {
    next: AtomicU64,
    end: u64,
    done: AtomicU64,
    failed: Mutex<Vec<String>>,
    clock: SystemClock,
}

impl Course {
    fn run(&self) {
        loop {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.end || self.failed.lock().unwrap().len() >= FAILURES_MAX {
                return;
            }
            let (name, test) = scenario(seed);
            if catch_unwind(AssertUnwindSafe(|| with_seed(seed, test))).is_err() {
                let again = format!(
                    "seed {seed} ({name}) fails: MILLSTREAM_SEEDS={seed}..{} cargo test -p millstream --test simulation \
                     every_seed",
                    seed + 1
                );
                println!("{again}");
                self.failed.lock().unwrap().push(again);
            }
            let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(TOLD_EVERY) {
                self.tell();
            }
        }
    }

    fn tell(&self) {
        let done = self.done.load(Ordering::Relaxed);
        let seconds = self.clock.monotonic().as_secs_f64().max(0.001);
        let per_minute = done as f64 * 60.0 / seconds;
        let failed = self.failed.lock().unwrap().len();
        println!("{done} seeds in {seconds:.0} s, {per_minute:.0} per minute, {failed} failed");
    }
}

#[test]
fn every_seed() {
    let seeds = asked_seeds().unwrap_or(0..SEEDS);
    let course = Course {
        next: AtomicU64::new(seeds.start),
        end: seeds.end,
        done: AtomicU64::new(0),
        failed: Mutex::default(),
        clock: SystemClock::new(),
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| course.run());
        }
    });
    course.tell();
    let met = TALLY.all();
    for (what, count) in &met {
        println!("  {count:>10} {what}");
    }
    let failed = course.failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    // So many meet everything.
    let missing: Vec<_> = met.iter().filter(|(_, count)| *count == 0).collect();
    assert!(
        seeds.end - seeds.start < SEEDS || missing.is_empty(),
        "not met: {missing:?}"
    );
}
