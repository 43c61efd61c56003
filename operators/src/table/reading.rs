//! Parts of tables as they are read: an entry at a time, given to what is filled.

use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::hash::Hash;

use millstream_engine::checkpoint::Restoring;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::filling::{Filling, FillingAll};
use super::memory::TableMemory;

/// Has one of the visitors below, which all read into what they borrow, asked for what it visits.
macro_rules! seed {
    ($visitor:ident: $ask:ident($($shape:expr),*)) => {
        impl<'de, K, A> DeserializeSeed<'de> for $visitor<'_, '_, K, A>
        where
            K: Hash + Deserialize<'de>,
            A: Deserialize<'de>,
        {
            type Value = ();

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
                deserializer.$ask($($shape,)* self)
            }
        }
    };
}

/// Reads one part of a table into what is filled.
pub(super) struct PartOf<'f, 'a, K, A>(pub(super) &'f mut Filling<'a, K, A>);

seed!(PartOf: deserialize_struct("Part", &["len", "entries"]));

impl<'de, K, A> Visitor<'de> for PartOf<'_, '_, K, A>
where
    K: Hash + Deserialize<'de>,
    A: Deserialize<'de>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a part of a table")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let Self(filling) = self;
        if map.next_key::<Field>()? != Some(Field::Len) {
            return Err(M::Error::missing_field("len"));
        }
        filling.begin(map.next_value::<u32>()? as usize);
        if map.next_key::<Field>()? != Some(Field::Entries) {
            return Err(M::Error::missing_field("entries"));
        }
        map.next_value_seed(EntriesOf(filling))
    }
}

/// What a part has, in this order.
#[derive(Deserialize, PartialEq, Eq)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Len,
    Entries,
}

struct EntriesOf<'f, 'a, K, A>(&'f mut Filling<'a, K, A>);

seed!(EntriesOf: deserialize_seq());

impl<'de, K, A> Visitor<'de> for EntriesOf<'_, '_, K, A>
where
    K: Hash + Deserialize<'de>,
    A: Deserialize<'de>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("entries of a table")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut entries: S) -> Result<(), S::Error> {
        while let Some((place, key, value)) = entries.next_element()? {
            self.0.take(place, key, value);
            if let Some(cause) = self.0.failed() {
                return Err(S::Error::custom(cause));
            }
        }
        Ok(())
    }
}

/// Reads one part of several tables into what is filled.
pub(super) struct PartOfAll<'f, 'a, K, A>(pub(super) &'f mut FillingAll<'a, K, A>);

seed!(PartOfAll: deserialize_seq());

impl<'de, K, A> Visitor<'de> for PartOfAll<'_, '_, K, A>
where
    K: Hash + Deserialize<'de>,
    A: Deserialize<'de>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("parts of tables")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut parts: S) -> Result<(), S::Error> {
        let Self(FillingAll {
            restoring,
            tables,
            memory,
        }) = self;
        let is_newest = tables.is_none();
        let tables = tables.get_or_insert_default();
        loop {
            let numbered = Numbered {
                restoring,
                tables: &mut *tables,
                memory,
                is_newest,
            };
            if parts.next_element_seed(numbered)?.is_none() {
                return Ok(());
            }
        }
    }
}

/// Reads a number and a part of the table that has it.
struct Numbered<'f, 'a, K, A> {
    restoring: &'a Restoring,
    tables: &'f mut BTreeMap<i64, Filling<'a, K, A>>,
    memory: &'f TableMemory<K, A>,
    is_newest: bool,
}

seed!(Numbered: deserialize_tuple(2));

impl<'de, K, A> Visitor<'de> for Numbered<'_, '_, K, A>
where
    K: Hash + Deserialize<'de>,
    A: Deserialize<'de>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number and a part of a table")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut pair: S) -> Result<(), S::Error> {
        let Some(number) = pair.next_element()? else {
            return Err(S::Error::invalid_length(0, &self));
        };
        let filling = match self.tables.entry(number) {
            btree_map::Entry::Occupied(filling) => Some(filling.into_mut()),
            btree_map::Entry::Vacant(new) if self.is_newest => {
                let memory = self.memory.clone();
                Some(new.insert(Filling::new(self.restoring, memory, Restoring::owns)))
            }
            // It was gone when the newest part was written.
            btree_map::Entry::Vacant(_) => None,
        };
        match filling {
            Some(filling) => pair.next_element_seed(PartOf(filling)).map(drop),
            None => pair.next_element::<IgnoredAny>().map(drop),
        }
    }
}
