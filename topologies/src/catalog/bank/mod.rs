//! The bank: accounts with an overdraft rule, a double-entry ledger, and a real bank's history.
//!
//! [`account`] decides, [`ledger`] turns its events into postings that add up to zero, and [`berka`] reads
//! the PKDD'99 bank data, after every transaction of which the account must have the recorded balance.

pub mod account;
mod balances;
pub mod berka;
mod cents;
pub mod ledger;
mod transaction;

pub use account::{Account, AccountCommand, AccountEvent, AccountRejection, Channel, Fee};
pub use balances::{BALANCES, Balances};
pub use cents::{Cents, CentsError};

#[cfg(test)]
mod tests;
