//! Operators alone, each driven on one thread with prepared batches: no stage, no mailbox.
//!
//! A whole dataflow differs from itself by ten per cent from one run to the next, which hides what a process that may fail
//! costs. Here the two take turns batch by batch, and a round is the median of its batches: what stands between two batches,
//! or in one of them, moves it little. `failing-alone-itself` is a process beside itself. Dead letters are kept in memory here:
//! there is no store. `of_limit` is what is left of the plain throughput if as many panics are caught and nothing else is added.

use std::hint::black_box;
use std::time::Duration;

use anyhow::Result;
use millstream_engine::batch::Batch;
use millstream_engine::flow::Operator;
use millstream_engine::time::Timestamp;
use millstream_operators::keyed::{NoSide, Process, TryProcess};

use super::flows::{Count, Look, Poison, TryCount};
use super::{Side, side, unwinding};
use crate::paired::{Paired, median};
use crate::suites::dataflow::{Bench, SUITE};
use crate::{Case, Harness};

/// Items of a batch.
const ITEMS: u64 = 4_096;
/// Keys whose table lies in the processor's cache, and keys whose table does not.
const KEYS: [u64; 2] = [1_000, 100_000];

type Driven = Box<dyn FnMut(&mut Batch<u64>)>;

fn driven(of: Side, look: Look) -> Driven {
    let emit = |_: Timestamp, item: u64| {
        black_box(item);
    };
    let key = |key: &u64| *key;
    match of.work {
        super::Work::TryProcess => {
            let mut operator = TryProcess::new(of.policy(), key, TryCount(look), NoSide);
            Box::new(move |batch| operator.batch(batch, &mut { emit }))
        }
        _ => {
            let mut operator = Process::new(key, Count(look), NoSide);
            Box::new(move |batch| operator.batch(batch, &mut { emit }))
        }
    }
}

/// Spread over all keys, the same each time.
fn fill(batch: &mut Batch<u64>, turn: u64, keys: u64) {
    batch.clear();
    for number in turn * ITEMS..(turn + 1) * ITEMS {
        let mut word = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word ^= word >> 27;
        let key = ((u128::from(word.wrapping_mul(0x94d0_49bb_1331_11eb)) * u128::from(keys)) >> 64)
            as u64;
        batch.push(Timestamp(number as i64), key + 1);
    }
}

pub(super) fn run(bench: Bench<'_>, rounds: usize, events: u64) -> Result<()> {
    use super::Work::{Process, TryProcess};
    let (plain, may) = (side(Process, Poison::None), side(TryProcess, Poison::None));
    let with = |poison| side(TryProcess, poison);
    let cases = [
        ("itself", plain, plain),
        ("process", plain, may.kept()),
        ("letters", may, may.kept()),
        ("1pct", may, with(Poison::Key(100))),
        ("1pct-again", may, with(Poison::Key(100)).again()),
        ("1pct-kept", may.kept(), with(Poison::Key(100)).kept()),
        ("1pct-panics", may, with(Poison::PanicKey(100))),
        (
            "1pct-panics-kept",
            may.kept(),
            with(Poison::PanicKey(100)).kept(),
        ),
        ("every-100th", may, with(Poison::Event(100))),
        ("every-100th-panics", may, with(Poison::PanicEvent(100))),
    ];
    for keys in KEYS {
        for (name, one, two) in cases {
            let name = format!("failing-alone-{name}-{keys}-keys");
            if bench.harness.wants(&name) {
                compare(bench, rounds, events, keys, &name, [one, two])?;
            }
        }
    }
    Ok(())
}

fn compare(
    bench: Bench<'_>,
    rounds: usize,
    events: u64,
    keys: u64,
    name: &str,
    sides: [Side; 2],
) -> Result<()> {
    let batches = (events / rounds as u64 / ITEMS).max(1);
    let looks = sides.map(|of| Look::new(of.poison));
    let mut both = [0, 1].map(|at| driven(sides[at], looks[at].clone()));
    let (mut ns, mut limits, mut turn) = (Paired::default(), Paired::default(), 0);
    // Every key is known before, and what is poison is parked if it is.
    for _ in 0..(4 * keys / ITEMS).max(4) {
        turn += 1;
        both.iter_mut().for_each(|one| {
            take(bench.harness, one, turn, keys);
        });
    }
    let (mut unwound, mut failed) = (0.0, 0);
    for _ in 0..rounds {
        let mut times = [Vec::new(), Vec::new()];
        let before = looks[1].failures();
        for number in 0..batches {
            turn += 1;
            for at in [0, 1] {
                let at = (at + number as usize) % 2;
                let took = take(bench.harness, &mut both[at], turn, keys);
                times[at].push(took.as_secs_f64() * 1e9 / ITEMS as f64);
            }
        }
        failed = looks[1].failures() - before;
        let [plain, other] = times.map(|times| median(&times));
        ns.push([plain, other]);
        if sides[1].poison.panics() && failed >= super::PANICS_MIN {
            let unwinding = unwinding::bare(bench.harness, 1, failed);
            unwound = unwinding.as_secs_f64() * 1e9 / failed as f64;
            let each = failed as f64 / (batches * ITEMS) as f64;
            limits.push([unwound.mul_add(each, plain), other]);
        }
    }
    let case = Case::new(SUITE, name, bench.machine)
        .with("events", batches * ITEMS * rounds as u64)
        .with("keys", keys)
        .with("rounds", rounds)
        .with("failed_per_round", failed);
    let case = ns.ratio().inverse().figures(case, "of_plain");
    let case = case
        .figure("ns_per_event_plain", ns.median(0))
        .figure("ns_per_event", ns.median(1))
        .figure("events_per_second", 1e9 / ns.median(1))
        .figure("events_per_core_second", 1e9 / ns.median(1));
    let case = if limits.is_empty() {
        case
    } else {
        let case = limits.ratio().inverse().figures(case, "of_limit");
        case.figure("unwinding_ns", unwound)
    };
    bench.harness.report(case)
}

/// Time that one needs for a batch.
fn take(harness: &Harness, of: &mut Driven, turn: u64, keys: u64) -> Duration {
    let mut batch = Batch::with_capacity(ITEMS as usize);
    fill(&mut batch, turn, keys);
    let clock = harness.clock();
    let start = clock.monotonic();
    of(&mut batch);
    clock.monotonic() - start
}
