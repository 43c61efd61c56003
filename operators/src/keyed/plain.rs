//! States that are plain values: numbers and texts, options, lists, and several in one.

use millstream_engine::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::expiring::{KeyedState, Left, Now};
use crate::optional;

/// A state as [`KeyedState::write_state`] writes it.
pub(super) struct Writing<'a, S>(pub(super) &'a S);

impl<S: KeyedState> Serialize for Writing<'_, S> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        self.0.write_state(serializer)
    }
}

/// A state as [`KeyedState::read_state`] reads it.
pub(super) struct Reading<S>(pub(super) S);

impl<'de, S: KeyedState> Deserialize<'de> for Reading<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        S::read_state(deserializer).map(Self)
    }
}

macro_rules! kept {
    ($($plain:ty),*) => {$(
        impl KeyedState for $plain {
            #[inline]
            fn expire(&mut self, _now: &Now) -> Left {
                Left::unless(*self == <$plain>::default())
            }
        }
    )*};
}

kept!(
    bool, u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, String, Timestamp
);

macro_rules! float {
    ($($float:ty),*) => {$(
        impl KeyedState for $float {
            #[inline]
            fn expire(&mut self, _now: &Now) -> Left {
                // By bits: a negative zero is not what it begins as.
                Left::unless(self.to_bits() == <$float>::default().to_bits())
            }
        }
    )*};
}

float!(f32, f64);

impl KeyedState for () {
    #[inline]
    fn expire(&mut self, _now: &Now) -> Left {
        Left::NOTHING
    }
}

impl<V: Serialize + DeserializeOwned + Send + 'static> KeyedState for Option<V> {
    #[inline]
    fn expire(&mut self, _now: &Now) -> Left {
        Left::unless(self.is_none())
    }

    fn write_state<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        optional::serialize(self, serializer)
    }

    fn read_state<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        optional::deserialize(deserializer)
    }
}

impl<V: Serialize + DeserializeOwned + Send + 'static> KeyedState for Vec<V> {
    #[inline]
    fn expire(&mut self, _now: &Now) -> Left {
        Left::unless(self.is_empty())
    }
}

macro_rules! tuple {
    ($($part:ident $at:tt),*) => {
        impl<$($part: KeyedState),*> KeyedState for ($($part,)*) {
            #[inline]
            fn expire(&mut self, now: &Now) -> Left {
                let mut left = Left::NOTHING;
                $(left = left.and(self.$at.expire(now));)*
                left
            }

            fn write_state<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
                ($(Writing(&self.$at),)*).serialize(serializer)
            }

            fn read_state<'de, R: Deserializer<'de>>(deserializer: R) -> Result<Self, R::Error> {
                let parts = <($(Reading<$part>,)*)>::deserialize(deserializer)?;
                Ok(($(parts.$at.0,)*))
            }
        }
    };
}

tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
