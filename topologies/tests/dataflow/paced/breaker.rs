//! Circuit breakers of calls, with a clock that the test moves.

use std::time::Duration;

use millstream_operators::breaker::BreakerOptions;
use millstream_operators::paced::{AsyncCause, AsyncError, AsyncOptions};

use super::Asking;
use crate::support::secs;

/// A breaker that opens after two failures in a row, for one second, two, four.
fn breaker() -> BreakerOptions {
    BreakerOptions::after(2).cool_down(secs(1), secs(4))
}

/// Nobody is called while it is open, one call is made then, and all are once that was answered; nothing is lost, and the
/// order is kept.
#[test]
fn an_open_breaker_holds_calls_back_until_a_probe_is_answered() {
    let options = AsyncOptions::ordered(3)
        .retries(9)
        .backoff(secs(0), secs(0));
    let mut asking = Asking::new(options.breaker(breaker()));
    asking.push(0..10);
    assert_eq!(asking.service.waiting(), [0, 1, 2]);
    for number in [0, 1] {
        asking.service.answer(number, Err("down"));
    }
    asking.driver.run().unwrap();
    // The third was under way before, and its answer counts for nothing but itself.
    asking.answer(2);
    assert!(asking.service.waiting().is_empty());
    assert_eq!(asking.service.made(), 3);
    for (wait, made) in [(1, 4), (2, 5), (4, 6), (4, 7)] {
        asking
            .driver
            .advance(secs(wait) - Duration::from_millis(1))
            .unwrap();
        assert_eq!(asking.service.made(), made - 1, "open for {wait} s");
        asking.driver.advance(Duration::from_millis(1)).unwrap();
        assert_eq!(asking.service.made(), made);
        let probe = asking.service.waiting();
        assert_eq!(probe.len(), 1);
        if made < 7 {
            asking.service.answer(probe[0], Err("still down"));
            asking.driver.run().unwrap();
        } else {
            asking.answer(probe[0]);
        }
    }
    asking.feed.end_all();
    asking.driver.run().unwrap();
    while let Some(number) = asking.service.waiting().first().copied() {
        asking.answer(number);
    }
    assert_eq!(
        asking.values(),
        (0..10).map(|number| number * 10).collect::<Vec<_>>()
    );
    assert!(asking.driver.is_ended());
}

/// A call without a timeout that never comes back does not hold back all others for ever: the next one is the probe.
#[test]
fn a_probe_that_never_comes_back_is_followed_by_another() {
    let options = AsyncOptions::unordered(3)
        .retries(9)
        .backoff(secs(0), secs(0));
    let mut asking = Asking::new(options.breaker(breaker()));
    asking.push(0..3);
    for number in [0, 1] {
        asking.service.answer(number, Err("down"));
    }
    asking.driver.run().unwrap();
    asking.answer(2);
    asking.driver.advance(secs(1)).unwrap();
    assert_eq!(asking.service.waiting(), [0]);
    // For the longest that it may be open, and then it is, for two seconds.
    asking.driver.advance(secs(4)).unwrap();
    assert_eq!(asking.service.waiting(), [0]);
    asking.driver.advance(secs(2)).unwrap();
    assert_eq!(asking.service.waiting(), [0, 1]);
    asking.answer(1);
    asking.push(3..4);
    assert_eq!(asking.service.waiting(), [0, 3]);
}

#[test]
fn an_open_breaker_may_have_calls_fail_at_once() {
    let options = AsyncOptions::ordered(2).breaker(breaker().failing());
    let mut asking = Asking::new(options);
    asking.push(0..2);
    for number in [0, 1] {
        asking.service.answer(number, Err("down"));
    }
    asking.driver.run().unwrap();
    asking.results.take_items();
    asking.push(2..5);
    let failed = asking.results.take_items().into_iter();
    let failed: Vec<_> = failed.map(|result| result.unwrap_err()).collect();
    let not_called = |item| AsyncError {
        item,
        tries: 0,
        cause: AsyncCause::NotCalled,
    };
    assert_eq!(failed, [2, 3, 4].map(not_called));
    assert_eq!(asking.service.made(), 2);
    asking.driver.advance(secs(1)).unwrap();
    asking.push(5..7);
    // One is a probe.
    assert_eq!(asking.service.waiting(), [5]);
    asking.answer(5);
    asking.push(7..8);
    asking.answer(7);
    let results = asking.results.take_items();
    assert_eq!(results, [Ok(50), Err(not_called(6)), Ok(70)]);
}
