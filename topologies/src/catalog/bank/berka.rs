//! Reads the PKDD'99 ("Berka") bank data as commands to accounts.
//!
//! Input: the `trans` table (`;`, quoted, `\r\n`, dates as YYMMDD, Czech words) and a table that says in
//! which order an account's transactions of one day happened, which `trans` itself does not. Steps come by
//! day, within a day account by account in that order.
//!
//! *Roundings.* The bank rounded amounts and balances apart. Where a recorded balance is not the one
//! before it plus the amount, an explicit [`AccountCommand::Round`] follows, so that after every
//! transaction the account has the recorded balance. More than [`ROUNDING_MAX`] is an error.
//!
//! *Overdrafts.* The data name no limits, but 26 accounts went below zero. Each account is opened with the
//! least limit under which its own recorded withdrawals were allowed, zero for all that never needed
//! one. So the rule is in force in the replay and refuses nothing that the bank allowed; that the
//! real limits were higher is likely and cannot be known.
//!
//! Failure: any row that is not understood ends the reading, since every balance behind it would be
//! wrong. Cost: all rows in memory, about 100 bytes each.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use compact_str::{CompactString, ToCompactString};
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;

use super::account::{AccountCommand, ROUNDING_MAX};
use super::cents::Cents;
use super::transaction::parse;
pub use super::transaction::{Entry, ORDER_COLUMNS, TRANS_COLUMNS, Transaction};
use crate::catalog::table::{BadLine, Table, TableError};

/// First day that is not complete in the published part of the table.
pub const INCOMPLETE_FROM: Date = date(1994, 3, 31);

/// The commands of one transaction, to be sent in order: opening, entry, rounding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// The account's id in its category.
    pub id: CompactString,
    /// Start of the day. Microseconds since 1970, UTC.
    pub at_us: i64,
    /// Before an account's first transaction.
    pub open: Option<AccountCommand>,
    /// The transaction.
    pub entry: AccountCommand,
    /// Where the recorded balance is rounded.
    pub round: Option<AccountCommand>,
    /// The recorded transaction, with the balance that the account must have now.
    pub recorded: &'a Transaction,
}

/// What was imported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BerkaReport {
    /// Transactions.
    pub transactions: u64,
    /// Accounts with at least one of them.
    pub accounts: u64,
    /// Accounts that need an overdraft limit.
    pub overdrafts: u64,
    /// Transactions whose recorded balance follows exactly.
    pub exact: u64,
    /// Transactions that need a rounding.
    pub rounded: u64,
    /// Sum of the roundings with their signs.
    pub rounding_sum: Cents,
    /// Largest rounding, without sign.
    pub rounding_max: Cents,
}

/// Why the data cannot be imported. Nothing of it is then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BerkaError {
    /// A file cannot be read, has another header, or a field cannot be used.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The order table has no place for a transaction.
    #[error(
        "{file}, line {line}, trans_id: the order has no transaction {id} of account {account}"
    )]
    NoOrder {
        /// Name of the `trans` file.
        file: Arc<str>,
        /// Line in it.
        line: u64,
        /// The transaction.
        id: u64,
        /// Its account.
        account: u32,
    },
    /// A transaction stands twice in a file.
    #[error("{file}, line {line}, trans_id: transaction {id} is there twice")]
    Repeated {
        /// Name of the file.
        file: Arc<str>,
        /// Line of the second.
        line: u64,
        /// The transaction.
        id: u64,
    },
    /// A recorded balance is further from the computed one than a rounding explains.
    #[error("{file}, line {line}, balance: {recorded} recorded, {computed} computed")]
    DoesNotChain {
        /// Name of the `trans` file.
        file: Arc<str>,
        /// Line in it.
        line: u64,
        /// Balance recorded.
        recorded: Cents,
        /// Recorded balance before, with the amount.
        computed: Cents,
    },
}

impl From<BadLine> for BerkaError {
    fn from(line: BadLine) -> Self {
        TableError::from(line).into()
    }
}

/// Imported transactions, in the order in which they are to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    transactions: Vec<Transaction>,
    limits: BTreeMap<u32, Cents>,
}

impl History {
    /// Reads the transactions before the day `before`, from files that may be compressed (`.zst`).
    ///
    /// # Errors
    /// [`BerkaError`]; it names file, line and field.
    pub fn open(trans: &Path, order: &Path, before: Date) -> Result<Self, BerkaError> {
        let order = Table::open(order, b',', &ORDER_COLUMNS)?;
        Self::read(Table::open(trans, b';', &TRANS_COLUMNS)?, order, before)
    }

    /// The same from readers, which errors call `trans` and `order`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_readers(
        trans: impl Read + Send + 'static,
        order: impl Read + Send + 'static,
        before: Date,
    ) -> Result<Self, BerkaError> {
        let order = Table::from_reader("order", Box::new(order), b',', &ORDER_COLUMNS)?;
        let trans = Table::from_reader("trans", Box::new(trans), b';', &TRANS_COLUMNS)?;
        Self::read(trans, order, before)
    }

    fn read(mut trans: Table, order: Table, before: Date) -> Result<Self, BerkaError> {
        let file = trans.file().clone();
        let mut places = read_order(order)?;
        let mut placed = Vec::new();
        while let Some(row) = trans.next_row()? {
            let transaction = parse(row)?;
            if transaction.date >= before {
                continue;
            }
            let (id, account) = (transaction.id, transaction.account);
            // Taken out, so that a repeated transaction finds no place either.
            let place = places
                .remove(&(id, account))
                .ok_or_else(|| BerkaError::NoOrder {
                    file: file.clone(),
                    line: transaction.line,
                    id,
                    account,
                })?;
            placed.push((transaction.date, place, transaction));
        }
        placed.sort_by_key(|&(date, place, _)| (date, place));
        let transactions = placed
            .into_iter()
            .map(|(_, _, transaction)| transaction)
            .collect();
        let mut history = Self {
            transactions,
            limits: BTreeMap::new(),
        };
        history.chain(&file)?;
        Ok(history)
    }

    /// Finds every rounding and the least overdraft limits.
    fn chain(&mut self, file: &Arc<str>) -> Result<(), BerkaError> {
        let mut balances: HashMap<u32, Cents> = HashMap::new();
        for transaction in &mut self.transactions {
            let before = balances.insert(transaction.account, transaction.balance);
            let before = before.unwrap_or(Cents::ZERO);
            let computed = match transaction.entry {
                Entry::Deposit(_) | Entry::Interest => before.checked_add(transaction.amount),
                Entry::Withdrawal(_) | Entry::Fee(_) => before.checked_sub(transaction.amount),
            };
            let rounding = computed.and_then(|computed| transaction.balance.checked_sub(computed));
            let within = -ROUNDING_MAX.hundredths()..=ROUNDING_MAX.hundredths();
            let (Some(computed), Some(rounding)) = (computed, rounding) else {
                return Err(does_not_chain(file, transaction, before));
            };
            if !within.contains(&rounding.hundredths()) {
                return Err(does_not_chain(file, transaction, computed));
            }
            transaction.rounding = rounding;
            let limit = self.limits.entry(transaction.account).or_default();
            if matches!(transaction.entry, Entry::Withdrawal(_)) {
                let needed = Cents::ZERO.checked_sub(computed).unwrap_or(Cents::ZERO);
                *limit = needed.max(*limit);
            }
        }
        Ok(())
    }

    /// The transactions, in the order in which they are to be sent.
    #[must_use]
    pub fn transactions(&self) -> &[Transaction] {
        &self.transactions
    }

    /// Every account with its overdraft limit, by number.
    pub fn accounts(&self) -> impl Iterator<Item = (u32, Cents)> {
        self.limits
            .iter()
            .map(|(&account, &limit)| (account, limit))
    }

    /// The commands, in the order in which they are to be sent.
    pub fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        let mut unopened = self.limits.clone();
        self.transactions.iter().map(move |recorded| {
            let open = unopened.remove(&recorded.account);
            let midnight = recorded.date.to_datetime(jiff::civil::Time::midnight());
            Step {
                id: recorded.account.to_compact_string(),
                at_us: TimeZone::UTC
                    .to_timestamp(midnight)
                    .map_or(0, jiff::Timestamp::as_microsecond),
                open: open.map(|overdraft_limit| AccountCommand::Open { overdraft_limit }),
                entry: command(recorded),
                round: (recorded.rounding != Cents::ZERO).then_some(AccountCommand::Round {
                    difference: recorded.rounding,
                    reference: recorded.id,
                }),
                recorded,
            }
        })
    }

    /// What was imported. Cost: one pass over the transactions.
    #[must_use]
    pub fn report(&self) -> BerkaReport {
        let roundings = || {
            self.transactions
                .iter()
                .map(|recorded| recorded.rounding.hundredths())
        };
        let rounded = roundings().filter(|&rounding| rounding != 0).count() as u64;
        let transactions = self.transactions.len() as u64;
        BerkaReport {
            transactions,
            accounts: self.limits.len() as u64,
            overdrafts: self
                .limits
                .values()
                .filter(|limit| limit.is_positive())
                .count() as u64,
            exact: transactions - rounded,
            rounded,
            rounding_sum: Cents::new(roundings().sum()),
            rounding_max: Cents::new(roundings().map(i64::abs).max().unwrap_or(0)),
        }
    }
}

fn does_not_chain(file: &Arc<str>, transaction: &Transaction, computed: Cents) -> BerkaError {
    let (line, recorded) = (transaction.line, transaction.balance);
    BerkaError::DoesNotChain {
        file: file.clone(),
        line,
        recorded,
        computed,
    }
}

fn command(recorded: &Transaction) -> AccountCommand {
    let (amount, reference) = (recorded.amount, recorded.id);
    match recorded.entry {
        Entry::Deposit(channel) => AccountCommand::Deposit {
            amount,
            channel,
            reference,
        },
        Entry::Withdrawal(channel) => AccountCommand::Withdraw {
            amount,
            channel,
            reference,
        },
        Entry::Interest => AccountCommand::CreditInterest { amount, reference },
        Entry::Fee(fee) => AccountCommand::ChargeFee {
            amount,
            fee,
            reference,
        },
    }
}

/// The place of every transaction of an account.
fn read_order(mut table: Table) -> Result<HashMap<(u64, u32), u64>, BerkaError> {
    let file = table.file().clone();
    let mut places = HashMap::new();
    while let Some(row) = table.next_row()? {
        let (place, account, id) = (row.number(0)?, row.number(1)?, row.number(2)?);
        if places.insert((id, account), place).is_some() {
            return Err(BerkaError::Repeated {
                file,
                line: row.line(),
                id,
            });
        }
    }
    Ok(places)
}
