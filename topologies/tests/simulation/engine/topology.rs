//! What the simulated engine runs: an aggregate, two projections of its events, and a dataflow over them.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream::dataflow::{Dataflow, FlowOptions};
use millstream::prelude::*;
use millstream_operators::failing::ItemPolicy;
use millstream_operators::function::count;
use millstream_operators::keyed::{Context, TryKeyedProcess, Ttl};
use serde::{Deserialize, Serialize};

/// Whether user code that may fail does.
#[derive(Clone, Default)]
pub(crate) struct Trouble(Arc<AtomicBool>);

impl Trouble {
    pub(crate) fn set(&self, is_on: bool) {
        self.0.store(is_on, Ordering::Relaxed);
    }

    fn strikes(&self, tag: u64, modulus: u64) -> bool {
        tag.is_multiple_of(modulus) && self.0.load(Ordering::Relaxed)
    }
}

/// A balance that never falls below zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Account {
    balance: i64,
    moves: u64,
    padding: Vec<u8>,
}

pub(crate) enum Command {
    /// All of these, one event each.
    Move {
        tag: u64,
        by: Vec<i64>,
    },
    /// Nothing happens.
    Look,
    Panic,
    /// An event that is fine, and one that the account cannot evolve by.
    Break,
}

/// Of events that nobody asked for, and that are never to be in the log.
const BROKEN: u64 = u64::MAX;

/// An event says which operation it is of, how many that one has, and what the balance came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum AccountEvent {
    Moved {
        tag: u64,
        part: u8,
        of: u8,
        by: i64,
        balance: i64,
    },
}

impl Event for AccountEvent {}

/// Too little there, as of this many events.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the balance is {balance} after {moves} moves")]
pub(crate) struct TooLittle {
    pub(crate) balance: i64,
    pub(crate) moves: u64,
}

impl Aggregate for Account {
    const CATEGORY: &'static str = "account";
    const VERSION: u32 = 1;
    type Command = Command;
    type Event = AccountEvent;
    type Rejection = TooLittle;

    fn decide(&self, command: Command, out: &mut Decision<'_, Self>) -> Result<(), TooLittle> {
        let (tag, all) = match command {
            Command::Look => return Ok(()),
            // A panic that tells nobody.
            Command::Panic => std::panic::resume_unwind(Box::new("as it was told to")),
            Command::Break => (BROKEN, vec![1, 1]),
            Command::Move { tag, by } => (tag, by),
        };
        let of = all.len() as u8;
        let mut balance = self.balance;
        for (part, by) in (0..).zip(all) {
            balance += by;
            out.emit(AccountEvent::Moved {
                tag,
                part,
                of,
                by,
                balance,
            });
        }
        if balance < 0 {
            let (balance, moves) = (self.balance, self.moves);
            return Err(TooLittle { balance, moves });
        }
        Ok(())
    }

    fn evolve(&mut self, event: &AccountEvent) {
        let AccountEvent::Moved { tag, part, by, .. } = event;
        if (*tag, *part) == (BROKEN, 1) {
            std::panic::resume_unwind(Box::new("as it was told to"));
        }
        self.balance += by;
        self.moves += 1;
        // Of some size, so that a snapshot is more than a few bytes.
        self.padding.resize(64, self.moves as u8);
    }
}

/// Of an account: what was applied to the row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct BalanceRow {
    pub(crate) balance: i64,
    pub(crate) moves: u64,
    pub(crate) last: Option<u64>,
}

pub(crate) const BALANCES: Table<String, BalanceRow> = Table::named("balances");
pub(crate) const TOTALS: Table<u64, i64> = Table::named("totals");

/// Rows by partition; fails while there is trouble.
pub(crate) struct Balances(pub(crate) Trouble);

#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("there is trouble with {0}")]
    Trouble(u64),
    #[error("event {found} comes after event {last:?}")]
    Order { last: Option<u64>, found: u64 },
}

/// Events of operations of this number fail in the projection, and of the other one in the dataflow.
pub(super) const UNLUCKY: u64 = 5;
pub(super) const UNLUCKY_ITEMS: u64 = 7;

impl Projection for Balances {
    const NAME: &'static str = "balances";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::ByPartition;
    const CATEGORY: &'static str = "account";
    type Event = AccountEvent;
    type Tables = (Table<String, BalanceRow>,);
    type Error = Refused;

    fn tables(&self) -> Self::Tables {
        (BALANCES,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, AccountEvent>,
        (balances,): &mut (TableMut<String, BalanceRow>,),
    ) -> Result<(), Refused> {
        let AccountEvent::Moved { tag, by, .. } = event.payload;
        let mut row = balances
            .get(&event.id.to_owned())
            .cloned()
            .unwrap_or_default();
        let (last, found) = (row.last, event.version);
        if last.is_some_and(|last| last >= found) {
            return Err(Refused::Order { last, found });
        }
        row.balance += by;
        row.moves += 1;
        row.last = Some(found);
        // Changed before it fails, so that what fails must be undone.
        balances.put(&event.id.to_owned(), row);
        if self.0.strikes(*tag, UNLUCKY) {
            return Err(Refused::Trouble(*tag));
        }
        Ok(())
    }
}

/// Sums over all accounts, by the number of the operation modulo three.
pub(crate) struct Totals;

impl Projection for Totals {
    const NAME: &'static str = "totals";
    const VERSION: u32 = 1;
    const ROWS: Rows = Rows::Global;
    const CATEGORY: &'static str = "account";
    type Event = AccountEvent;
    type Tables = (Table<u64, i64>,);
    type Error = Infallible;

    fn tables(&self) -> Self::Tables {
        (TOTALS,)
    }

    fn project(
        &self,
        event: &ProjectedEvent<'_, AccountEvent>,
        (totals,): &mut (TableMut<u64, i64>,),
    ) -> Result<(), Infallible> {
        let AccountEvent::Moved { tag, by, .. } = event.payload;
        totals.update(&(tag % 3), |sum| *sum += by);
        Ok(())
    }
}

/// An event of the log on its way through the dataflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) account: String,
    pub(crate) version: u64,
    pub(crate) tag: u64,
    pub(crate) part: u8,
    by: i64,
}

/// What the dataflow makes of an event of an account: the sum and the number of those so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summed {
    pub(crate) account: String,
    pub(crate) items: u64,
    pub(crate) sum: i64,
    pub(crate) version: u64,
}

impl Event for Summed {}

/// Sums per account; fails while there is trouble.
#[derive(Clone)]
struct Summing(Trouble);

impl TryKeyedProcess<String, Item> for Summing {
    type State = (u64, i64);
    type Out = Summed;
    type Side = Infallible;
    type Error = Refused;

    fn item(
        &mut self,
        account: &String,
        (items, sum): &mut (u64, i64),
        _time: Timestamp,
        item: &Item,
        ctx: &mut Context<'_, Summed>,
    ) -> Result<(), Refused> {
        *items += 1;
        *sum += item.by;
        ctx.emit(Summed {
            account: account.clone(),
            items: *items,
            sum: *sum,
            version: item.version,
        });
        if self.0.strikes(item.tag, UNLUCKY_ITEMS) {
            return Err(Refused::Trouble(item.tag));
        }
        Ok(())
    }
}

/// An event again, as the dataflow passes it on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Copied {
    pub(crate) account: String,
    pub(crate) items: u64,
    pub(crate) tag: u64,
    pub(crate) part: u8,
}

impl Event for Copied {}

/// Category of these.
pub(crate) const COPIES: &str = "copies";

/// Results of the dataflow by the last digit of their sum.
pub(crate) const DIGITS: Table<u64, u64> = Table::named("digits");

/// Category of the dataflow's events.
pub(crate) const SUMS: &str = "sums";

/// Log -> copies, numbered per account -> log. Log -> sums per account, where items may fail -> log; and from there -> counts
/// by digit -> table.
pub(crate) fn dataflow(options: FlowOptions, trouble: &Trouble) -> Dataflow {
    let trouble = trouble.clone();
    let policy = ItemPolicy::dead_letter().attempts(2, Duration::from_millis(5));
    let declared = Dataflow::build_with("sums", options, move |flow| {
        let items = flow.records::<AccountEvent>().stream().map(|event| {
            let AccountEvent::Moved { tag, part, by, .. } = event.payload;
            Item {
                account: event.stream.id().to_owned(),
                version: event.version,
                tag,
                part,
                by,
            }
        });
        let mut both = items.share(2).into_iter();
        let (copied, summed) = (both.next().unwrap(), both.next().unwrap());
        copied
            .key_by(|item: &Item| item.account.clone())
            .named("copying")
            .fold(
                Ttl::Never,
                (0, 0, 0),
                |copy: &mut (u64, u64, u8), item: &Item| {
                    *copy = (copy.0 + 1, item.tag, item.part);
                },
            )
            .to_log("copying", |(account, (items, tag, part))| {
                let stream = StreamId::new(COPIES, &account).unwrap();
                let copied = Copied {
                    account,
                    items,
                    tag,
                    part,
                };
                (stream, copied)
            });
        let sums = summed
            .key_by(|item: &Item| item.account.clone())
            .named("summing")
            .try_process(policy, Summing(trouble));
        let mut both = sums.share(2).into_iter();
        let (events, rows) = (both.next().unwrap(), both.next().unwrap());
        events.to_log_with_checkpoints("summing", |sum| {
            let stream = StreamId::new(SUMS, &sum.account).unwrap();
            (stream, sum)
        });
        rows.key_by(|sum: &Summed| sum.sum.rem_euclid(10) as u64)
            .named("digits")
            .aggregate_running(Ttl::Never, count())
            .to_table(&DIGITS, |(digit, count)| (digit, Some(count)));
    });
    declared.unwrap()
}
