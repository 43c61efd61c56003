//! The bank: accounts with an overdraft rule, a double-entry ledger, and a real bank's history.
//!
//! [`account`] decides, [`ledger`] turns its events into postings that add up to zero, [`books`] keeps them
//! as tables, and [`berka`] reads the PKDD'99 bank data, after every transaction of which the account must
//! have the recorded balance. [`topology`] puts it together, [`run`] imports the data and checks that it has.

pub mod account;
mod balances;
pub mod berka;
pub mod books;
mod cents;
pub mod ledger;
mod report;
pub mod run;
mod transaction;
mod verify;

pub use account::{Account, AccountCommand, AccountEvent, AccountRejection, Channel, Fee};
pub use balances::{BALANCES, Balances};
pub use books::{Books, BooksError};
pub use cents::{Cents, CentsError};
pub use report::{BankReport, Check, Replayed};

use crate::{InvalidTopology, Topology};

/// The bank as an engine runs it: accounts, the table of balances, the ledger.
///
/// # Errors
/// None as it stands: the parts fit each other.
pub fn topology() -> Result<Topology, InvalidTopology> {
    Topology::named("bank")
        .aggregate::<Account>()
        .projection(Balances)
        .projection(Books)
        .build()
}

#[cfg(test)]
mod tests;
