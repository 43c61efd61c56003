//! Goal: whatever is pushed, however maintenance is cut into slices and wherever the process dies,
//! the index answers as a list of all entries would. Method: random operations against that list.

use proptest::prelude::*;

use super::{Fixture, small_config, spread};

#[derive(Clone, Debug)]
enum Step {
    /// So many events of streams drawn from the seed.
    Push(u16, u64),
    /// Slices with this budget.
    Maintain(u8, usize),
    /// Slices with this budget, the last not committed, then the end of the process.
    CrashBefore(u8, usize),
    /// Slices with this budget, the last committed but not applied, then the end of the process.
    CrashAfter(u8, usize),
    FlushAll,
    Read(u64, u64, usize),
}

const STREAMS: u64 = 14;

/// Streams 10 and 11 share a hash, so do 0 and 12; the least and the greatest hash are there.
fn hash(stream: u64) -> u64 {
    match stream {
        8 => 0,
        9 => u64::MAX,
        11 => spread(10),
        12 => spread(0),
        other => spread(other),
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..400_u16, any::<u64>()).prop_map(|(count, seed)| Step::Push(count, seed)),
        5 => (1..40_u8, 1..6_000_usize).prop_map(|(slices, budget)| Step::Maintain(slices, budget)),
        1 => (1..25_u8, 1..3_000_usize).prop_map(|(n, budget)| Step::CrashBefore(n, budget)),
        1 => (1..25_u8, 1..3_000_usize).prop_map(|(n, budget)| Step::CrashAfter(n, budget)),
        1 => Just(Step::FlushAll),
        4 => (0..STREAMS, 0..300_u64, 1..200_usize).prop_map(|(s, from, page)| Step::Read(s, from, page)),
    ]
}

fn check(fixture: &Fixture, stream: u64, from: u64, page: usize) {
    let all = fixture.expected(stream);
    let up: Vec<_> = all
        .iter()
        .filter(|entry| entry.version >= from)
        .copied()
        .collect();
    assert_eq!(
        fixture.read(stream, from, page),
        up,
        "stream {stream} up from {from}"
    );
    let down: Vec<_> = all
        .iter()
        .rev()
        .filter(|entry| entry.version <= from)
        .copied()
        .collect();
    assert_eq!(
        fixture.read_back(stream, from, page),
        down,
        "stream {stream} down from {from}"
    );
    if ![0, 10, 11, 12].contains(&stream) {
        let last: Vec<_> = all.iter().rev().take(page).copied().collect();
        assert_eq!(
            fixture.index.last(hash(stream), page).unwrap(),
            last,
            "last of {stream}"
        );
    }
}

fn apply(fixture: &mut Fixture, step: &Step) {
    match *step {
        Step::Push(count, seed) => {
            // Low streams are hot: their index is the least of two draws.
            let draw = |i: u64| spread(seed ^ spread(i)) % STREAMS;
            let streams: Vec<_> = (0..u64::from(count))
                .map(|i| draw(2 * i).min(draw(2 * i + 1)))
                .collect();
            fixture.push(streams);
        }
        Step::Maintain(slices, budget) => {
            (0..slices).for_each(|_| {
                fixture.maintain(budget);
            });
        }
        Step::CrashBefore(slices, budget) => {
            (1..slices).for_each(|_| {
                fixture.maintain(budget);
            });
            drop(fixture.index.maintain(budget).unwrap());
            fixture.crash();
        }
        Step::CrashAfter(slices, budget) => {
            (1..slices).for_each(|_| {
                fixture.maintain(budget);
            });
            if let Some(writes) = fixture.index.maintain(budget).unwrap() {
                fixture.store.commit(writes);
            }
            fixture.crash();
        }
        Step::FlushAll => fixture.flush_all(),
        Step::Read(stream, from, page) => check(fixture, stream, from, page),
    }
}

/// After all work is done the store holds the manifest and the chunks of live runs, nothing else.
fn check_no_orphans(fixture: &Fixture) {
    fixture.settle();
    let bytes: u64 = fixture
        .store
        .chunks
        .lock()
        .unwrap()
        .iter()
        .filter(|(key, _)| key.run != 0)
        .map(|(_, value)| value.len() as u64)
        .sum();
    assert_eq!(bytes, fixture.index.stats().run_bytes);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn answers_as_a_list_of_all_entries(steps in prop::collection::vec(step(), 1..60)) {
        let mut fixture = Fixture::new(small_config(), hash);
        for step in &steps {
            apply(&mut fixture, step);
        }
        for stream in 0..STREAMS {
            check(&fixture, stream, 0, 1_000);
            check(&fixture, stream, u64::MAX, 7);
        }
        check_no_orphans(&fixture);
        let stats = fixture.index.stats();
        prop_assert_eq!(stats.run_entries as usize + stats.tail_entries, fixture.log.len());
    }
}

/// Goal: no slice is a bad moment to die. Method: the same history, ended after the first, second,
/// third... slice, committed or not, until one ends by itself; all answers are checked each time.
#[test]
fn a_crash_at_any_slice_loses_and_repeats_nothing() {
    for committed in [false, true] {
        for crash_at in 0.. {
            let mut fixture = Fixture::new(small_config(), hash);
            let mut slices = 0;
            let mut crashed = false;
            for round in 0..12_u64 {
                fixture.push((0..320).map(|i| spread(round * 1_000 + i) % STREAMS));
                while let Some(writes) = fixture.index.maintain(500).unwrap() {
                    if slices == crash_at && !crashed {
                        if committed {
                            fixture.store.commit(writes);
                        }
                        fixture.crash();
                        crashed = true;
                    } else {
                        fixture.store.commit(writes);
                        fixture.index.applied();
                    }
                    slices += 1;
                }
            }
            for stream in 0..STREAMS {
                check(&fixture, stream, 0, 1_000);
            }
            check_no_orphans(&fixture);
            if !crashed {
                assert!(crash_at > 50, "only {crash_at} slices");
                break;
            }
        }
    }
}
