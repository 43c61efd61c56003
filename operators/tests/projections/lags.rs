//! How far what is visible is behind the log, where the clock is not to be relied on.

use std::time::Duration;

use millstream_engine::event::Token;
use millstream_engine::time::{Clock, Timestamp};
use millstream_operators::projection::{Lag, QueryError};

use crate::outboxes::world::{Running, World, ZERO};

/// What a query finds that asks for rows no older than a second, and waits for nothing.
async fn within_a_second(running: &Running) -> Result<(), QueryError> {
    let most = Lag {
        events: u64::MAX,
        age: Duration::from_secs(1),
    };
    let token = Token::default();
    running
        .board
        .fresh(&token, Some(most), Duration::ZERO)
        .await
}

/// Story: after the clock had been set back by an hour all stamps lay ahead of it, so that nothing that was not visible was older
/// than nothing, and a query was answered at once from rows of a projection that hung. Method: an actor that is not stepped; the
/// second time it was level while stamps were ahead.
#[tokio::test]
async fn what_is_not_visible_grows_old_also_after_the_clock_was_set_back() {
    let mut world = World::new();
    let outlets = world.outlets();
    let mut running = world.open::<1>(&outlets);
    world.log.clock.advance(Duration::from_secs(3_600));
    world.append(1);
    world.run(&mut running, 1);
    assert!(within_a_second(&running).await.is_ok());
    // Stamps go on from the latest one.
    let latest = world.log.clock.now();
    world.log.clock.set(Timestamp::EPOCH);
    for upto in [2, 3] {
        world.append_at(latest, 1);
        assert!(within_a_second(&running).await.is_ok());
        world.log.clock.advance(Duration::from_secs(10));
        let stale = within_a_second(&running).await;
        let Err(QueryError::Stale { lag, .. }) = stale else {
            panic!("{stale:?} from rows that are ten seconds old");
        };
        assert_eq!((lag.events, lag.age.as_secs()), (1, 10));
        world.run(&mut running, upto);
        assert!(within_a_second(&running).await.is_ok());
    }
    assert!(world.log.end(ZERO) == running.board.visible(ZERO));
}

/// Story: until its first batch was shown, a version was 292,000 years behind for whoever asked. Method: an actor that is not
/// stepped, the second time one that goes on from what is stored. For queries its rows are of any age all the same.
#[tokio::test]
async fn what_begins_is_behind_since_it_began() {
    let mut world = World::new();
    world.log.clock.advance(Duration::from_secs(3_600));
    let outlets = world.outlets();
    for upto in [1, 2] {
        world.append(1);
        let mut running = world.open::<1>(&outlets);
        for seconds in [0, 7] {
            world.log.clock.advance(Duration::from_secs(seconds));
            let lag = running.board.lag_since_begun().unwrap();
            assert_eq!((lag.events, lag.age.as_secs()), (1, seconds));
        }
        assert!(within_a_second(&running).await.is_err());
        world.run(&mut running, upto);
        assert_eq!(running.board.lag_since_begun(), Some(Lag::default()));
    }
}
