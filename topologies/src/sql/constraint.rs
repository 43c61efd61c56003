//! What a query's filters say of single columns.
//!
//! Place: expressions from DataFusion's planner -> **`Constraint`** -> the log's and tables' searches. A constraint
//! never leaves out a row that its filters let pass; where it says exactly what they say ([`Bounded::is_exact`]),
//! nobody has to look again. What it does not understand it passes over, and DataFusion filters.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Like, Operator};

use super::ranges::{Datum, INTERVALS_MAX, Ranges};

/// What a column's values are compared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColumnKind {
    Number,
    /// Microseconds.
    Time,
    Text,
}

/// The columns that a source can search by.
pub(super) type Columns<'a> = &'a dyn Fn(&str) -> Option<ColumnKind>;

/// Ranges by column; a column without any may be anything.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Constraint(BTreeMap<String, Ranges>);

/// What an expression says of columns.
#[derive(Clone, Debug)]
pub(super) struct Bounded {
    pub(super) constraint: Constraint,
    /// It says nothing else.
    pub(super) is_exact: bool,
}

impl Constraint {
    /// What all of these filters say together.
    pub(super) fn of(filters: &[Expr], columns: Columns<'_>) -> Self {
        let mut all = Self::default();
        for filter in filters {
            if let Some(bounded) = bounded(filter, columns) {
                all = all.and(bounded.constraint).0;
            }
        }
        all
    }

    /// Whether [`of`](Self::of) these keeps all that they say, in whatever order they come.
    pub(super) fn keeps_all<'b>(filters: impl Iterator<Item = &'b Bounded>) -> bool {
        let mut intervals: BTreeMap<&str, usize> = BTreeMap::new();
        for (name, ranges) in filters.flat_map(|filter| &filter.constraint.0) {
            let product = intervals.entry(name).or_insert(1);
            *product = product.saturating_mul(ranges.intervals().len());
        }
        intervals.values().all(|product| *product <= INTERVALS_MAX)
    }

    /// The ranges of a column, if there are any.
    pub(super) fn column(&self, name: &str) -> Option<&Ranges> {
        self.0.get(name)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What both say, and whether nothing of it was lost.
    fn and(mut self, other: Self) -> (Self, bool) {
        let mut is_whole = true;
        for (name, ranges) in other.0 {
            let both = match self.0.get(&name) {
                Some(own) => own.and(&ranges),
                None => Some(ranges),
            };
            match both {
                Some(both) => drop(self.0.insert(name, both)),
                None => is_whole = false,
            }
        }
        (self, is_whole)
    }

    /// What one of both says; nothing of a column that only one speaks of.
    fn or(self, other: &Self) -> Self {
        let own = self.0.into_iter();
        let both = own.filter_map(|(name, ranges)| {
            let either = ranges.or(other.0.get(&name)?)?;
            Some((name, either))
        });
        Self(both.collect())
    }

    /// The one column that it speaks of.
    fn only_column(&self) -> Option<&str> {
        let mut names = self.0.keys();
        match (names.next(), names.next()) {
            (Some(name), None) => Some(name),
            _ => None,
        }
    }
}

/// What `expr` says of columns, if anything.
pub(super) fn bounded(expr: &Expr, columns: Columns<'_>) -> Option<Bounded> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::And => conjunction(bounded(left, columns), bounded(right, columns)),
            Operator::Or => disjunction(bounded(left, columns)?, bounded(right, columns)?),
            _ => comparison(left, *op, right, columns)
                .or_else(|| comparison(right, op.swap()?, left, columns)),
        },
        Expr::Between(Between {
            expr,
            negated: false,
            low,
            high,
        }) => conjunction(
            comparison(expr, Operator::GtEq, low, columns),
            comparison(expr, Operator::LtEq, high, columns),
        ),
        Expr::InList(InList {
            expr,
            list,
            negated: false,
        }) => {
            let mut items = list.iter();
            let mut any = comparison(expr, Operator::Eq, items.next()?, columns)?;
            for item in items {
                any = disjunction(any, comparison(expr, Operator::Eq, item, columns)?)?;
            }
            Some(any)
        }
        Expr::Like(like) => prefix(like, columns),
        _ => None,
    }
}

fn conjunction(left: Option<Bounded>, right: Option<Bounded>) -> Option<Bounded> {
    match (left, right) {
        (Some(left), Some(right)) => {
            let (constraint, is_whole) = left.constraint.and(right.constraint);
            Some(Bounded {
                constraint,
                is_exact: is_whole && left.is_exact && right.is_exact,
            })
        }
        (Some(one), None) | (None, Some(one)) => Some(Bounded {
            is_exact: false,
            ..one
        }),
        (None, None) => None,
    }
}

fn disjunction(left: Bounded, right: Bounded) -> Option<Bounded> {
    let column = left.constraint.only_column();
    let is_one = column.is_some() && column == right.constraint.only_column();
    let is_exact = is_one && left.is_exact && right.is_exact;
    let constraint = left.constraint.or(&right.constraint);
    // Without a column it says nothing; with one fewer intervals than it should have it would not be here.
    (!constraint.is_empty()).then_some(Bounded {
        constraint,
        is_exact,
    })
}

fn comparison(column: &Expr, op: Operator, value: &Expr, columns: Columns<'_>) -> Option<Bounded> {
    let (name, kind) = named(column, columns)?;
    let Expr::Literal(value, _) = value else {
        return None;
    };
    let datum = datum(value, kind)?;
    let ranges = match op {
        Operator::Eq => Ranges::point(datum),
        Operator::Lt => Ranges::of(Bound::Unbounded, Bound::Excluded(datum)),
        Operator::LtEq => Ranges::of(Bound::Unbounded, Bound::Included(datum)),
        Operator::Gt => Ranges::of(Bound::Excluded(datum), Bound::Unbounded),
        Operator::GtEq => Ranges::of(Bound::Included(datum), Bound::Unbounded),
        Operator::NotEq => {
            let below = Ranges::of(Bound::Unbounded, Bound::Excluded(datum.clone()));
            below.or(&Ranges::of(Bound::Excluded(datum), Bound::Unbounded))?
        }
        _ => return None,
    };
    Some(of_column(name, ranges, true))
}

fn of_column(name: &str, ranges: Ranges, is_exact: bool) -> Bounded {
    Bounded {
        constraint: Constraint(BTreeMap::from([(name.to_owned(), ranges)])),
        is_exact,
    }
}

/// `like 'abc%'`: what stands before the first wildcard.
fn prefix(like: &Like, columns: Columns<'_>) -> Option<Bounded> {
    if like.negated || like.case_insensitive || like.escape_char.is_some() {
        return None;
    }
    let (name, kind) = named(&like.expr, columns)?;
    let Expr::Literal(pattern, _) = &*like.pattern else {
        return None;
    };
    let Datum::Text(pattern) = datum(pattern, kind)? else {
        return None;
    };
    // A backslash escapes what follows; rare, and left to DataFusion.
    let is_special = |byte: &u8| matches!(byte, b'%' | b'_' | b'\\');
    let length = pattern.iter().position(is_special)?;
    let ranges = Ranges::prefix(&pattern[..length]);
    Some(of_column(name, ranges, &pattern[length..] == b"%"))
}

fn named<'e>(expr: &'e Expr, columns: Columns<'_>) -> Option<(&'e str, ColumnKind)> {
    let Expr::Column(column) = expr else {
        return None;
    };
    Some((&column.name, columns(&column.name)?))
}

/// A literal as a value of a column of this kind; `None` for null and what is of another kind.
fn datum(value: &ScalarValue, kind: ColumnKind) -> Option<Datum> {
    if kind == ColumnKind::Text {
        let text = value.try_as_str()??;
        return Some(Datum::Text(text.as_bytes().to_vec()));
    }
    let number = match (value, kind) {
        (ScalarValue::TimestampMicrosecond(Some(time), _), ColumnKind::Time) => (*time).into(),
        (ScalarValue::Boolean(Some(value)), ColumnKind::Number) => i128::from(*value),
        (ScalarValue::Int8(Some(number)), ColumnKind::Number) => (*number).into(),
        (ScalarValue::Int16(Some(number)), ColumnKind::Number) => (*number).into(),
        (ScalarValue::Int32(Some(number)), ColumnKind::Number) => (*number).into(),
        (ScalarValue::Int64(Some(number)), ColumnKind::Number) => (*number).into(),
        (ScalarValue::UInt8(Some(number)), ColumnKind::Number) => (*number).into(),
        (ScalarValue::UInt16(Some(number)), ColumnKind::Number) => (*number).into(),
        (ScalarValue::UInt32(Some(number)), ColumnKind::Number) => (*number).into(),
        (ScalarValue::UInt64(Some(number)), ColumnKind::Number) => (*number).into(),
        _ => return None,
    };
    Some(Datum::Number(number))
}

/// For plans: `offset=3..=9, type="Deposited"`.
impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, ranges)) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{name}={ranges}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::{col, lit};

    fn kind(_: &str) -> Option<ColumnKind> {
        Some(ColumnKind::Number)
    }

    /// Story: of more conditions than are kept the last ones had no effect, since nobody looked at them again.
    #[test]
    fn what_is_too_much_together_is_not_said_to_be_kept() {
        let all = (0..1_100).map(|n| col("a").not_eq(lit(n)));
        let all: Vec<_> = all.collect();
        let keeps_all = |filters: &[Expr]| {
            let bounded: Vec<_> = filters
                .iter()
                .filter_map(|one| bounded(one, &kind))
                .collect();
            assert!(bounded.iter().all(|one| one.is_exact));
            Constraint::keeps_all(bounded.iter())
        };
        let holds = |filters: &[Expr], number: i128| {
            let constraint = Constraint::of(filters, &kind);
            let ranges = constraint.column("a").unwrap();
            ranges.holds(super::super::ranges::Probe::Number(number))
        };
        assert!(keeps_all(&all[..10]) && !holds(&all[..10], 9) && holds(&all[..10], 10));
        // Too wide, and known to be.
        assert!(!keeps_all(&all) && holds(&all, 1_099));
        assert!(holds(&all, 1_100));
        let other = col("b").gt(lit(3));
        assert!(keeps_all(&[all[0].clone(), other]));
    }
}
