//! Errors and items that panic when a letter is made of them.
//!
//! The story: that was the stage's panic, at the first failure and again after each restart that came to it.

use std::collections::HashMap;
use std::fmt;

use millstream_engine::flow::Operator;
use millstream_engine::log::frame::Encoding;
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use super::operators::{Poison, policy};
use super::run;
use super::world::{Item, Out, Step};
use crate::failing::entry::{Arrived, bytes_of};
use crate::failing::outside::{key_text, payload_of};
use crate::stateless::{OrderByKey, TryItems, TryMap};

/// Panics when it is asked for its text.
#[derive(Debug)]
struct Mute;

impl fmt::Display for Mute {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("no text")
    }
}

impl std::error::Error for Mute {}

fn mute(poison: &Poison) -> impl Operator<Item, Out = Out> + use<> {
    let poison = poison.clone();
    let function = move |&(key, id): &Item| match poison.touch(id) {
        Ok(()) => Ok((key, id, 0)),
        Err(_) => Err(Mute),
    };
    let order = OrderByKey(|item: &Item| item.0);
    TryItems::new(policy(), 0, order, TryMap(function))
}

#[test]
fn an_error_without_a_text_becomes_a_letter_and_its_key_keeps_its_order() {
    let keys = [0, 1, 0, 1, 0, 1, 0, 1, 0, 1];
    // For good, and as often as it is tried again.
    let poison = Poison::of(HashMap::from([(2, u32::MAX), (4, 2)]));
    let steps = [Step::Take(6), Step::Clock(20), Step::Save, Step::Restart(2)];
    let world = run(mute, poison, &keys, &steps).unwrap();
    for key in 0..2 {
        assert_eq!(world.given_of(key), world.expected_of(key), "key {key}");
    }
}

/// Written by people's formats it panics, or by all.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Torn {
    in_all: bool,
}

impl Serialize for Torn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(!self.in_all && !serializer.is_human_readable(), "torn");
        serializer.serialize_bool(false)
    }
}

#[test]
fn an_item_whose_json_panics_is_kept_as_it_is_saved() {
    let work = |in_all| Arrived {
        time: Timestamp::EPOCH,
        late_before: Timestamp::EPOCH,
        item: Torn { in_all },
    };
    let (encoding, payload) = payload_of(&work(false));
    assert_eq!(encoding, Encoding::Opaque);
    assert_eq!(payload, rmp_serde::to_vec_named(&work(false)).unwrap());
    assert_eq!(payload_of(&work(true)), (Encoding::Opaque, Vec::new()));
    assert!(bytes_of(&work(true)) < bytes_of(&work(false)));
    assert_eq!(
        key_text(Some(&Torn { in_all: false })),
        "(a key without a text)"
    );
}
