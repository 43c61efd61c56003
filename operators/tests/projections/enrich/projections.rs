//! Items, each of which has a list of values; and orders, which write down what they find of two items.

use millstream_engine::codec::Event;
use millstream_engine::log::frame::Encoding;
use millstream_operators::projection::{
    Order, ProjectedEvent, Projection, Reads, Retention, Rows, Table, TableMut,
};
use serde::{Deserialize, Serialize};

use crate::support::{CannotBear, Moods};

pub(crate) const ITEMS: Table<String, Vec<u32>> =
    Table::named("items").versioned(Retention::FOREVER);
pub(crate) const FOUND: Table<String, Found> = Table::named("found");

/// What was found under two keys.
pub(crate) type Found = [Option<Vec<u32>>; 2];

/// What an event adds to an item; 0 removes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Item {
    Value(u32),
}

impl Event for Item {
    const ENCODING: Encoding = Encoding::Json;
}

#[derive(Clone)]
pub(crate) struct Items<const GLOBAL: bool> {
    pub(crate) moods: Moods,
    pub(crate) retention: Retention,
}

const fn rows(is_global: bool) -> Rows {
    if is_global {
        Rows::Global
    } else {
        Rows::ByPartition
    }
}

const fn order(is_global: bool) -> Order {
    if is_global {
        Order::Recorded
    } else {
        Order::Arrival
    }
}

impl<const GLOBAL: bool> Projection for Items<GLOBAL> {
    const NAME: &'static str = "items";
    const VERSION: u32 = 1;
    const ROWS: Rows = rows(GLOBAL);
    const ORDER: Order = order(GLOBAL);
    const CATEGORY: &'static str = "item";
    type Event = Item;
    type Tables = (Table<String, Vec<u32>>,);
    type Error = CannotBear;

    fn tables(&self) -> Self::Tables {
        (ITEMS.versioned(self.retention),)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Item>,
        (items,): &mut (TableMut<String, Vec<u32>>,),
    ) -> Result<(), CannotBear> {
        let Item::Value(value) = *event.payload;
        change(&event.id.to_owned(), value, items);
        self.moods.bear(value)
    }
}

fn change(key: &String, value: u32, items: &mut TableMut<String, Vec<u32>>) {
    if value == 0 {
        items.remove(key);
    } else {
        items.update(key, |list| list.push(value));
    }
}

/// Two items that are looked up, and a number that may not be borne.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Looked {
    At([String; 2], u32),
}

impl Event for Looked {
    const ENCODING: Encoding = Encoding::Json;
}

/// Keeps what each order found.
pub(crate) struct Orders<const ALL: bool, const OF_ALL: bool, const VERSION: u32> {
    pub(crate) items: Items<OF_ALL>,
    pub(crate) moods: Moods,
}

impl<const ALL: bool, const OF_ALL: bool, const VERSION: u32> Projection
    for Orders<ALL, OF_ALL, VERSION>
{
    const NAME: &'static str = "orders";
    const VERSION: u32 = VERSION;
    const ROWS: Rows = rows(ALL);
    const ORDER: Order = order(ALL);
    const CATEGORY: &'static str = "order";
    type Event = Looked;
    type Tables = (Table<String, Found>,);
    type Error = CannotBear;

    fn tables(&self) -> Self::Tables {
        (FOUND,)
    }

    fn reads(&self) -> Reads {
        Reads::none().table(self.items.clone(), &ITEMS)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, Looked>,
        (found,): &mut (TableMut<String, Found>,),
    ) -> Result<(), CannotBear> {
        let Looked::At(keys, value) = event.payload;
        let key = format!("{}/{}", event.id, event.version);
        found.put(&key, keys.each_ref().map(|key| event.look_up(&ITEMS, key)));
        self.moods.bear(*value)
    }
}
