//! Runs the bank on its real history: every recorded transaction as commands, then every check.
//!
//! Place: [`berka`](super::berka) -> **`run`** -> an engine, and back through its log and its tables. Commands go
//! in the order of the file, in bulks of which one is on its way at a time: so an account's commands stay in
//! order, and so do all commands of a partition.
//! Repeats: a command's id is made of account, transaction and kind, and each expects the exact version
//! that its account had before it. Sent again, it is known by its id; once the engine has forgotten that,
//! the version gives it away. Either way a second run over the same folder changes nothing.
//! Failure: the first command that is refused ends the import, since every balance after it would be
//! wrong; what was stored before it stays, and the next run goes on behind it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use compact_str::CompactString;
use millstream_engine::log::LogError;
use millstream_engine::state::StateError;
use millstream_engine::time::{Clock, SystemClock, Timestamp};
use millstream_operators::aggregate::{
    BulkCommand, CommandError, CommandId, CommandOptions, CommandResult, Conflict, Expected,
};
use millstream_operators::projection::QueryError;
use uuid::Uuid;

use super::account::{Account, AccountCommand, AccountRejection};
use super::berka::{BerkaError, History, INCOMPLETE_FROM, Step};
use super::report::{BankReport, Check, Replayed};
use super::verify;
use crate::catalog::StopSignal;
use crate::{Engine, InvalidTopology, OpenError, ReadEventsError, ShutdownError};

/// Commands of one bulk: large enough that a frame is worth its sync, a few hundred KiB in memory.
const BULK_COMMANDS: usize = 4_096;
/// Longest wait for the tables after the last command.
const PROJECTED_WITHIN: Duration = Duration::from_secs(60);

/// Why a run gave no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BankRunError {
    /// The data are not where they were said to be. They cannot be shipped with this program.
    #[error(
        "there is no {}: the bank's history (PKDD'99, table `trans`) is not part of this program, its licence does not say that it may be; name the {what} file where you have it",
        file.display()
    )]
    NoData {
        /// Which of the files.
        what: &'static str,
        /// Its path as it was given.
        file: PathBuf,
    },
    /// The data cannot be imported; nothing was.
    #[error(transparent)]
    History(#[from] BerkaError),
    /// The topology: a mistake in this program.
    #[error(transparent)]
    Topology(#[from] InvalidTopology),
    /// The engine did not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A command was not accepted. What came before it is stored.
    #[error("line {line} of the transactions, account {account}: {cause}")]
    Refused {
        /// Line of its transaction.
        line: u64,
        /// The account.
        account: u32,
        /// Why.
        cause: Box<CommandError<AccountRejection>>,
    },
    /// A table gave no answer.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The log could not be read back.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Events could not be read back.
    #[error(transparent)]
    Events(#[from] ReadEventsError),
    /// The derived state could not be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The engine did not end in order.
    #[error(transparent)]
    Shutdown(#[from] ShutdownError),
}

/// Reads the history before [`INCOMPLETE_FROM`] from the two files, plain or `.zst`.
///
/// # Errors
/// [`BankRunError::NoData`] names the file that is not there, [`BankRunError::History`] file, line and field.
pub fn read_history(trans: &Path, order: &Path) -> Result<History, BankRunError> {
    for (what, file) in [("transactions", trans), ("order", order)] {
        if !file.is_file() {
            let file = file.to_path_buf();
            return Err(BankRunError::NoData { what, file });
        }
    }
    Ok(History::open(trans, order, INCOMPLETE_FROM)?)
}

/// Imports the two files into the data folder `data`, which is made if it is not there, and checks all of it.
/// `partitions` is for a new folder; an old one keeps its own.
///
/// # Errors
/// [`BankRunError`]. That a check fails is none: see [`BankReport::is_good`].
pub async fn run(
    data: &Path,
    partitions: Option<u16>,
    trans: &Path,
    order: &Path,
) -> Result<BankReport, BankRunError> {
    run_until(data, partitions, (trans, order), &StopSignal::default()).await
}

/// The same for the two files `trans` and `order`, until it is asked to stop: what was sent is durable then, and the next run over
/// the same folder goes on behind it.
///
/// # Errors
/// As [`run`].
pub async fn run_until(
    data: &Path,
    partitions: Option<u16>,
    (trans, order): (&Path, &Path),
    stop: &StopSignal,
) -> Result<BankReport, BankRunError> {
    // Before the folder: a mistyped path must not leave an empty store behind.
    let history = read_history(trans, order)?;
    let engine = open(data, partitions).await?;
    let report = import_until(&engine, &history, stop, &|_| {}).await;
    // Shut down in either case; the import's own error says more.
    let ended = engine.shutdown().await;
    let report = report?;
    ended?;
    Ok(report)
}

/// Opens an engine with the bank's [`topology`](super::topology) over the data folder `data`, which is made if it is not there.
/// `partitions` is for a new folder; an old one keeps its own.
///
/// # Errors
/// [`BankRunError::Open`].
pub async fn open(data: &Path, partitions: Option<u16>) -> Result<Engine, BankRunError> {
    let mut builder = Engine::open(data);
    if let Some(partitions) = partitions {
        builder = builder.partitions(partitions);
    }
    Ok(builder.run(super::topology()?).await?)
}

/// Imports a history into a running engine with the bank's [`topology`](super::topology), and checks it.
///
/// # Errors
/// As [`run`].
///
/// # Panics
/// When the engine's topology has no accounts.
pub async fn import(engine: &Engine, history: &History) -> Result<BankReport, BankRunError> {
    import_until(engine, history, &StopSignal::default(), &|_| {}).await
}

/// The same, until it is asked to stop. `progress` is called about every four thousand commands.
///
/// # Errors
/// As [`run`].
///
/// # Panics
/// As [`import`].
pub async fn import_until(
    engine: &Engine,
    history: &History,
    stop: &StopSignal,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<BankReport, BankRunError> {
    let clock = SystemClock::new();
    let start = clock.monotonic();
    let sent = send_all(engine, history, stop, progress).await?;
    let seconds = clock.monotonic().saturating_sub(start).as_secs_f64();
    let (replayed, checks) = if sent.interrupted {
        <(Replayed, Vec<Check>)>::default()
    } else {
        engine
            .projected(&engine.durable(), PROJECTED_WITHIN)
            .await?;
        verify::all(engine, history, &sent)?
    };
    Ok(BankReport {
        recorded: history.report(),
        replayed,
        commands: sent.commands,
        repeats: sent.repeats,
        interrupted: sent.interrupted,
        seconds,
        checks,
    })
}

/// How far an import has come: all of it is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Transactions sent, those of an earlier import included.
    pub transactions: u64,
    /// Transactions of the history.
    pub transactions_total: u64,
}

/// What the sending saw.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) commands: u64,
    pub(super) repeats: u64,
    /// Asked to stop before all were sent.
    pub(super) interrupted: bool,
    /// The books' control row was looked at so often while commands were coming in.
    pub(super) looks: u64,
    /// Sums other than zero among them.
    pub(super) unbalanced: Vec<i128>,
}

/// Where a command of a bulk comes from.
type Origin = (u64, u32);

/// Sends bulk after bulk until it is asked to stop, and looks into the books after each.
async fn send_all(
    engine: &Engine,
    history: &History,
    stop: &StopSignal,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Sent, BankRunError> {
    let accounts = engine.aggregate::<Account>();
    let mut sent = Sent::default();
    let mut reached = Progress {
        transactions: 0,
        transactions_total: history.transactions().len() as u64,
    };
    let mut versions: HashMap<u32, u64> = HashMap::new();
    let (mut bulk, mut origins) = (Vec::new(), Vec::new());
    let mut steps = history.steps().peekable();
    while let Some(step) = steps.next() {
        // Between two bulks.
        if bulk.is_empty() && stop.is_stopped() {
            sent.interrupted = true;
            break;
        }
        reached.transactions += 1;
        let events = versions.entry(step.recorded.account).or_default();
        for command in commands(&step, events) {
            bulk.push(command);
            origins.push((step.recorded.line, step.recorded.account));
        }
        if bulk.len() >= BULK_COMMANDS || steps.peek().is_none() {
            let answers = accounts.send_bulk(std::mem::take(&mut bulk)).await;
            take_answers(&answers, &origins, &mut sent)?;
            origins.clear();
            progress(reached);
            let sum = verify::control(engine)?.sum();
            sent.looks += 1;
            if sum != 0 {
                sent.unbalanced.push(sum);
            }
        }
    }
    Ok(sent)
}

fn take_answers(
    answers: &[CommandResult<Account>],
    origins: &[Origin],
    sent: &mut Sent,
) -> Result<(), BankRunError> {
    for (answer, &(line, account)) in answers.iter().zip(origins) {
        sent.commands += 1;
        match answer {
            Ok(ack) => sent.repeats += u64::from(ack.is_repeat),
            Err(CommandError::Conflict(conflict)) if is_passed(conflict) => sent.repeats += 1,
            Err(cause) => {
                return Err(BankRunError::Refused {
                    line,
                    account,
                    cause: Box::new(cause.clone()),
                });
            }
        }
    }
    Ok(())
}

/// Whether the account is past the version that a command expects: then an earlier run sent it. That
/// it was this very command is seen when the events are read back.
fn is_passed(conflict: &Conflict) -> bool {
    match (conflict.expected, conflict.actual) {
        (Expected::NoStream, Some(_)) => true,
        (Expected::Exact(expected), Some(actual)) => actual > expected,
        _ => false,
    }
}

/// A step's commands; `events` counts what the account has so far. Each command gives exactly one.
fn commands(step: &Step<'_>, events: &mut u64) -> Vec<BulkCommand<AccountCommand>> {
    let recorded = step.recorded;
    let parts = [step.open.as_ref(), Some(&step.entry), step.round.as_ref()];
    let mut commands = Vec::with_capacity(parts.len());
    for (kind, command) in parts.into_iter().enumerate() {
        let Some(command) = command else { continue };
        let expected = match events.checked_sub(1) {
            None => Expected::NoStream,
            Some(last) => Expected::Exact(last),
        };
        *events += 1;
        commands.push(BulkCommand {
            id: CompactString::clone(&step.id),
            command: command.clone(),
            options: CommandOptions {
                expected,
                id: Some(command_id(recorded.account, recorded.id, kind)),
                event_time: Some(Timestamp(step.at_us)),
                ..CommandOptions::default()
            },
        });
    }
    commands
}

/// The same id whenever the same transaction is imported; no two commands share one, since nothing is hashed.
fn command_id(account: u32, transaction: u64, kind: usize) -> CommandId {
    // "BK" and the kind tell these ids from others; a kind is below three.
    let high = u64::from(account) << 32 | 0x424b << 16 | kind as u64;
    CommandId(Uuid::from_u64_pair(high, transaction))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_of_commands_are_distinct_and_stay_the_same() {
        let mut seen = HashSet::new();
        for account in [0, 1, u32::MAX] {
            for transaction in [0, 1, u64::MAX] {
                for kind in 0..3 {
                    let id = command_id(account, transaction, kind);
                    assert!(seen.insert(id));
                    assert_eq!(id, command_id(account, transaction, kind));
                }
            }
        }
    }

    #[test]
    fn only_an_account_that_is_ahead_counts_as_sent_before() {
        let conflict = |expected, actual| Conflict { expected, actual };
        assert!(is_passed(&conflict(Expected::NoStream, Some(0))));
        assert!(is_passed(&conflict(Expected::Exact(3), Some(4))));
        assert!(!is_passed(&conflict(Expected::Exact(3), Some(2))));
        assert!(!is_passed(&conflict(Expected::Exact(3), None)));
    }
}
