//! Patterns over keyed streams: sequences of items of one key, in event time.
//!
//! A [`Pattern`] is a list of steps, each with a condition, a number of items and how it follows the step before. What is
//! a match is said by the items alone: a choice of items of one key, in the order of their times, such that
//! - the first one begins the pattern, and each further one is of the same step (if that takes more) or of the next
//!   one that is not skipped (steps that are optional may be);
//! - `next`: it comes right after the one before; `followed_by`: it is the first after the one before that the step
//!   takes; `followed_by_any`: it comes anywhere after the one before; items of one step follow each other as
//!   `followed_by` does;
//! - `not_next`: the item right after the one before is not taken by that condition; `not_followed_by`: none
//!   between the one before and the one after is; at the end of a pattern none before its time is over;
//! - the last one comes less than `within` after the first.
//!
//! Place: a [`KeyedProcess`](crate::keyed::KeyedProcess), behind an exchange by key.
//! Invariants: (1) items are looked at in the order of their times, of equal times in that of arrival, once the watermark
//! has passed them: what matches does not depend on the order of arrival; (2) an item that is late goes to the side output;
//! (3) what a run holds is gone once the watermark has passed its first item by `within`.
//! State: items that the watermark has not passed; runs begun less than `within` ago, and the items that they took, each
//! kept once however many runs share it. A pattern in which much may match has many runs: as many as there are ways to
//! choose.
//! Cost: per item one evaluation of a condition for each step that each run waits for.

mod arena;
mod machine;
mod matched;
mod matcher;
mod steps;

#[cfg(test)]
mod tests;

pub use machine::PatternState;
pub use matched::{Match, Matched, StepItems};
pub use matcher::PatternMatcher;
pub use steps::{InvalidPattern, Pattern, Skip};
