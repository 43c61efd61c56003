//! What restarts must leave as it is, each in a small example.

use std::collections::HashMap;

use super::operators::{Poison, TIMER, processed};
use super::world::{Step, World};

fn poison(times: &[(u64, u32)]) -> Poison {
    Poison::of(times.iter().copied().collect::<HashMap<_, _>>())
}

/// A timer that is reached while its key is held is in the queue of the key from then on, and nowhere else.
#[test]
fn a_timer_that_waits_is_one_after_any_number_of_restarts() {
    let poison = poison(&[(1, u32::MAX)]);
    let made = poison.clone();
    let items = vec![(0, 0), (0, 1), (0, 2)];
    let mut world = World::new(items, Box::new(move || processed(&made)));
    let reached = [Step::Take(3), Step::Watermark(10), Step::Save];
    let again = [Step::Restart(2), Step::Save, Step::Restart(3), Step::Save];
    let held = |world: &World<_>| world.held()["failed items and what waits behind them"];
    reached.iter().for_each(|step| world.step(step).unwrap());
    assert_eq!(held(&world), 3, "an item, the next one and the timer");
    again.iter().for_each(|step| world.step(step).unwrap());
    assert_eq!(held(&world), 3);
    world.finish(&poison).unwrap();
    assert_eq!(world.given_of(0), [0, 1, 2, TIMER]);
}
