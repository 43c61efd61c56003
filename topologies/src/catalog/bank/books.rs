//! The ledger as tables: a balance per account, one per side of the world, and what both add up to.
//!
//! Place: events -> [`postings`] -> **`books`** -> queries. Invariant: the control row is made of what
//! the rows really changed by, read back after each change, and its two sums add up to zero after every
//! event. An event after which they would not is refused with [`BooksError::OutOfBalance`]: nothing of it
//! is kept, its account is parked, and the other accounts go on.
//! Cost: three rows per event. One actor for all partitions, since a side of the world has events of all
//! of them; keyed by partition it would scale with them, and readers would have to add up.

use compact_str::CompactString;
use millstream_operators::aggregate::Aggregate;
use millstream_operators::projection::{
    ProjectedEvent, Projection, Rows, Table, TableKey, TableMut,
};
use serde::{Deserialize, Serialize};

use super::account::{Account, AccountEvent, Channel, Fee};
use super::ledger::{Side, World, postings};

/// Balance of each account with a posting, by its id. Hundredths.
pub const LEDGER_ACCOUNTS: Table<CompactString, i128> = Table::named("ledger-accounts");
/// Balance of each side of the world. Hundredths; negative is what it gave to accounts.
pub const LEDGER_WORLD: Table<World, i128> = Table::named("ledger-world");
/// The one control row, under [`CONTROL_KEY`].
pub const LEDGER_CONTROL: Table<CompactString, Control> = Table::named("ledger-control");
/// Where the control row lies.
pub const CONTROL_KEY: &str = "all";

/// What all rows add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Sum over all accounts: what the bank owes its customers. Hundredths.
    pub accounts: i128,
    /// Sum over all sides of the world. Hundredths.
    pub world: i128,
    /// Postings so far, two per booking.
    pub postings: u64,
}

impl Control {
    /// Both sums: zero.
    #[must_use]
    pub fn sum(&self) -> i128 {
        self.accounts.wrapping_add(self.world)
    }
}

/// Why an event was not booked. Nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BooksError {
    /// The books would not add up to zero any more: a mistake in the postings or in the tables.
    #[error(
        "after event {version} of account {account} the books would add up to {sum} hundredths, not to zero"
    )]
    OutOfBalance {
        /// The account.
        account: CompactString,
        /// Number of the event.
        version: u64,
        /// What everything would add up to.
        sum: i128,
    },
    /// A balance would not fit 128 bits.
    #[error("a balance of {balance} hundredths cannot change by {change}")]
    Overflow {
        /// Balance as it stays.
        balance: i128,
        /// What was to be added.
        change: i128,
    },
}

/// Keeps [`LEDGER_ACCOUNTS`], [`LEDGER_WORLD`] and [`LEDGER_CONTROL`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Books;

type Writers = (
    TableMut<CompactString, i128>,
    TableMut<World, i128>,
    TableMut<CompactString, Control>,
);

impl Projection for Books {
    const NAME: &'static str = "ledger";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::Global;
    const CATEGORY: &'static str = Account::CATEGORY;
    type Event = AccountEvent;
    type Tables = (
        Table<CompactString, i128>,
        Table<World, i128>,
        Table<CompactString, Control>,
    );
    type Error = BooksError;

    fn tables(&self) -> Self::Tables {
        (LEDGER_ACCOUNTS, LEDGER_WORLD, LEDGER_CONTROL)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, AccountEvent>,
        (accounts, world, control): &mut Writers,
    ) -> Result<(), BooksError> {
        let Some(postings) = postings(event.id, event.payload) else {
            return Ok(());
        };
        let key = CompactString::const_new(CONTROL_KEY);
        let mut sums = control.get(&key).copied().unwrap_or_default();
        for posting in postings {
            let change = posting.hundredths;
            match posting.side {
                Side::Account(id) => sums.accounts += add(accounts, &id, change)?,
                Side::World(side) => sums.world += add(world, &side, change)?,
            }
            sums.postings += 1;
        }
        let sum = sums.sum();
        if sum != 0 {
            return Err(BooksError::OutOfBalance {
                account: event.id.into(),
                version: event.version,
                sum,
            });
        }
        control.put(&key, sums);
        Ok(())
    }
}

/// Adds to a row; gives by how much the row differs now, which is what the control row is made of.
fn add<K: TableKey>(
    table: &mut TableMut<K, i128>,
    key: &K,
    change: i128,
) -> Result<i128, BooksError> {
    let balance = table.get(key).copied().unwrap_or(0);
    let after = balance
        .checked_add(change)
        .ok_or(BooksError::Overflow { balance, change })?;
    table.put(key, after);
    Ok(table.get(key).copied().unwrap_or(0) - balance)
}

/// All sides of the world, in their order.
const SIDES: [World; 7] = [
    World::Channel(Channel::Cash),
    World::Channel(Channel::Card),
    World::Channel(Channel::Transfer),
    World::Interest,
    World::Fee(Fee::Service),
    World::Fee(Fee::OverdraftInterest),
    World::Rounding,
];

impl TableKey for World {
    /// One byte, the side's place in the order of sides; new sides go to the end of it.
    fn write(&self, out: &mut Vec<u8>) {
        out.push(match self {
            Self::Channel(Channel::Cash) => 0,
            Self::Channel(Channel::Card) => 1,
            Self::Channel(Channel::Transfer) => 2,
            Self::Interest => 3,
            Self::Fee(Fee::Service) => 4,
            Self::Fee(Fee::OverdraftInterest) => 5,
            Self::Rounding => 6,
        });
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        match *bytes {
            [place] => SIDES.get(usize::from(place)).copied(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_of_the_world_sort_like_their_bytes_and_are_given_back() {
        let bytes = |side: &World| {
            let mut out = Vec::new();
            side.write(&mut out);
            out
        };
        for (place, side) in SIDES.iter().enumerate() {
            assert_eq!(World::read(&bytes(side)), Some(*side));
            for other in &SIDES[place + 1..] {
                assert!(side < other && bytes(side) < bytes(other));
            }
        }
        assert_eq!((World::read(&[7]), World::read(&[])), (None, None));
    }
}
