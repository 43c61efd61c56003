//! Checks an import against the recorded history: through the log, through the tables, and one against
//! the other.
//!
//! Nothing that the importer computed is believed: balances are added up from stored events, and compared
//! with what the bank recorded after each single transaction. Cost: one read of every account's stream.

use std::collections::BTreeMap;

use compact_str::{CompactString, ToCompactString};
use millstream_engine::event::StreamId;
use millstream_operators::aggregate::Aggregate;

use super::account::{Account, AccountEvent};
use super::balances::BALANCES;
use super::berka::{History, Transaction};
use super::books::{CONTROL_KEY, Control, LEDGER_ACCOUNTS, LEDGER_CONTROL, LEDGER_WORLD};
use super::cents::Cents;
use super::ledger::World;
use super::report::{Check, Replayed};
use super::run::{BankRunError, Sent};
use crate::Engine;

/// An account's recorded transactions, in order.
type Recorded<'h> = BTreeMap<u32, Vec<&'h Transaction>>;

/// Reads everything back. Gives the stored events' figures and every check.
pub(super) fn all(
    engine: &Engine,
    history: &History,
    sent: &Sent,
) -> Result<(Replayed, Vec<Check>), BankRunError> {
    let mut recorded = Recorded::new();
    for transaction in history.transactions() {
        let account = recorded.entry(transaction.account).or_default();
        account.push(transaction);
    }
    let (replayed, after_each) = replay(engine, &recorded)?;
    let mut checks = vec![
        after_each,
        roundings(&replayed, history),
        balances(engine, &recorded)?,
    ];
    checks.extend(books(engine, &replayed, sent)?);
    checks.push(parked(engine)?);
    Ok((replayed, checks))
}

/// The books' control row as of now.
pub(super) fn control(engine: &Engine) -> Result<Control, BankRunError> {
    let table = engine.table(&LEDGER_CONTROL)?;
    Ok(table
        .get(&CompactString::const_new(CONTROL_KEY))?
        .unwrap_or_default())
}

fn check(name: &'static str, wrong: Option<String>, right: impl FnOnce() -> String) -> Check {
    Check {
        name,
        holds: wrong.is_none(),
        detail: wrong.unwrap_or_else(right),
    }
}

/// A sum as an amount: `-39296720.10`.
fn amount(hundredths: i128) -> String {
    let sign = if hundredths < 0 { "-" } else { "" };
    let size = hundredths.unsigned_abs();
    format!("{sign}{}.{:02}", size / 100, size % 100)
}

/// Reads every account's events and compares its balance after each transaction.
fn replay(engine: &Engine, recorded: &Recorded<'_>) -> Result<(Replayed, Check), BankRunError> {
    let (mut replayed, mut wrong) = (Replayed::default(), None);
    for (account, transactions) in recorded {
        let stream = StreamId::new(Account::CATEGORY, &account.to_compact_string())
            .expect("a number is part of a stream id");
        let events = engine.events::<AccountEvent>(&stream, 0, usize::MAX)?;
        let payloads = events.iter().map(|event| &event.payload);
        let outcome = replay_account(payloads, transactions, &mut replayed);
        if let (Err(what), None) = (outcome, &wrong) {
            wrong = Some(format!("account {account}, {what}"));
        }
    }
    let expected: usize = recorded.values().map(Vec::len).sum();
    let checked = check(
        "the recorded balance after every transaction",
        wrong,
        || format!("{} of {expected}", replayed.transactions),
    );
    Ok((replayed, checked))
}

/// Adds up one account's events: its opening, then per transaction an entry and perhaps a rounding,
/// and nothing else.
pub(super) fn replay_account<'e>(
    events: impl Iterator<Item = &'e AccountEvent>,
    transactions: &[&Transaction],
    replayed: &mut Replayed,
) -> Result<(), String> {
    let mut events = events.inspect(|_| replayed.events += 1).peekable();
    if !matches!(events.next(), Some(AccountEvent::Opened { .. })) {
        return Err("event 0: it does not begin with its opening".to_owned());
    }
    let mut balance = 0i128;
    let (mut found, mut exact, mut sum, mut largest) = (0, 0, 0, 0);
    for transaction in transactions {
        let (line, reference) = (transaction.line, Some(transaction.id));
        let mut entries = 0;
        let mut rounding = 0;
        while let Some(event) = events.next_if(|event| event.reference() == reference) {
            let change = event.change().hundredths();
            balance += i128::from(change);
            match event {
                AccountEvent::Rounded { .. } => rounding += change,
                _ => entries += 1,
            }
        }
        if entries != 1 {
            return Err(format!(
                "line {line}: {entries} events of the transaction, one expected"
            ));
        }
        let expected = transaction.balance;
        if balance != i128::from(expected.hundredths()) {
            return Err(format!(
                "line {line}: {expected} recorded, {} found",
                amount(balance)
            ));
        }
        found += 1;
        exact += u64::from(rounding == 0);
        sum += rounding;
        largest = largest.max(rounding.abs());
    }
    let strange = events.count();
    replayed.transactions += found;
    replayed.exact += exact;
    replayed.rounding_sum = Cents::new(replayed.rounding_sum.hundredths() + sum);
    replayed.rounding_max = replayed.rounding_max.max(Cents::new(largest));
    if strange == 0 {
        return Ok(());
    }
    Err(format!(
        "{strange} events after its last recorded transaction"
    ))
}

/// The roundings that are stored are those which the recorded balances need.
fn roundings(replayed: &Replayed, history: &History) -> Check {
    let needed = history.report();
    let found = (replayed.exact, replayed.rounding_sum, replayed.rounding_max);
    let wanted = (needed.exact, needed.rounding_sum, needed.rounding_max);
    let show = |(exact, sum, max): (u64, Cents, Cents)| {
        format!("{exact} transactions exact, the rest rounded by {max} at most and {sum} in all")
    };
    let wrong = (found != wanted).then(|| format!("{}; needed: {}", show(found), show(wanted)));
    check("the roundings that the records need", wrong, || show(found))
}

/// The table of balances against the last recorded ones.
fn balances(engine: &Engine, recorded: &Recorded<'_>) -> Result<Check, BankRunError> {
    let table = engine.table(&BALANCES)?;
    let mut wrong = None;
    for (account, transactions) in recorded {
        let expected = transactions.last().map(|last| last.balance);
        let found = table.get(&account.to_compact_string())?;
        if found != expected && wrong.is_none() {
            wrong = Some(format!(
                "account {account}: {} in the table, {} recorded",
                found.map_or("nothing".to_owned(), |found| found.to_string()),
                expected.unwrap_or_default()
            ));
        }
    }
    Ok(check("the table of balances at the end", wrong, || {
        format!("{} accounts", recorded.len())
    }))
}

/// The books: by their control row all the time, and added up anew from all rows.
fn books(engine: &Engine, replayed: &Replayed, sent: &Sent) -> Result<Vec<Check>, BankRunError> {
    let control = control(engine)?;
    let (mut accounts, mut world, mut balances, mut rounded) = (0i128, 0i128, 0i128, 0i128);
    engine
        .table(&LEDGER_ACCOUNTS)?
        .for_each(|_, row| accounts += row)?;
    engine.table(&LEDGER_WORLD)?.for_each(|side, row| {
        world += row;
        if side == World::Rounding {
            rounded += row;
        }
    })?;
    engine
        .table(&BALANCES)?
        .for_each(|_, row| balances += i128::from(row.hundredths()))?;
    let wrong = sent
        .unbalanced
        .first()
        .map(|sum| format!("a control sum of {}", amount(*sum)));
    let mut checks = vec![check(
        "the ledger sums to zero while commands come in",
        wrong,
        || format!("looked at {} times", sent.looks),
    )];
    let anew = accounts + world;
    let shown = format!("accounts {}, the world {}", amount(accounts), amount(world));
    let wrong = (anew != 0 || (accounts, world) != (control.accounts, control.world))
        .then(|| format!("{shown}; control row in hundredths: {control:?}"));
    checks.push(check(
        "the ledger sums to zero, added up anew",
        wrong,
        || shown,
    ));
    let wrong = (accounts != balances)
        .then(|| format!("accounts {accounts} in the ledger, {balances} in the table of balances"));
    checks.push(check("the ledger agrees with the balances", wrong, || {
        amount(balances)
    }));
    let sum = i128::from(replayed.rounding_sum.hundredths());
    let wrong = (rounded != -sum)
        .then(|| format!("{} in the ledger, {} stored", amount(rounded), amount(-sum)));
    checks.push(check("the ledger agrees with the roundings", wrong, || {
        amount(rounded)
    }));
    Ok(checks)
}

/// No event waits because a projection failed on it.
fn parked(engine: &Engine) -> Result<Check, BankRunError> {
    let count = engine.state().dead_letter_count(None)?;
    let wrong = (count != 0).then(|| format!("{count} dead letters"));
    Ok(check("no event was parked", wrong, || {
        "no dead letters".to_owned()
    }))
}
