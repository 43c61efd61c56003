//! The web shop: a year of real invoice lines as commands to customers and products.
//!
//! Way of a line: [`mod@line`] reads it, [`rules`] says what it is and counts its dirt, [`commands`] maps it
//! to one command for a [`Customer`] and one for a [`Product`], [`rows`] turns their events into read
//! models, which [`tables`] keeps, and [`oracle`] adds up the file by code of its own, for comparison. [`dataflows`]
//! compute what needs time: windows, sessions, ranks, a join and a pattern.
//! [`run`](mod@run) takes a whole file that way, through an engine.

pub mod commands;
pub mod customer;
pub mod dataflows;
pub mod line;
pub mod oracle;
pub mod product;
pub mod rows;
pub mod rules;
pub mod run;
pub mod tables;
pub mod trade;

pub use customer::{Customer, CustomerCommand, CustomerEvent, CustomerRejection};
pub use line::{InvoiceLine, InvoiceLines};
pub use product::{Product, ProductCommand, ProductEvent, ProductRejection};
pub use run::{ShopError, ShopOptions, ShopReport, StopSignal, run};
pub use tables::{topology, topology_with_dataflows};
pub use trade::Trade;

#[cfg(test)]
mod tests;
