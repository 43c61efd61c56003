//! Runs a file of invoice lines through an engine: lines become commands, decisions, durable events and
//! live tables; dataflows run over all of it, and every table and dataflow is compared with a direct pass over the file.
//!
//! Place: `reader` -> two bounded channels -> `sender` -> aggregates; then `checks` and `sales`. Invariants: (1) commands
//! to one customer, and to one product, are sent in the file's order; (2) each command's id is made of
//! the file's digest, the line and the category, and the log has notes of the file and how far it was sent, so a run that
//! is interrupted and started again, or repeated, has no second effect, however large the file; (3) a customer buys a code, or gives it back
//! again, only once the fate of that customer's refunds of it is durable, so a refund that is decided anew after a crash is
//! decided alike.
//! Threads: one blocking thread reads; both senders run in the caller's task. Failure: a line that cannot be
//! read is counted, named and passed; an engine that takes nothing any more ends the run with the line.

mod checks;
mod event_time;
mod live;
mod notes;
mod reader;
mod report;
mod sales;
mod sender;
#[cfg(test)]
mod tests;

pub use report::{Check, Counts, Progress, RejectedLine, Seconds, ShopReport};

use std::path::{Path, PathBuf};
use std::time::Duration;

use millstream_engine::event::StreamIdError;
use millstream_engine::log::LogError;
use millstream_engine::partition::{AppendError, DedupLimits};
use millstream_engine::time::{Clock, SystemClock};
use millstream_operators::aggregate::CommandError;
use millstream_operators::projection::QueryError;
use tokio::sync::mpsc;

use self::event_time::Disorder;
use self::notes::Notes;
use self::reader::Input;
use super::{Customer, CustomerRejection, InvoiceLines, Product, ProductRejection};
pub use crate::catalog::StopSignal;
use crate::catalog::table::TableError;
use crate::dataflow::{InvalidDataflow, RunDataflowError, TakeCheckpointError};
use crate::{Engine, EngineConfig, InvalidTopology, OpenError, ShutdownError};

/// The published file, as a path from the repository's root.
pub const DEFAULT_INPUT: &str = "examples/data/online_retail.csv.zst";

/// Batches of lines that wait between the reader and each sender.
const WAITING_BATCHES: usize = 4;
/// Ids of commands that each partition remembers: all of a file of a million lines, so that it can be
/// repeated; of larger ones the log has [`notes`] how far they were sent. Memory: 80 bytes each.
const REMEMBERED_EVENTS: u64 = 2_500_000;
/// Time without any progress after which waiting for the tables is given up.
const TABLES_STALL: Duration = Duration::from_secs(30);

/// What to run.
#[derive(Clone, Debug)]
pub struct ShopOptions {
    /// The file, `.csv` or `.csv.zst`; the published one unless said otherwise.
    pub input: Option<PathBuf>,
    /// The data folder; made if it is not there.
    pub data: PathBuf,
    /// Partitions of a new store; the engine's default unless said otherwise.
    pub partitions: Option<u16>,
    /// Whether the dataflows run beside the commands, and go on until the engine ends, instead of once over all there is
    /// when the commands are through.
    pub live_dataflows: bool,
    /// Ends the run early.
    pub stop: StopSignal,
}

impl ShopOptions {
    /// The published file into the data folder `data`.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            input: None,
            data: data.into(),
            partitions: None,
            live_dataflows: false,
            stop: StopSignal::default(),
        }
    }

    /// The file that is read.
    ///
    /// # Errors
    /// [`ShopError::NoInput`].
    pub fn input_path(&self) -> Result<PathBuf, ShopError> {
        let asked = self.input.clone();
        asked.or_else(default_input).ok_or(ShopError::NoInput)
    }
}

/// Why a run came to no report. What was acknowledged before is durable, and a repeated run goes on from
/// there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShopError {
    /// The published file lies nowhere above the current folder or the program.
    #[error("{DEFAULT_INPUT} is not in this folder or one above it: name a file with --input")]
    NoInput,
    /// The file cannot be opened, or is none of invoice lines. Nothing was sent.
    #[error(transparent)]
    Input(#[from] TableError),
    /// The data folder holds the lines of another file: choose another folder, or the file it was made from.
    #[error("{} holds the lines of another file, {other}", folder.display())]
    OtherInput {
        /// The data folder.
        folder: PathBuf,
        /// What the folder says of its file.
        other: String,
    },
    /// The topology.
    #[error(transparent)]
    Topology(#[from] InvalidTopology),
    /// The engine did not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file's name, or how far it was sent, could not be noted in the log.
    #[error("the input cannot be noted in the log: {0}")]
    Note(#[from] AppendError),
    /// The data folder was made by a program that noted nowhere how far it had sent the file, and its partitions do not
    /// remember all that they were sent: lines could have their effect once more. Nothing was sent; begin in another folder.
    #[error("{} holds {events} events in a partition, which remembers what the last {remembered} were made of, and no note how far the file was sent: begin in another folder", folder.display())]
    Forgotten {
        /// The data folder.
        folder: PathBuf,
        /// Events of its longest partition.
        events: u64,
        /// Of how many each partition remembers the ids.
        remembered: u64,
    },
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A customer's command had no answer that a command can have.
    #[error("line {line}: the customer's command failed: {cause}")]
    Customer {
        /// Line in the file.
        line: u64,
        /// Why.
        cause: Box<CommandError<CustomerRejection>>,
    },
    /// A product's command had no answer that a command can have.
    #[error("line {line}: the product's command failed: {cause}")]
    Product {
        /// Line in the file.
        line: u64,
        /// Why.
        cause: Box<CommandError<ProductRejection>>,
    },
    /// The tables did not come to what is durable, or cannot be read.
    #[error("the tables: {0}")]
    Tables(#[from] QueryError),
    /// The dataflows are not put together as they must be.
    #[error(transparent)]
    Dataflow(#[from] InvalidDataflow),
    /// The dataflows did not come to their end.
    #[error(transparent)]
    RunDataflow(#[from] RunDataflowError),
    /// Rows of dataflows that go on could not be asked to be stored.
    #[error("a checkpoint of the dataflows: {0}")]
    Checkpoint(#[from] TakeCheckpointError),
    /// The engine did not end in order.
    #[error(transparent)]
    Shutdown(#[from] ShutdownError),
}

impl From<StreamIdError> for ShopError {
    fn from(cause: StreamIdError) -> Self {
        Self::Note(cause.into())
    }
}

/// Opens an engine, [imports](import) the file and shuts down.
///
/// ```no_run
/// # async fn shop() -> Result<(), millstream::catalog::shop::ShopError> {
/// use millstream::catalog::shop::{ShopOptions, run};
/// let report = run(&ShopOptions::new("data/shop"), &|_| {}).await?;
/// assert!(report.is_ok());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`ShopError`].
pub async fn run(
    options: &ShopOptions,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<ShopReport, ShopError> {
    let engine = open(options).await?;
    let report = import(&engine, options, progress).await;
    let ended = engine.shutdown().await;
    let report = report?;
    ended?;
    Ok(report)
}

/// Opens an engine with the shop's topology, which remembers the commands of a whole file. With live dataflows the file is
/// passed over first, which takes a second: how far it is out of order says how far their watermark is behind.
///
/// # Errors
/// [`ShopError::NoInput`] and [`ShopError::Input`], nothing was made then; [`ShopError::Open`].
pub async fn open(options: &ShopOptions) -> Result<Engine, ShopError> {
    open_remembering(REMEMBERED_EVENTS, options).await
}

/// [`open`] with partitions that remember the ids of so many events.
async fn open_remembering(events_max: u64, options: &ShopOptions) -> Result<Engine, ShopError> {
    // First, so that a wrong file leaves no data folder behind.
    let lines = InvoiceLines::open(&options.input_path()?)?;
    let topology = if options.live_dataflows {
        let disorder = tokio::task::spawn_blocking(move || Disorder::of(lines).most()).await;
        let disorder =
            disorder.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        super::topology_with_dataflows(disorder)?
    } else {
        super::topology()?
    };
    let mut config = EngineConfig {
        partitions: options.partitions,
        ..EngineConfig::default()
    };
    config.partition.dedup = DedupLimits {
        ids_max: usize::MAX,
        events_max,
        // A file may be imported again whenever, not only within the hour.
        age_max: Duration::MAX,
    };
    let builder = Engine::open(&options.data).config(config);
    Ok(builder.run(topology).await?)
}

/// Sends the file's lines through a running engine, waits until the tables show all of it, runs the
/// [dataflows](super::dataflows) over it, and compares both with a direct pass over the file. `progress` is called about
/// every four thousand lines. An engine with live dataflows was [opened](open) with these options; then those are waited for
/// instead, and compared as far as they can have come.
///
/// # Errors
/// [`ShopError`]. A check that does not hold is no error, see [`ShopReport::is_ok`].
pub async fn import(
    engine: &Engine,
    options: &ShopOptions,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<ShopReport, ShopError> {
    let remembered = engine.config().partition.dedup.events_max;
    let path = options.input_path()?;
    let clock = SystemClock::new();
    let input = Input::open(&path)?;
    let notes = Notes::begin(engine, &input, remembered).await?;
    let (digest, before) = (input.digest, notes.before());

    let start = clock.monotonic();
    let (customers, customer_batches) = mpsc::channel(WAITING_BATCHES);
    let (products, product_batches) = mpsc::channel(WAITING_BATCHES);
    let (stop, partitions) = (options.stop.clone(), engine.partitions());
    let reading = tokio::task::spawn_blocking(move || {
        reader::read(input, partitions, before, &stop, (&customers, &products))
    });
    let sent = tokio::try_join!(
        sender::customers(
            engine.aggregate::<Customer>(),
            customer_batches,
            &notes,
            progress
        ),
        sender::products(engine.aggregate::<Product>(), product_batches, &notes),
    );
    // Whether or not the senders failed the reader ends: their channels are gone.
    let read = reading
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    let (customers, products) = sent?;
    let commands = clock.monotonic().saturating_sub(start);
    projected(engine).await?;
    let tables = clock.monotonic().saturating_sub(start);

    let mut report = ShopReport::new(&path, engine, read, customers, products);
    (report.begun_behind, report.notes) = (before, notes.count());
    report.live_dataflows = options.live_dataflows;
    report.seconds = Seconds {
        commands,
        tables,
        ..Seconds::default()
    };
    report.read_countries(engine)?;
    if !report.interrupted {
        report.checks = checks::compare(engine, &path, &digest, &mut report).await?;
    }
    Ok(report)
}

/// The published file, in the current folder or one above it, or one above the program.
fn default_input() -> Option<PathBuf> {
    let above = |start: &Path| {
        let found = start.ancestors().map(|folder| folder.join(DEFAULT_INPUT));
        found.into_iter().find(|path| path.is_file())
    };
    let here = std::env::current_dir().ok().and_then(|here| above(&here));
    here.or_else(|| above(&std::env::current_exe().ok()?))
}

/// Waits until the tables show all that is durable, for as long as they come nearer.
async fn projected(engine: &Engine) -> Result<(), ShopError> {
    let token = engine.durable();
    let mut last = None;
    loop {
        match engine.projected(&token, TABLES_STALL).await {
            Ok(()) => return Ok(()),
            Err(QueryError::Behind {
                projection,
                partition,
                behind,
                ..
            }) if last != Some((projection, partition, behind)) => {
                last = Some((projection, partition, behind));
            }
            Err(error) => return Err(error.into()),
        }
    }
}
