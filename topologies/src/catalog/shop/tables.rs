//! The shop's read models as live tables, and the topology that keeps them.
//!
//! Place: events of customers and products -> **`tables`** -> queries. What an event changes in a row stands
//! in [`rows`]. Revenue has keys that customers of every partition write, so one actor keeps it; a refund
//! and a product have one stream each, so those tables are kept per partition.

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use compact_str::CompactString;
use jiff::civil::Date;
use millstream_operators::aggregate::Aggregate;
use millstream_operators::projection::{
    KeyPart, ProjectedEvent, Projection, Rows, Table, TableKey, TableMut,
};

use super::customer::{Customer, CustomerEvent};
use super::dataflows::live;
use super::product::{Product, ProductEvent};
use super::rows::{self, ProductRow, RevenueRow, UnmatchedRefundRow};
use crate::{InvalidTopology, Topology, TopologyBuilder};

/// Revenue by country.
pub const REVENUE_BY_COUNTRY: Table<CompactString, RevenueRow> = Table::named("revenue_by_country");
/// Revenue by day, UTC.
pub const REVENUE_BY_DAY: Table<Day, RevenueRow> = Table::named("revenue_by_day");
/// Revenue by stock code, as the customers' events say it.
pub const REVENUE_BY_PRODUCT: Table<CompactString, RevenueRow> = Table::named("revenue_by_product");
/// Refunds of what was not bought, by line of the file.
pub const UNMATCHED_REFUNDS: Table<u64, UnmatchedRefundRow> = Table::named("unmatched_refunds");
/// Units and amount by stock code, as the products' events say it.
pub const PRODUCTS: Table<CompactString, ProductRow> = Table::named("products");

/// A day as a key: sorts like the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub Date);

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TableKey for Day {
    /// Year, month and day in decimal places: 20101201.
    fn write(&self, out: &mut Vec<u8>) {
        let (year, month, day) = (self.0.year(), self.0.month(), self.0.day());
        (i32::from(year) * 10_000 + i32::from(month) * 100 + i32::from(day)).write(out);
    }

    fn parts() -> Vec<KeyPart> {
        i32::parts()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let number = i32::read(bytes)?;
        // Months and days count forwards before the year 0 as well.
        let (year, rest) = (number.div_euclid(10_000), number.rem_euclid(10_000));
        let year = i16::try_from(year).ok()?;
        let date = Date::new(year, (rest / 100) as i8, (rest % 100) as i8).ok()?;
        Some(Self(date))
    }
}

/// Keeps the three revenue tables.
#[derive(Clone, Copy, Debug, Default)]
pub struct Revenue;

impl Projection for Revenue {
    const NAME: &'static str = "revenue";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::Global;
    const CATEGORY: &'static str = Customer::CATEGORY;
    type Event = CustomerEvent;
    type Tables = (
        Table<CompactString, RevenueRow>,
        Table<Day, RevenueRow>,
        Table<CompactString, RevenueRow>,
    );
    type Error = Infallible;

    fn tables(&self) -> Self::Tables {
        (REVENUE_BY_COUNTRY, REVENUE_BY_DAY, REVENUE_BY_PRODUCT)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, CustomerEvent>,
        (countries, days, products): &mut (
            TableMut<CompactString, RevenueRow>,
            TableMut<Day, RevenueRow>,
            TableMut<CompactString, RevenueRow>,
        ),
    ) -> Result<(), Infallible> {
        let event = event.payload;
        countries.update(&rows::country(event).into(), |row| row.apply(event));
        days.update(&Day(rows::day(event)), |row| row.apply(event));
        products.update(&rows::bought_code(event).into(), |row| row.apply(event));
        Ok(())
    }
}

/// Keeps [`UNMATCHED_REFUNDS`].
#[derive(Clone, Copy, Debug, Default)]
pub struct UnmatchedRefunds;

impl Projection for UnmatchedRefunds {
    const NAME: &'static str = "unmatched-refunds";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = Customer::CATEGORY;
    type Event = CustomerEvent;
    type Tables = (Table<u64, UnmatchedRefundRow>,);
    type Error = Infallible;

    fn tables(&self) -> Self::Tables {
        (UNMATCHED_REFUNDS,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, CustomerEvent>,
        (refunds,): &mut (TableMut<u64, UnmatchedRefundRow>,),
    ) -> Result<(), Infallible> {
        if let Some(row) = UnmatchedRefundRow::of(event.payload) {
            refunds.put(&{ row.line }, row);
        }
        Ok(())
    }
}

/// Keeps [`PRODUCTS`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Products;

impl Projection for Products {
    const NAME: &'static str = "products";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = Product::CATEGORY;
    type Event = ProductEvent;
    type Tables = (Table<CompactString, ProductRow>,);
    type Error = Infallible;

    fn tables(&self) -> Self::Tables {
        (PRODUCTS,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, ProductEvent>,
        (products,): &mut (TableMut<CompactString, ProductRow>,),
    ) -> Result<(), Infallible> {
        // The stream's id is the stock code, so the row belongs to the stream's partition.
        products.update(&event.id.into(), |row| row.apply(event.payload));
        Ok(())
    }
}

/// The shop: customers, products and their tables.
///
/// # Errors
/// [`InvalidTopology`]: none as it stands; callers pass it on.
pub fn topology() -> Result<Topology, InvalidTopology> {
    builder().build()
}

/// The same with the [dataflows](live) over the sales, which go on as long as the engine runs. `disorder` is how far an
/// event of a customer may be behind one before it in its partition of the log, in event time.
///
/// # Errors
/// [`InvalidTopology`]: none as it stands; callers pass it on.
pub fn topology_with_dataflows(disorder: Duration) -> Result<Topology, InvalidTopology> {
    let builder = builder();
    builder
        .dataflow(live::NAME, |flow| live::declare(flow, disorder))
        .build()
}

fn builder() -> TopologyBuilder {
    Topology::named("shop")
        .aggregate::<Customer>()
        .aggregate::<Product>()
        .projection(Revenue)
        .projection(UnmatchedRefunds)
        .projection(Products)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn days_sort_like_the_calendar_and_come_back(a in -9_999i16..=9_999, b in -9_999i16..=9_999, month in 1i8..=12, day in 1i8..=28) {
            let bytes = |day: Day| {
                let mut out = Vec::new();
                day.write(&mut out);
                out
            };
            let first = Day(Date::new(a, month, day).unwrap());
            let second = Day(Date::new(b, 13 - month, 29 - day).unwrap());
            prop_assert_eq!(bytes(first).cmp(&bytes(second)), first.cmp(&second));
            prop_assert_eq!(Day::read(&bytes(first)), Some(first));
        }
    }
}
