//! What the dataflows must come to: computed from the file's rows, without streams, windows or watermarks.
//!
//! Shares the reading of rows with [`oracle`], and no code with the reader, the rules, the aggregates or the
//! dataflows: dates are taken apart by hand, windows are sets of days, joins and patterns are searches in sorted lists.
//! All lines of a year are in memory, about 30 bytes each, until [`finish`](Direct::finish).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use compact_str::{CompactString, format_compact};
use millstream_engine::time::Timestamp;

use super::{RefundRow, RepeatRow, RevenueSpan, SalesRows, SessionRow, TopRow};
use crate::catalog::shop::oracle::{self, OracleError};
use crate::money::Money;

/// Minutes.
const HOUR: i64 = 60;
const DAY: i64 = 24 * HOUR;

/// Lines and thousandths of a pound.
type Sums = (u64, i64);

/// A purchase or a refund.
#[derive(Clone, Copy, Debug)]
struct Deal {
    minute: i64,
    line: u64,
    is_refund: bool,
}

/// A purchase of a known customer.
#[derive(Clone, Debug)]
struct Bought {
    minute: i64,
    invoice: CompactString,
    milli: i64,
}

/// Takes in the file's rows.
#[derive(Debug, Default)]
pub struct Direct {
    hours: HashMap<(CompactString, i64), Sums>,
    units: HashMap<(i64, CompactString), i64>,
    bought: HashMap<CompactString, Vec<Bought>>,
    /// By customer and stock code.
    deals: HashMap<(CompactString, CompactString), Vec<Deal>>,
}

/// All rows for a part of the file, as [`oracle::totals_without`] takes it.
///
/// # Errors
/// [`OracleError`]; there are no partial rows.
pub fn rows(path: &Path, skipped: &BTreeSet<u64>, through: u64) -> Result<SalesRows, OracleError> {
    let mut direct = Direct::default();
    oracle::each_row(path, skipped, through, |record, line| {
        direct.add(record, line)
    })?;
    Ok(direct.finish())
}

impl Direct {
    /// Takes in one row; `None` if it is not as published.
    fn add(&mut self, record: &csv::ByteRecord, line: u64) -> Option<()> {
        let text = |column| oracle::text(record, column);
        let (invoice, code, who, country) = (text(0)?, text(1)?, text(6)?, text(7)?);
        let units: i64 = text(3)?.parse().ok()?;
        let price = oracle::milli(text(5)?)?;
        let minute = minute(text(4)?)?;
        let milli = units.checked_mul(price)?;

        let moves_goods = !invoice.starts_with('A') && price >= 0 && units != 0;
        let is_refund = moves_goods && units < 0 && invoice.starts_with('C');
        if moves_goods && units < 0 && !is_refund && price == 0 {
            return Some(()); // Written off: of no customer.
        }
        let sums = self
            .hours
            .entry((country.into(), minute.div_euclid(HOUR)))
            .or_default();
        sums.0 += 1;
        sums.1 += milli;
        if !moves_goods || (units < 0 && !is_refund) {
            return Some(());
        }
        // The first Monday after the epoch is day 4.
        let week = (minute.div_euclid(DAY) - 4).div_euclid(7);
        *self.units.entry((week, code.into())).or_default() += units;
        let customer: CompactString = match who {
            "" => format_compact!("guest.{invoice}"),
            who => who.into(),
        };
        if !who.is_empty() && !is_refund {
            let bought = Bought {
                minute,
                invoice: invoice.into(),
                milli,
            };
            self.bought
                .entry(customer.clone())
                .or_default()
                .push(bought);
        }
        let deal = Deal {
            minute,
            line,
            is_refund,
        };
        self.deals
            .entry((customer, code.into()))
            .or_default()
            .push(deal);
        Some(())
    }

    /// The rows.
    #[must_use]
    pub fn finish(mut self) -> SalesRows {
        for deals in self.deals.values_mut() {
            deals.sort_unstable_by_key(|deal| (deal.minute, deal.line));
        }
        let mut rows = SalesRows {
            hourly: spans(
                self.hours
                    .iter()
                    .map(|((who, at), sums)| (who, at * HOUR, *sums)),
            ),
            weekly: self.weekly(),
            sessions: self.bought.iter_mut().flat_map(sessions).collect(),
            top_products: self.top_products(),
            refunds: self
                .deals
                .values()
                .flat_map(|deals| refunds(deals))
                .collect(),
            repeats: self.deals.iter().flat_map(repeats).collect(),
        };
        rows.hourly.sort_unstable();
        rows.weekly.sort_unstable();
        rows.sessions.sort_unstable();
        rows.top_products.sort_unstable();
        rows.refunds.sort_unstable();
        rows.repeats.sort_unstable();
        rows
    }

    /// Each day's sums, added to the seven spans that have the day in them.
    fn weekly(&self) -> Vec<RevenueSpan> {
        let mut weeks: BTreeMap<(&CompactString, i64), Sums> = BTreeMap::new();
        for ((country, hour), (lines, milli)) in &self.hours {
            let day = hour.div_euclid(24);
            for first in day - 6..=day {
                let sums = weeks.entry((country, first)).or_default();
                sums.0 += lines;
                sums.1 += milli;
            }
        }
        spans(
            weeks
                .iter()
                .map(|((who, day), sums)| (*who, day * DAY, *sums)),
        )
    }

    fn top_products(&self) -> Vec<TopRow> {
        let mut weeks: BTreeMap<i64, Vec<(i64, &CompactString)>> = BTreeMap::new();
        for ((week, code), units) in &self.units {
            // Negative, so that the most come first, and of equal ones the lesser code.
            weeks.entry(*week).or_default().push((-units, code));
        }
        let mut rows = Vec::new();
        for (week, mut codes) in weeks {
            codes.sort_unstable();
            for (place, (units, code)) in codes.into_iter().take(10).enumerate() {
                rows.push(TopRow {
                    week: moment((week * 7 + 4) * DAY),
                    rank: place + 1,
                    stock_code: code.clone(),
                    units: i128::from(-units),
                });
            }
        }
        rows
    }
}

fn spans<'a>(sums: impl Iterator<Item = (&'a CompactString, i64, Sums)>) -> Vec<RevenueSpan> {
    let row = |(country, minute, (lines, milli)): (&CompactString, i64, Sums)| RevenueSpan {
        country: country.clone(),
        start: moment(minute),
        lines,
        amount: pounds(milli),
    };
    sums.map(row).collect()
}

/// One customer's purchases, cut where 30 days or more lie between.
fn sessions((customer, bought): (&CompactString, &mut Vec<Bought>)) -> Vec<SessionRow> {
    bought.sort_by_key(|bought| bought.minute);
    let together = |one: &Bought, two: &Bought| two.minute - one.minute < 30 * DAY;
    let row = |session: &[Bought]| {
        let invoices: BTreeSet<_> = session.iter().map(|bought| &bought.invoice).collect();
        SessionRow {
            customer: customer.clone(),
            start: moment(session[0].minute),
            end: moment(session[session.len() - 1].minute + 30 * DAY),
            invoices: invoices.len() as u64,
            lines: session.len() as u64,
            amount: pounds(session.iter().map(|bought| bought.milli).sum()),
        }
    };
    bought.chunk_by(together).map(row).collect()
}

/// Each refund of one customer's code with the sales of the 365 days before it.
fn refunds(deals: &[Deal]) -> Vec<RefundRow> {
    let row = |refund: &Deal| {
        let mut found = RefundRow {
            line: refund.line,
            hour: moment(refund.minute - refund.minute.rem_euclid(HOUR)),
            sale: None,
            sales: 0,
        };
        for sale in deals.iter().filter(|deal| !deal.is_refund) {
            if (refund.minute - 365 * DAY..=refund.minute).contains(&sale.minute) {
                found.sale = Some(sale.line); // They are in order: the last one stays.
                found.sales += 1;
            }
        }
        found
    };
    deals
        .iter()
        .filter(|deal| deal.is_refund)
        .map(row)
        .collect()
}

/// Bought, brought back, bought, brought back, each later than the one before, in less than 30 days.
fn repeats(
    ((customer, code), deals): (&(CompactString, CompactString), &Vec<Deal>),
) -> Vec<RepeatRow> {
    if customer.starts_with("guest.") {
        return Vec::new();
    }
    let first_after = |minute: i64, is_refund: bool| {
        let later = |deal: &&Deal| deal.minute > minute && deal.is_refund == is_refund;
        deals.iter().find(later).map(|deal| deal.minute)
    };
    let row = |begin: &Deal| {
        let first = begin.minute;
        let second = first_after(first, true)?;
        let third = first_after(second, false)?;
        let fourth = first_after(third, true)?;
        (fourth - first < 30 * DAY).then(|| RepeatRow {
            customer: customer.clone(),
            stock_code: code.clone(),
            line: begin.line,
            times: [first, second, third, fourth].map(moment),
        })
    };
    let bought = deals.iter().filter(|deal| !deal.is_refund);
    bought.filter_map(row).collect()
}

fn pounds(milli: i64) -> Money {
    Money::new(milli.into(), 3).unwrap_or_default()
}

fn moment(minute: i64) -> Timestamp {
    Timestamp::from_micros(minute * 60_000_000)
}

/// `2010-12-01 08:26` as minutes since 1970.
fn minute(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    if text.len() != 16 {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    // Years that begin with March, so that a leap day is the last one.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // March to July have 153 days, and so have August to December. 719,468 days lie before 1970.
    let days = year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(days * DAY + number(11, 13)? * HOUR + number(14, 16)?)
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (date, minutes) in [
            ("1970-01-01 00:00", 0),
            ("1970-01-01 01:02", 62),
            ("1969-12-31 23:59", -1),
            ("2000-02-29 00:00", 951_782_400 / 60),
            ("2000-03-01 00:00", 951_868_800 / 60),
            ("2010-12-01 08:26", 1_291_191_960 / 60),
            ("2100-03-01 00:00", 4_107_542_400 / 60),
        ] {
            assert_eq!(minute(date), Some(minutes), "{date}");
        }
        for wrong in ["", "2010-12-01", "2010-12-01 8:26", "20xx-12-01 08:26"] {
            assert_eq!(minute(wrong), None, "{wrong}");
        }
    }
}
