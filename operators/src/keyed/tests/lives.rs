//! What is over, and keys of which nothing is left.

use std::collections::BTreeMap;
use std::convert::Infallible;

use millstream_engine::flow::Operator;
use millstream_engine::time::Timestamp;
use proptest::prelude::*;

use super::{at, micros, state, turn};
use crate::keyed::*;

/// Remembers values for a while, and tells for each item which it remembers.
#[derive(Clone)]
struct Remember(Ttl);

type Memory = (ExpiringMap<u8, i64>, ExpiringList<i64>, Expiring<i64>);

impl KeyedProcess<u8, (u8, u8)> for Remember {
    type State = Memory;
    type Out = (usize, usize, bool);
    type Side = Infallible;

    fn item(
        &mut self,
        _key: &u8,
        (map, list, value): &mut Memory,
        time: Timestamp,
        (_, field): (u8, u8),
        ctx: &mut Context<'_, Self::Out>,
    ) {
        let seen = (
            map.iter(ctx).count(),
            list.iter(ctx).count(),
            value.get(ctx).is_some(),
        );
        ctx.emit(seen);
        map.insert(field, time.0, self.0, ctx);
        list.push(time.0, self.0, ctx);
        value.set(time.0, self.0, ctx);
    }
}

proptest! {
    #[test]
    fn what_is_over_is_neither_seen_nor_kept(
        steps in prop::collection::vec((0i64..6, 0u8..3, 0u8..3, any::<bool>()), 1..80),
        ttl in 1i64..10,
        by_event_time in any::<bool>(),
    ) {
        let span = micros(ttl as u64);
        let span = if by_event_time { Ttl::Event(span) } else { Ttl::Processing(span) };
        let mut process = Process::new(|item: &(u8, u8)| item.0, Remember(span), NoSide);
        let mut found = Vec::new();
        let mut emit = |_, item| found.push(item);
        let (mut now, mut model, mut expected) = (0, Vec::<(u8, u8, i64)>::new(), Vec::new());
        for (forward, key, field, mark) in steps {
            now += forward;
            turn(&mut process, now, &mut emit);
            if mark || !by_event_time {
                process.watermark(at(now), &mut emit);
                let kept = |key: u8| model.iter().any(|one| one.0 == key && one.2 + ttl > now);
                prop_assert_eq!(state(&process)[0], (0..3).filter(|key| kept(*key)).count());
            }
            let seen: Vec<_> = model.iter().filter(|one| one.0 == key && one.2 + ttl > now).collect();
            let fields: BTreeMap<_, _> = seen.iter().map(|one| (one.1, ())).collect();
            expected.push((fields.len(), seen.len(), !seen.is_empty()));
            process.item(at(now), (key, field), &mut emit);
            model.push((key, field, now));
        }
        process.watermark(Timestamp::MAX, &mut emit);
        prop_assert_eq!(state(&process), [0, 0]);
        prop_assert_eq!(found, expected);
    }
}

/// What is kept of a key expires before a timer of the key does.
#[derive(Clone)]
struct Outlived;

impl KeyedProcess<u8, u8> for Outlived {
    type State = Expiring<u8>;
    type Out = ();
    type Side = Infallible;

    fn item(
        &mut self,
        _key: &u8,
        state: &mut Expiring<u8>,
        time: Timestamp,
        item: u8,
        ctx: &mut Context<'_, ()>,
    ) {
        state.set(item, Ttl::Event(micros(10)), ctx);
        ctx.set_event_timer(Timestamp(time.0 + 20));
    }
}

/// Keeps nothing.
#[derive(Clone)]
struct Stateless;

impl KeyedProcess<u8, u8> for Stateless {
    type State = ();
    type Out = u8;
    type Side = Infallible;

    fn item(
        &mut self,
        key: &u8,
        (): &mut (),
        _time: Timestamp,
        item: u8,
        ctx: &mut Context<'_, u8>,
    ) {
        if item == 0 {
            ctx.set_event_timer(at(100));
            ctx.delete_event_timer(at(100));
        }
        ctx.emit(*key);
    }
}

#[test]
fn a_key_of_which_nothing_is_left_is_forgotten() {
    let mut none = |_: Timestamp, ()| {};
    let mut outlived = Process::new(|item: &u8| *item, Outlived, NoSide);
    for key in 0..10 {
        outlived.item(at(0), key, &mut none);
    }
    outlived.watermark(at(15), &mut none);
    assert_eq!(state::<u8, _>(&outlived), [10, 10]);
    outlived.watermark(at(20), &mut none);
    assert_eq!(state::<u8, _>(&outlived), [0, 0]);

    let mut given = Vec::new();
    let mut stateless = Process::new(|item: &u8| *item, Stateless, NoSide);
    for key in 0..10 {
        stateless.item(at(0), key, &mut |_, key| given.push(key));
    }
    assert_eq!(given, (0..10).collect::<Vec<_>>());
    assert_eq!(state::<u8, _>(&stateless), [0, 0]);
}
