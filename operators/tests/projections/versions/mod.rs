//! Promise: the feed of a table's changes is complete, in order and without repeats for whoever goes on from where he was,
//! whatever fails and wherever it crashes; and the table as of any place in it is what it was there.

mod at_rest;
mod follower;
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use millstream_operators::projection::{ChangesFrom, Retention, TableAt};
use proptest::prelude::*;

use follower::{Follower, Seen};
use world::{ListRows, World, of_table};

/// Values of events; any of them may be one that fails.
const VALUES: u32 = 6;
const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

#[derive(Clone, Debug)]
enum Act {
    Add(Vec<(usize, u32)>),
    Step(u8),
    /// Other values fail from now on.
    Fail(BTreeSet<u32>),
    /// Somebody begins to follow: from the oldest, from now, from a snapshot, from where somebody else is.
    Follow(u8),
    /// A follower reads so many changes.
    Read(usize, usize),
    /// The projection alone is started again.
    Restart,
    Crash,
    /// What is stored now is what a later loss leaves.
    Keep,
    Lose,
}

fn act() -> impl Strategy<Value = Act> {
    let event = || (0..KEYS.len(), 0..VALUES);
    prop_oneof![
        9 => prop::collection::vec(event(), 1..8).prop_map(Act::Add),
        9 => (1..6u8).prop_map(Act::Step),
        3 => prop::collection::btree_set(0..VALUES, 0..3).prop_map(Act::Fail),
        3 => (0..4u8).prop_map(Act::Follow),
        6 => (0..6usize, 1..6usize).prop_map(|(who, count)| Act::Read(who, count)),
        2 => Just(Act::Restart),
        2 => Just(Act::Crash),
        1 => Just(Act::Keep),
        1 => Just(Act::Lose),
    ]
}

fn retention() -> impl Strategy<Value = Retention> {
    let within = |millis| Retention::within(Duration::from_millis(millis));
    prop_oneof![
        (1..20_u64).prop_map(Retention::last),
        (0..30_u64).prop_map(within),
        (1..20_u64, 0..30_u64)
            .prop_map(move |(last, millis)| Retention::last(last).and(within(millis))),
    ]
}

struct Run<const GLOBAL: bool> {
    world: World<GLOBAL>,
    followers: Vec<Follower>,
    /// The first follower reads all: the table after each change, by the place as a text.
    seen: Seen,
    /// Nothing failed so far: the order of changes is the log's.
    is_clean: bool,
}

impl<const GLOBAL: bool> Run<GLOBAL> {
    fn new(retention: Retention) -> Self {
        let world = World::new(retention);
        let first = Follower::begin(&world.list(), ChangesFrom::Oldest, ListRows::new());
        Self {
            followers: vec![first],
            world,
            seen: Seen::whole(),
            is_clean: true,
        }
    }

    fn follow(&mut self, how: u8) {
        let list = self.world.list();
        let follower = match how {
            0 => Follower::begin(&list, ChangesFrom::Oldest, ListRows::new()),
            1 => {
                self.world.settle();
                let rows = list.rows().unwrap().into_iter().collect();
                Follower::begin(&list, ChangesFrom::Now, rows)
            }
            2 => self.snapshot(),
            _ => self.followers[self.followers.len() - 1].fork(&list),
        };
        self.followers.push(follower);
    }

    fn snapshot(&self) -> Follower {
        let snapshot = of_table(&self.world.snapshot());
        let rows = snapshot.scan().all().unwrap().into_iter().collect();
        let from = ChangesFrom::from(snapshot.cursor().unwrap());
        Follower::begin(&self.world.list(), from, rows)
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Add(events) => {
                let events = events.iter().map(|(key, value)| (KEYS[*key], *value));
                self.world.add(&events.collect::<Vec<_>>());
            }
            Act::Step(count) => {
                for _ in 0..*count {
                    self.world.step();
                }
            }
            Act::Fail(poison) => {
                self.is_clean &= poison.is_empty();
                self.world.poison(poison.iter().copied());
            }
            Act::Follow(how) => self.follow(*how),
            Act::Read(who, count) => {
                let who = who % self.followers.len();
                self.read(who, *count);
            }
            Act::Restart => self.again(World::open),
            Act::Crash => self.again(World::crash),
            Act::Keep => self.again(World::keep_state),
            Act::Lose => {
                if self.again(World::lose_state) {
                    for follower in &mut self.followers {
                        follower.comes_again = true;
                    }
                }
            }
        }
    }

    /// The world begins again, with what was stored, or with less of it. All read on.
    fn again<T>(&mut self, how: impl FnOnce(&mut World<GLOBAL>) -> T) -> T {
        let list = self.world.list();
        for follower in &mut self.followers {
            // One that began with what was shown may not have been stored.
            follower.comes_again |= !follower.is_stored(&list);
            follower.close();
        }
        drop(list);
        let done = how(&mut self.world);
        let list = self.world.list();
        for follower in &mut self.followers {
            follower.reopen(&list);
        }
        done
    }

    fn read(&mut self, who: usize, count: usize) {
        let seen = (who == 0).then_some(&mut self.seen);
        let may_be_lost = GLOBAL || !self.is_clean;
        if !self.followers[who].read(count, seen, may_be_lost) {
            // Its place is lost: it begins again with a snapshot.
            if who == 0 {
                self.seen.clear();
            }
            let next = self.snapshot();
            self.followers[who] = next;
        }
    }

    /// At rest everybody has the table.
    fn check(&mut self) -> ListRows {
        self.world.settle();
        let rows: ListRows = self.world.list().rows().unwrap().into_iter().collect();
        for who in 0..self.followers.len() {
            // Once more for one that had lost its place.
            for _ in 0..2 {
                self.read(who, usize::MAX);
            }
            let follower = &self.followers[who];
            if follower.is_partial {
                let mut own = follower.rows.iter();
                assert!(own.all(|(key, row)| rows.get(key) == Some(row)));
            } else {
                assert_eq!(follower.rows, rows, "follower {who}");
            }
        }
        rows
    }

    /// The table at each place is what the first follower had there.
    fn check_past(&self, is_whole: bool) {
        let list = self.world.list();
        for (place, expected) in self.seen.tables() {
            match list.as_of(&place.parse().unwrap()) {
                Ok(then) => {
                    let found = then.scan().all().unwrap();
                    assert_eq!(&found.into_iter().collect::<ListRows>(), expected);
                    let mut down = then.scan().descending().all().unwrap();
                    down.reverse();
                    assert_eq!(down.into_iter().collect::<ListRows>(), *expected);
                    for key in KEYS.map(str::to_owned) {
                        assert_eq!(then.get(&key).unwrap().as_ref(), expected.get(&key));
                    }
                }
                Err(cause) => assert!(!is_whole, "{cause}"),
            }
        }
        for (key, expected) in self.seen.histories() {
            let found = list.history(key).unwrap();
            let found: Vec<_> = found.map(|version| version.unwrap().row).collect();
            if is_whole && self.seen.is_whole {
                assert_eq!(&found, expected);
            } else {
                assert!(
                    expected.ends_with(&found) || found.ends_with(expected) || found.len() <= 1
                );
            }
        }
    }
}

fn run<const GLOBAL: bool>(acts: &[Act]) {
    let mut run = Run::<GLOBAL>::new(Retention::FOREVER);
    for act in acts {
        run.act(act);
    }
    run.check();
    run.world.poison([]);
    run.check();
    run.check_past(true);
    assert_eq!(run.world.hidden().0, run.world.hidden().1);
}

proptest! {
    #![proptest_config(ProptestConfig {
        max_shrink_iters: 150,
        ..ProptestConfig::with_cases(24)
    })]

    /// Goal: every follower ends with the table, whatever it began with, and went through each state of it; every state is
    /// found again. Method: random events that fail and are tried again, followers that begin anywhere, crashes, and losses
    /// of what was stored, after which a place may be refused where something had failed, and never otherwise.
    #[test]
    fn followers_of_many_actors_come_to_the_table(acts in prop::collection::vec(act(), 1..60)) {
        run::<false>(&acts);
    }

    /// The same where one actor reads all partitions.
    #[test]
    fn followers_of_one_actor_come_to_the_table(acts in prop::collection::vec(act(), 1..60)) {
        run::<true>(&acts);
    }

    /// Goal: where nothing fails, the table at every position is that of a replay up to there, and what a token says is
    /// refused only where versions are gone.
    #[test]
    fn a_table_at_a_position_is_that_of_a_replay(
        acts in prop::collection::vec(act(), 1..30), retention in prop::option::of(retention()),
    ) {
        let mut run = Run::<false>::new(retention.unwrap_or(Retention::FOREVER));
        for act in acts {
            if !matches!(act, Act::Fail(_) | Act::Lose | Act::Follow(_) | Act::Read(..)) {
                run.act(&act);
            }
        }
        run.world.settle();
        let ends = run.world.ends();
        let list = run.world.list();
        for first in 0..=ends[0].1.0 {
            let second = first.min(ends[1].1.0);
            let mut at = ends.clone();
            (at[0].1.0, at[1].1.0) = (first, second);
            match TableAt::before(&list, &at).unwrap() {
                Some(then) => {
                    let found = then.scan().all().unwrap();
                    prop_assert_eq!(found.into_iter().collect::<ListRows>(), run.world.replayed(&at));
                }
                None => prop_assert!(retention.is_some()),
            }
        }
        let now = TableAt::before(&list, &ends).unwrap().unwrap();
        prop_assert_eq!(now.scan().all().unwrap(), list.rows().unwrap());
    }

    /// Goal: with a retention, what is kept is as right as it would be without, followers that are quick lose nothing, slow
    /// ones are told; and no more is kept than has to be, but for what the next stores let go.
    #[test]
    fn what_is_too_old_goes(acts in prop::collection::vec(act(), 1..60), last in 1..12_u64) {
        let mut run = Run::<true>::new(Retention::last(last));
        run.followers[0] = run.snapshot();
        for act in &acts {
            if !matches!(act, Act::Lose) {
                run.act(act);
            }
            if let (Act::Follow(0), Some(follower)) = (act, run.followers.last_mut()) {
                // Whoever begins with the oldest does not have what was let go.
                follower.is_partial = true;
            }
            // Quick enough.
            run.read(0, usize::MAX);
        }
        run.check();
        run.world.poison([]);
        run.check();
        run.check_past(false);
        for round in 1..40 {
            run.world.add(&[("a", 1 + round % 2)]);
            run.world.settle();
            run.read(0, usize::MAX);
        }
        let rows = run.check();
        run.check_past(false);
        let (changes, versions) = run.world.hidden();
        // One event of the last store changes two rows.
        prop_assert!(changes <= last + 2, "{changes} changes");
        prop_assert!(versions <= changes + rows.len() as u64 + 2, "{versions} versions");
    }
}

/// Goal: what the runs above take for a loss is one: what was stored since the state was kept is gone, nothing else is, and it
/// comes again from the log.
#[test]
fn a_loss_takes_what_was_stored_since() {
    let mut world = World::<true>::new(Retention::FOREVER);
    let rows = |world: &World<true>| world.list().rows().unwrap();
    world.add(&[("a", 1)]);
    world.settle();
    world.keep_state();
    let kept = rows(&world);
    assert!(!world.lose_state());
    assert_eq!(rows(&world), kept);
    world.add(&[("a", 3), ("b", 2)]);
    world.settle();
    let all = rows(&world);
    assert!(world.lose_state());
    assert_eq!(rows(&world), kept);
    world.settle();
    assert_eq!(rows(&world), all);
    assert_ne!(all, kept);
}

/// Goal: what is older than the retention says goes, and what is not stays. Method: a change a second.
#[test]
fn changes_are_kept_for_as_long_as_is_said() {
    let mut world = World::<false>::new(Retention::within(Duration::from_secs(3)));
    for value in 0..40 {
        world.add(&[("a", value)]);
        world.settle();
        world.advance(Duration::from_secs(1));
    }
    let kept = world.list().changes_kept().unwrap();
    // Those of the last store go with the next one.
    assert!((3..=8).contains(&kept), "{kept} changes are kept");
}
