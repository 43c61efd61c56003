//! A join and what it gave out.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use millstream_engine::flow::{Emit, Operator, Side};
use millstream_engine::time::Timestamp;

/// A key and a value.
pub(super) type Item = (u8, i64);

pub(super) fn key(item: &Item) -> u8 {
    item.0
}

/// Times and items.
type Kept = Vec<(i64, Side<Item, Item>)>;

/// Keeps what is late.
#[derive(Clone, Default, Debug)]
pub(super) struct KeepLate(pub(super) Arc<Mutex<Kept>>);

impl Operator<Side<Item, Item>> for KeepLate {
    type Out = Infallible;

    fn item<E: Emit<Infallible>>(&mut self, time: Timestamp, item: Side<Item, Item>, _: &mut E) {
        self.0.lock().unwrap().push((time.0, item));
    }
}

pub(super) struct Driven<J, Out> {
    pub(super) join: J,
    pub(super) out: Vec<(i64, Out)>,
}

impl<J: Operator<Side<Item, Item>, Out = Out>, Out> Driven<J, Out> {
    pub(super) fn new(join: J) -> Self {
        Self {
            join,
            out: Vec::new(),
        }
    }

    fn drive(&mut self, drive: impl FnOnce(&mut J, &mut dyn FnMut(Timestamp, Out))) {
        let out = &mut self.out;
        drive(&mut self.join, &mut |time: Timestamp, item| {
            out.push((time.0, item))
        });
    }

    /// An item of a source whose watermark is `limit`.
    pub(super) fn late(&mut self, limit: i64, time: i64, item: Side<Item, Item>) {
        self.join.late_before(Timestamp(limit));
        self.drive(|join, mut out| join.item(Timestamp(time), item, &mut out));
    }

    pub(super) fn left(&mut self, time: i64, item: Item) {
        self.late(i64::MIN, time, Side::Left(item));
    }

    pub(super) fn right(&mut self, time: i64, item: Item) {
        self.late(i64::MIN, time, Side::Right(item));
    }

    pub(super) fn watermark(&mut self, time: i64) {
        self.drive(|join, mut out| join.watermark(Timestamp(time), &mut out));
    }

    /// What it gave out since the last call, sorted.
    pub(super) fn take(&mut self) -> Vec<(i64, Out)>
    where
        Out: Ord,
    {
        let mut out = std::mem::take(&mut self.out);
        out.sort();
        out
    }

    pub(super) fn state(&self) -> usize {
        let mut items = Vec::new();
        self.join.state_items(&mut items);
        items.iter().map(|(_, count)| count).sum()
    }
}
