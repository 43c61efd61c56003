//! Nexmark: the auction site that stream processors are compared by.
//!
//! [`generator`] gives the events of the reference generator, bit for bit, so that counts can be compared
//! with those of any other implementation. [`direct`] computes the queries over a whole list of events in
//! the plainest code: it is what the dataflows' answers ([`queries`]) are checked against, by [`rows`] and
//! [`checksum`]. [`run`](run()) runs a query.

pub mod checksum;
pub mod config;
pub mod direct;
pub mod event;
pub mod generator;
mod maker;
mod price;
pub mod queries;
pub mod random;
pub mod rows;
mod run;
mod text;

pub use checksum::{Canonical, Checksum};
pub use config::{NexmarkConfig, NexmarkConfigError};
pub use event::{Auction, Bid, NexmarkEvent, Person};
pub use generator::{Generated, NexmarkSource};
pub use queries::{Query, Tally};
pub use run::{NexmarkError, NexmarkOptions, NexmarkReport, run, run_until};

#[cfg(test)]
mod tests;
