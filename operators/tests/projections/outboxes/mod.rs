//! Projections with an outbox, stepped by hand: a switch before the first turn after a start, an outbox that is full, and its
//! figures.

mod damaged;
mod figures;
mod histories;
pub(crate) mod world;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream_engine::event::Offset;
use millstream_engine::log::Feed;
use millstream_engine::mailbox::{Mailbox, Wake};
use millstream_engine::stage::{StageCore, Step};
use millstream_operators::projection::DeliveryConfig;

use self::world::World;
use crate::sending::SENT;

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Woken {
    /// Wakes it once, as each who is attached is.
    fn attached(mailbox: &Mailbox) -> Arc<Self> {
        let woken = Arc::new(Self::default());
        mailbox.attach(Arc::<Self>::clone(&woken));
        woken
    }

    /// Whether it was woken since the last turn; a turn begins.
    fn take(&self, mailbox: &Mailbox) -> bool {
        mailbox.begin_turn();
        self.0.swap(false, Ordering::SeqCst)
    }
}

/// What comes by itself; the bound is for what never does.
async fn within<T>(future: impl Future<Output = T>) -> T {
    let bound = Duration::from_secs(300);
    tokio::time::timeout(bound, future).await.expect("it hangs")
}

/// Story: while the state's writer had no room, a projection and its deliveries asked every two milliseconds.
#[tokio::test]
async fn room_in_the_state_wakes_who_waits_for_it() {
    let mut world = World::new();
    let outlets = world.outlets();
    let mut running = world.open::<1>(&outlets);
    let (mut delivery, mailbox) = world.deliver(&outlets, DeliveryConfig::default());
    let waits = |step| {
        let is_long = matches!(step, Step::IdleUntil(look) if look >= Duration::from_millis(500));
        assert!(is_long, "it looks by itself soon");
    };
    let woken = Woken::attached(&running.mailbox);
    world.append(1);
    world.fill();
    assert!(woken.take(&running.mailbox));
    waits(running.core.step());
    assert!(!woken.take(&running.mailbox) && world.steps.step());
    assert!(
        woken.take(&running.mailbox),
        "nobody told the projection of room"
    );
    world.run(&mut running, 1);
    assert_eq!(world.sent(), [0].into());

    let woken = Woken::attached(&mailbox);
    assert!(woken.take(&mailbox));
    waits(delivery.step());
    let told = async {
        while !woken.take(&mailbox) {
            tokio::task::yield_now().await;
        }
    };
    within(told).await;
    world.fill();
    waits(delivery.step());
    assert!(!woken.take(&mailbox) && world.steps.step());
    assert!(woken.take(&mailbox), "nobody told the delivery of room");
    delivery.step();
    while world.steps.step() {}
    assert!(world.sent().is_empty(), "not taken out");
}

/// Goal: a switch right after a start, before either version has had a turn, leaves out no effect and sends none twice. Method:
/// the one that answers has stored three events, the other one five; the cut must lie behind the five, not at the beginning of
/// the log, since nobody would send the two between.
#[tokio::test]
async fn a_switch_before_the_first_turn_cuts_where_the_further_one_is() {
    let mut world = World::new();
    {
        let outlets = world.outlets();
        let (mut old, mut new) = (world.open::<1>(&outlets), world.open::<2>(&outlets));
        (0..3).for_each(|_| world.append(1));
        world.run(&mut old, 3);
        (0..2).for_each(|_| world.append(1));
        world.run(&mut new, 5);
        assert_eq!(world.sent(), BTreeSet::from([0, 1, 2]));
    }
    let outlets = world.outlets();
    let (mut old, mut new) = (world.open::<1>(&outlets), world.open::<2>(&outlets));
    let versions = [
        (&*old.board, old.registered.id),
        (&*new.board, new.registered.id),
    ];
    let halted = outlets.halt(versions, Duration::from_secs(1)).await;
    let ends = halted.unwrap();
    assert_eq!(ends, [Offset(5)]);
    (0..2).for_each(|_| world.append(1));
    world.run(&mut old, 5);
    assert_eq!(world.sent(), (0..5).collect());
    outlets.cut(new.registered.id, &ends).unwrap();
    old.board.stop_behind(None);
    new.board.stop_behind(None);
    world.run(&mut new, 7);
    assert_eq!(world.sent(), (0..7).collect());
    let depth = outlets.depth(SENT.name());
    world.run(&mut old, 7);
    assert_eq!(outlets.depth(SENT.name()), depth, "none was sent twice");
    assert_eq!(depth, Some(7));
}

/// The version that has sent was dropped at rest, right after a switch at rest: the one that answers goes on where its rows
/// end, not where the log ended at the start.
#[test]
fn after_a_drop_at_rest_effects_go_on_where_the_rows_end() {
    let mut world = World::new();
    {
        let outlets = world.outlets();
        let (mut old, mut new) = (world.open::<1>(&outlets), world.open::<2>(&outlets));
        (0..5).for_each(|_| world.append(1));
        world.run(&mut old, 5);
        world.run(&mut new, 5);
        (0..2).for_each(|_| world.append(1));
    }
    let outlets = world.outlets_of(&[2]);
    let mut new = world.open::<2>(&outlets);
    new.board.set_active(true);
    world.run(&mut new, 7);
    assert_eq!(world.sent(), (0..7).collect());
    assert_eq!(outlets.depth(SENT.name()), Some(7));
}

/// A projection whose outbox is full tries no parked key, so one that is due is no reason for another turn at once: it asked
/// for one for as long as the outside was away.
#[test]
fn a_parked_key_that_is_due_does_not_spin_while_the_outbox_is_full() {
    let mut world = World::new();
    let outlets = world.outlets();
    let _delivery = world.bound(&outlets, 1);
    let mut running = world.open::<1>(&outlets);
    world.is_out_of_order.store(true, Ordering::Relaxed);
    world.append(0);
    world.append(1);
    world.run(&mut running, 2);
    assert_eq!(outlets.depth(SENT.name()), Some(1));
    world.log.clock.advance(Duration::from_secs(1));
    world.append(1);
    for _ in 0..5 {
        let step = world.step(&mut running);
        assert!(matches!(step, Step::IdleUntil(_)), "{step:?}");
        world.log.clock.advance(Duration::from_millis(1));
    }
    assert_eq!(world.sent(), BTreeSet::from([1]));
}

/// One that stops with a full outbox ends where it is, although the outside takes nothing; the next start goes on there.
#[test]
fn a_projection_with_a_full_outbox_ends_and_goes_on_later() {
    let mut world = World::new();
    {
        let outlets = world.outlets();
        let _delivery = world.bound(&outlets, 2);
        let mut running = world.open::<1>(&outlets);
        (0..2).for_each(|_| world.append(1));
        world.run(&mut running, 2);
        (0..20).for_each(|_| world.append(1));
        world.log.feed.close();
        running.core.stop();
        let mut turns = 0..10;
        while !matches!(world.step(&mut running), Step::Done) {
            turns.next().expect("it ends");
            world.log.clock.advance(Duration::from_millis(1));
        }
        assert_eq!(world.stored(&running), 2);
        assert_eq!(world.sent(), (0..2).collect());
    }
    // Nobody bounds it any more.
    world.log.feed = Arc::new(Feed::new(&world.log.reader).unwrap());
    let outlets = world.outlets();
    let mut running = world.open::<1>(&outlets);
    world.run(&mut running, 22);
    assert_eq!(world.sent(), (0..22).collect());
    assert_eq!(outlets.depth(SENT.name()), Some(22));
}
