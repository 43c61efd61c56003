//! What a breaker lets through, one thing after the other and by a model.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn breaker(failures: u32) -> Breaker {
    Breaker::new(BreakerOptions::after(failures).cool_down(SECOND, 5 * SECOND))
}

fn call(breaker: &mut Breaker, now: Duration) -> Permit {
    match breaker.admit(now) {
        Admission::Call(permit) => permit,
        other => panic!("{other:?} at {now:?}"),
    }
}

#[test]
fn failures_in_a_row_open_it_and_probes_close_it_or_double_the_wait() {
    let mut breaker = breaker(3);
    for is_answered in [false, false, true, false, false] {
        let permit = call(&mut breaker, Duration::ZERO);
        match is_answered {
            true => breaker.succeeded(permit),
            false => breaker.failed(permit, Duration::ZERO),
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
    let mut now = SECOND;
    let permit = call(&mut breaker, now);
    breaker.failed(permit, now);
    for wait in [1, 2, 4, 5, 5] {
        let until = now + wait * SECOND;
        assert_eq!(breaker.admit(now), Admission::NotBefore(until));
        let before = until - Duration::from_nanos(1);
        assert_eq!(breaker.admit(before), Admission::NotBefore(until));
        now = until;
        let probe = call(&mut breaker, now);
        assert_eq!(breaker.admit(now), Admission::NotYet(now + 5 * SECOND));
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        breaker.failed(probe, now);
    }
    now += 5 * SECOND;
    let probe = call(&mut breaker, now);
    breaker.succeeded(probe);
    // As at the beginning.
    for _ in 0..3 {
        let permit = call(&mut breaker, now);
        breaker.failed(permit, now);
    }
    assert_eq!(breaker.admit(now), Admission::NotBefore(now + SECOND));
}

/// Calls that were under way when it opened come back at all times.
#[test]
fn what_comes_of_earlier_calls_does_not_count() {
    let mut breaker = breaker(1);
    let early = [(); 3].map(|()| call(&mut breaker, Duration::ZERO));
    breaker.failed(early[0], Duration::ZERO);
    breaker.succeeded(early[1]);
    assert_eq!(breaker.state(), BreakerState::Open);
    let probe = call(&mut breaker, SECOND);
    breaker.failed(early[2], SECOND);
    breaker.succeeded(early[1]);
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    breaker.succeeded(probe);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

/// A call without a timeout may never come back.
#[test]
fn a_probe_of_which_nothing_comes_has_failed() {
    let mut breaker = breaker(1);
    let permit = call(&mut breaker, Duration::ZERO);
    breaker.failed(permit, Duration::ZERO);
    let probe = call(&mut breaker, SECOND);
    let until = 6 * SECOND;
    let before = until - Duration::from_nanos(1);
    assert_eq!(breaker.admit(before), Admission::NotYet(until));
    assert_eq!(
        breaker.admit(until),
        Admission::NotBefore(until + 2 * SECOND)
    );
    breaker.succeeded(probe);
    assert_eq!(breaker.state(), BreakerState::Open);
    let next = call(&mut breaker, until + 2 * SECOND);
    breaker.succeeded(next);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn a_probe_may_take_as_long_as_a_try() {
    let mut breaker = breaker(1).tries_take(Some(60 * SECOND));
    let permit = call(&mut breaker, Duration::ZERO);
    breaker.failed(permit, Duration::ZERO);
    let probe = call(&mut breaker, SECOND);
    assert_eq!(breaker.admit(60 * SECOND), Admission::NotYet(61 * SECOND));
    breaker.succeeded(probe);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

/// Written as the guide says it, from all that has happened.
#[derive(Clone, Copy, Debug)]
enum Happened {
    Failed(Duration),
    Answered,
}

/// When the next call may be made, by the history of calls that were made one after the other.
fn may_call_at(history: &[Happened], failures: usize) -> Duration {
    let (mut in_a_row, mut cool_down, mut until) = (0, None, Duration::ZERO);
    for happened in history {
        match *happened {
            Happened::Answered => (in_a_row, cool_down) = (0, None),
            Happened::Failed(at) => {
                in_a_row += 1;
                if in_a_row >= failures || cool_down.is_some() {
                    let next = cool_down.map_or(SECOND, |before: Duration| before * 2);
                    let next = next.min(5 * SECOND);
                    cool_down = Some(next);
                    until = at + next;
                }
            }
        }
    }
    until
}

proptest! {
    /// Calls one after the other, each at some moment and with some outcome: it lets through what the model does.
    #[test]
    fn it_agrees_with_a_model(
        failures in 1..4u32,
        steps in prop::collection::vec((0..3_000u64, prop::bool::weighted(0.6)), 1..60),
    ) {
        let mut breaker = breaker(failures);
        let (mut history, mut now) = (Vec::new(), Duration::ZERO);
        for (wait, fails) in steps {
            now += Duration::from_millis(wait);
            let until = may_call_at(&history, failures as usize);
            match breaker.admit(now) {
                Admission::Call(permit) => {
                    prop_assert!(now >= until, "called at {now:?}, {history:?}");
                    if fails {
                        breaker.failed(permit, now);
                        history.push(Happened::Failed(now));
                    } else {
                        breaker.succeeded(permit);
                        history.push(Happened::Answered);
                    }
                }
                Admission::NotBefore(moment) => {
                    prop_assert_eq!(moment, until);
                    prop_assert!(now < until);
                }
                Admission::NotYet(_) => prop_assert!(false, "no call is under way"),
            }
        }
    }

    /// Many calls under way at once, that come back in any order: half open there is one at most, and open it lets none
    /// through before its time.
    #[test]
    fn one_probe_at_a_time(
        steps in prop::collection::vec((0..800u64, any::<prop::sample::Index>(), 0..3u8), 1..120),
    ) {
        let mut breaker = breaker(2);
        let (mut under_way, mut now) = (Vec::new(), Duration::ZERO);
        for (wait, which, what) in steps {
            now += Duration::from_millis(wait);
            let before = breaker.state();
            if what == 0 || under_way.is_empty() {
                if let Admission::Call(permit) = breaker.admit(now) {
                    under_way.push(permit);
                }
            } else {
                let permit = under_way.swap_remove(which.index(under_way.len()));
                match what {
                    1 => breaker.succeeded(permit),
                    _ => breaker.failed(permit, now),
                }
            }
            let of_now = under_way.iter().filter(|permit| permit.era == breaker.era).count();
            match breaker.state() {
                BreakerState::HalfOpen => prop_assert!(of_now <= 1),
                BreakerState::Open => prop_assert_eq!(of_now, 0),
                BreakerState::Closed => prop_assert!(before != BreakerState::Open),
            }
        }
    }
}
