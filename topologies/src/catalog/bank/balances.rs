//! The balance of each account, as a table.

use std::convert::Infallible;

use compact_str::CompactString;
use millstream_operators::aggregate::Aggregate;
use millstream_operators::projection::{ProjectedEvent, Projection, Rows, Table, TableMut};

use super::account::{Account, AccountEvent};
use super::cents::Cents;

/// Balance by account id.
pub const BALANCES: Table<CompactString, Cents> = Table::named("balances");

/// Keeps [`BALANCES`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Balances;

impl Projection for Balances {
    const NAME: &'static str = "balances";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = Account::CATEGORY;
    type Event = AccountEvent;
    type Tables = (Table<CompactString, Cents>,);
    type Error = Infallible;

    fn tables(&self) -> Self::Tables {
        (BALANCES,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, AccountEvent>,
        (balances,): &mut (TableMut<CompactString, Cents>,),
    ) -> Result<(), Infallible> {
        balances.update(&event.id.into(), |balance| {
            *balance = balance
                .checked_add(event.payload.change())
                .expect("the account decided that its balance fits");
        });
        Ok(())
    }
}
