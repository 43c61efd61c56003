//! State whose type changes: what an earlier version of a program has stored in checkpoints is read as its type and made
//! into the present one.
//!
//! Place: a type of state of one's own, of [`process`](crate::keyed::KeyedProcess), of folds, of an
//! [`AggregateFunction`](crate::function::AggregateFunction), wrapped in [`Versioned`]. A version stands before each stored
//! value; each type says which it had before it and how one becomes the other, so a chain of them leads from any earlier
//! one to the present one. A field that is added with `#[serde(default)]` needs none of this.
//! Failure: a version that is not in the chain, such as a later one, cannot be decoded, and the start says so. Cost: a byte
//! or a few per stored value. Not for formats that do not describe themselves: checkpoints do.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::keyed::{KeyedState, Left, Now};

/// A type of state, and what it was before.
///
/// ```
/// use millstream_operators::versioned::{FirstVersion, StateVersion, Versioned};
/// use serde::{Deserialize, Serialize};
///
/// /// As it was once; also where nobody had thought of versions yet.
/// #[derive(Serialize, Deserialize)]
/// struct Visits {
///     count: u32,
/// }
///
/// impl StateVersion for Visits {
///     const VERSION: u32 = 1;
///     type Before = FirstVersion;
///     fn from_before(none: FirstVersion) -> Self {
///         match none {}
///     }
/// }
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct VisitsByDay {
///     days: Vec<u64>,
/// }
///
/// impl StateVersion for VisitsByDay {
///     const VERSION: u32 = 2;
///     type Before = Visits;
///     fn from_before(before: Visits) -> Self {
///         Self { days: vec![before.count.into()] }
///     }
/// }
///
/// /// What a process keeps.
/// type State = Versioned<VisitsByDay>;
/// let mut state = State::default();
/// state.days.push(3);
/// ```
pub trait StateVersion: Serialize + DeserializeOwned {
    /// Stored with each value: from 1, greater than that of what it was before.
    const VERSION: u32;
    /// What it was before: [`FirstVersion`] if nothing.
    type Before: EarlierVersion;

    /// Makes the state what it is now.
    fn from_before(before: Self::Before) -> Self;
}

/// What the first version was before: nothing.
#[derive(Debug, Clone, Copy)]
pub enum FirstVersion {}

/// A type of state, or none: every [`StateVersion`], and [`FirstVersion`].
pub trait EarlierVersion: Sized {
    #[doc(hidden)]
    const LAST: u32;

    /// What follows the number of its version.
    #[doc(hidden)]
    fn read<'de, A: SeqAccess<'de>>(version: u32, values: &mut A) -> Result<Self, A::Error>;

    /// What was stored without a version.
    #[doc(hidden)]
    fn read_first<'de, D: Deserializer<'de>>(value: D) -> Result<Self, D::Error>;
}

impl EarlierVersion for FirstVersion {
    const LAST: u32 = 0;

    fn read<'de, A: SeqAccess<'de>>(version: u32, _values: &mut A) -> Result<Self, A::Error> {
        Err(A::Error::custom(format_args!(
            "it has version {version}, which this program's types do not lead back to"
        )))
    }

    fn read_first<'de, D: Deserializer<'de>>(_value: D) -> Result<Self, D::Error> {
        Err(D::Error::custom("there is no version before the first"))
    }
}

impl<S: StateVersion> EarlierVersion for S {
    const LAST: u32 = S::VERSION;

    fn read<'de, A: SeqAccess<'de>>(version: u32, values: &mut A) -> Result<Self, A::Error> {
        const { assert!(S::VERSION > S::Before::LAST, "versions go up") };
        if version == S::VERSION {
            let value = values.next_element()?;
            return value.ok_or_else(|| A::Error::invalid_length(1, &"a version and a state"));
        }
        S::Before::read(version, values).map(S::from_before)
    }

    fn read_first<'de, D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        if S::Before::LAST == 0 {
            S::deserialize(value)
        } else {
            S::Before::read_first(value).map(S::from_before)
        }
    }
}

/// State that is stored with the version of its type. Reads what was stored of any earlier one; and, as of the first,
/// structures and numbers that were stored without a version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Versioned<S>(pub S);

impl<S> Deref for Versioned<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.0
    }
}

impl<S> DerefMut for Versioned<S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.0
    }
}

impl<S: StateVersion> Serialize for Versioned<S> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        (S::VERSION, &self.0).serialize(serializer)
    }
}

impl<'de, S: StateVersion> Deserialize<'de> for Versioned<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reading(PhantomData)).map(Self)
    }
}

struct Reading<S>(PhantomData<S>);

impl<'de, S: StateVersion> Visitor<'de> for Reading<S> {
    type Value = S;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a version and a state")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<S, A::Error> {
        let version = values.next_element()?;
        let version = version.ok_or_else(|| A::Error::invalid_length(0, &self))?;
        S::read(version, &mut values)
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<S, A::Error> {
        S::read_first(MapAccessDeserializer::new(fields))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<S, E> {
        S::read_first(number.into_deserializer())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<S, E> {
        S::read_first(number.into_deserializer())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<S, E> {
        S::read_first(number.into_deserializer())
    }
}

impl<S: StateVersion + KeyedState> KeyedState for Versioned<S> {
    fn expire(&mut self, now: &Now) -> Left {
        self.0.expire(now)
    }
}

#[cfg(test)]
mod tests {
    use millstream_engine::checkpoint::{CheckpointError, Epoch, Restoring, Saving};

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct One {
        count: u32,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Two {
        counts: Vec<u64>,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Five {
        sum: u64,
        text: String,
    }

    impl StateVersion for One {
        const VERSION: u32 = 1;
        type Before = FirstVersion;

        fn from_before(none: FirstVersion) -> Self {
            match none {}
        }
    }

    impl StateVersion for Two {
        const VERSION: u32 = 2;
        type Before = One;

        fn from_before(One { count }: One) -> Self {
            let counts = vec![count.into()];
            Self { counts }
        }
    }

    impl StateVersion for Five {
        const VERSION: u32 = 5;
        type Before = Two;

        fn from_before(Two { counts }: Two) -> Self {
            let (sum, text) = (counts.iter().sum(), format!("{counts:?}"));
            Self { sum, text }
        }
    }

    /// Stored as the first type in a checkpoint, and read as the second one.
    fn read<S: DeserializeOwned>(stored: impl Serialize) -> Result<S, CheckpointError> {
        let mut saving = Saving::new(Epoch(1));
        saving.whole("state", &[("key", stored)]).unwrap();
        let mut restoring = Restoring::of_saves(&[vec![(Epoch(1), saving.into_parts())]], 0, 1);
        let states = restoring.whole::<Vec<(String, S)>>("state")?;
        Ok(states.into_iter().flatten().next().unwrap().1)
    }

    #[test]
    fn each_version_leads_to_the_present_one() {
        let five = |sum, text: &str| {
            let text = text.to_owned();
            Versioned(Five { sum, text })
        };
        let one = One { count: 7 };
        let counts = vec![1, 2];
        let two = Two { counts };
        assert_eq!(read(Versioned(one.clone())), Ok(five(7, "[7]")));
        assert_eq!(read(Versioned(two.clone())), Ok(five(3, "[1, 2]")));
        assert_eq!(read(five(9, "nine")), Ok(five(9, "nine")));
        assert_eq!(read(Versioned(one.clone())), Ok(Versioned(one.clone())));
        // Before there were versions.
        assert_eq!(read(one.clone()), Ok(five(7, "[7]")));
        assert_eq!(read(one.clone()), Ok(Versioned(one)));
        read::<Versioned<Five>>(two).unwrap_err();
    }

    #[test]
    fn versions_that_are_not_in_the_chain_are_refused() {
        for stored in [3_u32, 6, 0] {
            let error = read::<Versioned<Five>>((stored, One { count: 7 })).unwrap_err();
            let said = error.to_string();
            assert!(said.contains(&format!("version {stored},")), "{said}");
        }
        let later = read::<Versioned<Two>>(Versioned(Five {
            sum: 1,
            text: String::new(),
        }));
        assert!(later.unwrap_err().to_string().contains("version 5,"));
    }
}
