//! Join of two tables where a left row names the right row that it belongs to: three operators, an exchange between each.
//!
//! [`ForeignKeys`], where the left table's keys are, knows which foreign key each left row has and tells it to
//! [`ForeignJoin`], where the right table's keys are; [`Settle`], where the left table's keys are again, puts the
//! answers in order: a row whose foreign key changed is answered from two partitions, and the older answer may come
//! last. References are numbered for that. The last change given out for a key is the same however things are
//! interleaved; in between, an answer that is overtaken by a deletion may show for a moment.
//! State: the foreign key of each left row; each left row and each right row; the number of each result. All until
//! the row is deleted. Cost: per left change three lookups and two exchanges; per right change one visit of each left row
//! that names it.

mod keys;
mod rows;
mod settle;

use super::Change;

pub use keys::ForeignKeys;
pub use rows::ForeignJoin;
pub use settle::Settle;

/// What a left row tells the partition of its foreign key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference<K, FK, L> {
    /// Of the left row.
    pub key: K,
    /// The foreign key that it has, or had.
    pub foreign: FK,
    /// Grows with each change of the left row.
    pub number: u64,
    /// The row, or that it no longer names this foreign key.
    pub change: Change<L>,
}

/// A result on its way to where results of its key are put in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settling<K, U> {
    /// Of the left row.
    pub key: K,
    /// Of the reference that it answers.
    pub number: u64,
    /// The result, or that there is none any more for this reference.
    pub change: Change<U>,
}
