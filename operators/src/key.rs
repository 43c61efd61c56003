//! What keys and items that operators keep must be able to do.

use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A key: compared, hashed, copied, and stored in checkpoints, so it owns what it consists of (`String`, not `&str`).
/// Every type with these bounds is one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key of a dataflow",
    note = "a key implements Hash, Eq, Clone, Send, Serialize and Deserialize, and borrows nothing"
)]
pub trait Key: Hash + Eq + Clone + Send + Serialize + DeserializeOwned + 'static {}

impl<K: Hash + Eq + Clone + Send + Serialize + DeserializeOwned + 'static> Key for K {}

/// What an operator keeps until something else comes, such as the items of a join: stored in checkpoints, so it owns what
/// it consists of. Every type with these bounds is such.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be kept in the state of a dataflow",
    note = "what is kept implements Send, Serialize and Deserialize, and borrows nothing"
)]
pub trait Savable: Send + Serialize + DeserializeOwned + 'static {}

impl<T: Send + Serialize + DeserializeOwned + 'static> Savable for T {}
