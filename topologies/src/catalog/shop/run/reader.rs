//! Reads the file on a thread of its own and makes batches of commands of it, each with an id of its own.
//!
//! Invariant: a command's id is a function of the file's bytes, the line and the category. Failure: a line
//! that cannot be read is counted and passed; so many that it is no file of invoice lines, or a file
//! that breaks off, end the reading, and what was read before stands.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream_engine::partition::CommandId;
use millstream_engine::time::Timestamp;
use millstream_operators::aggregate::{BulkCommand, CommandOptions};
use tokio::sync::mpsc::Sender;
use uuid::{Builder, Uuid};

use super::StopSignal;
use super::event_time::{Disorder, Latest};
use super::report::Progress;
use crate::catalog::shop::commands::{Addressed, commands};
use crate::catalog::shop::rules::Findings;
use crate::catalog::shop::{CustomerCommand, InvoiceLine, InvoiceLines, ProductCommand};
use crate::catalog::table::TableError;

/// Lines of a batch. Measured: smaller ones wait for the disk more often, larger ones gain nothing.
pub(super) const BATCH_LINES: usize = 4_096;
/// Lines that cannot be read before the reading ends: such a file is something else.
const UNREADABLE_MAX: u64 = 100_000;

/// Whom an id is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Category {
    File = 0,
    Customer = 1,
    Product = 2,
    /// The record that a refund has no purchase.
    Unmatched = 3,
}

/// An id (UUID version 8): 66 bits of the file's digest, the category, and 48 bits of line.
pub(super) fn id(digest: &[u8; 32], category: Category, line: u64) -> Uuid {
    let mut bytes = [0; 16];
    bytes[..9].copy_from_slice(&digest[..9]);
    bytes[9] = category as u8;
    bytes[10..].copy_from_slice(&line.to_be_bytes()[2..]);
    Builder::from_custom_bytes(bytes).into_uuid()
}

/// Commands to one kind of aggregate, in the file's order.
#[derive(Debug)]
pub(super) struct Batch<C> {
    pub(super) commands: Vec<BulkCommand<C>>,
    /// Line of each command.
    pub(super) lines: Vec<u64>,
    /// Digest of the file, for ids of commands that follow.
    pub(super) digest: [u8; 32],
    /// Last line that was read for it or passed; all lines before are in this batch or one before it.
    pub(super) through: u64,
    /// Where the reader was behind that line.
    pub(super) progress: Progress,
}

impl<C> Batch<C> {
    fn new(digest: [u8; 32]) -> Self {
        Self {
            commands: Vec::with_capacity(BATCH_LINES),
            lines: Vec::with_capacity(BATCH_LINES),
            digest,
            through: 0,
            progress: Progress::default(),
        }
    }

    fn push(&mut self, line: &InvoiceLine, to: Addressed<C>, category: Category) {
        let options = CommandOptions {
            id: Some(CommandId(id(&self.digest, category, line.number))),
            event_time: Some(Timestamp::from_micros(line.at_us)),
            ..CommandOptions::default()
        };
        self.lines.push(line.number);
        self.commands.push(BulkCommand {
            id: to.id,
            command: to.command,
            options,
        });
    }
}

/// A file whose bytes are counted as they are read.
struct Counted {
    file: File,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// The file to be read, its header found right.
#[derive(Debug)]
pub(super) struct Input {
    lines: InvoiceLines,
    file: String,
    bytes: Arc<AtomicU64>,
    bytes_total: u64,
    /// BLAKE3 of its bytes.
    pub(super) digest: [u8; 32],
}

impl Input {
    pub(super) fn open(path: &Path) -> Result<Self, TableError> {
        let name = path.display().to_string();
        let failed = |source| TableError::Open {
            file: name.as_str().into(),
            source,
        };
        let plain = File::open(path).map_err(failed)?;
        let bytes_total = plain.metadata().map_err(failed)?.len();
        let mut hasher = blake3::Hasher::new();
        hasher
            .update_reader(File::open(path).map_err(failed)?)
            .map_err(failed)?;
        let bytes = Arc::new(AtomicU64::new(0));
        let counted = Counted {
            file: plain,
            bytes: Arc::clone(&bytes),
        };
        let lines = if path.extension().is_some_and(|end| end == "zst") {
            InvoiceLines::from_reader(&name, zstd::Decoder::new(counted).map_err(failed)?)?
        } else {
            InvoiceLines::from_reader(&name, counted)?
        };
        let file = path.file_name().unwrap_or_default();
        Ok(Self {
            lines,
            file: file.to_string_lossy().into_owned(),
            bytes,
            bytes_total,
            digest: hasher.finalize().into(),
        })
    }

    /// Its name without folders.
    pub(super) fn name(&self) -> &str {
        &self.file
    }

    /// Its digest as text.
    pub(super) fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.digest).to_hex().to_string()
    }
}

/// What the reading came to.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) findings: Findings,
    /// Last line that was read; 1 is the header.
    pub(super) last_line: u64,
    /// Lines that could not be read.
    pub(super) unreadable: BTreeSet<u64>,
    /// Whether the reading ended before the file did, because it was asked to.
    pub(super) stopped: bool,
    /// Why the reading ended before the file did, if it was not asked to.
    pub(super) broken_off: Option<String>,
    /// How far an event may be behind one before it in its partition of the log.
    pub(super) disorder: Disorder,
    pub(super) latest: Latest,
}

/// Reads all of `input` for a log of so many partitions, and gives out what lies behind line `before`: of what lies before it
/// only the batch that has this line. Ends early when asked to stop, or when nobody takes the batches any more.
pub(super) fn read(
    input: Input,
    partitions: u16,
    before: u64,
    stop: &StopSignal,
    (customers, products): (
        &Sender<Batch<CustomerCommand>>,
        &Sender<Batch<ProductCommand>>,
    ),
) -> Outcome {
    let mut outcome = Outcome {
        findings: Findings::default(),
        last_line: 1,
        unreadable: BTreeSet::new(),
        stopped: false,
        broken_off: None,
        disorder: Disorder::NONE,
        latest: Latest::new(partitions),
    };
    let mut pending = (Batch::new(input.digest), Batch::new(input.digest));
    let progress = |outcome: &Outcome| Progress {
        lines: outcome.findings.lines + outcome.findings.unreadable,
        bytes: input.bytes.load(Ordering::Relaxed),
        bytes_total: input.bytes_total,
    };
    let send = |mut batches: (Batch<_>, Batch<_>), outcome: &Outcome| {
        let (progress, through) = (progress(outcome), outcome.last_line);
        (batches.0.progress, batches.1.progress) = (progress, progress);
        (batches.0.through, batches.1.through) = (through, through);
        if through <= before {
            return true;
        }
        customers.blocking_send(batches.0).is_ok() && products.blocking_send(batches.1).is_ok()
    };
    for line in input.lines {
        if stop.is_stopped() {
            outcome.stopped = true;
            break;
        }
        match line {
            Ok(line) => take(&line, &mut outcome, &mut pending),
            Err(error) => pass(error, &mut outcome),
        }
        if pending.1.lines.len() == BATCH_LINES {
            outcome.disorder.end_batch();
            let new = (Batch::new(input.digest), Batch::new(input.digest));
            if !send(std::mem::replace(&mut pending, new), &outcome) {
                return outcome;
            }
        }
        if outcome.broken_off.is_some() {
            break;
        }
    }
    outcome.disorder.end_batch();
    let _ = send(pending, &outcome); // Nobody there: the senders' error is what counts.
    outcome
}

fn take(
    line: &InvoiceLine,
    outcome: &mut Outcome,
    (customers, products): &mut (Batch<CustomerCommand>, Batch<ProductCommand>),
) {
    outcome.findings.add(line);
    outcome.disorder.see(line);
    outcome.last_line = line.number;
    let asked = commands(line);
    if let Some(to) = asked.customer {
        outcome.latest.see(&to.id, line.at_us);
        customers.push(line, to, Category::Customer);
    }
    products.push(line, asked.product, Category::Product);
}

fn pass(error: TableError, outcome: &mut Outcome) {
    match error {
        TableError::Bad(bad) if outcome.findings.unreadable < UNREADABLE_MAX => {
            tracing::debug!("{bad}");
            outcome.last_line = bad.line;
            outcome.unreadable.insert(bad.line);
            outcome.findings.add_unreadable(bad);
        }
        TableError::Bad(bad) => {
            outcome.broken_off = Some(format!(
                "{bad}: more than {UNREADABLE_MAX} lines cannot be read"
            ));
        }
        error => outcome.broken_off = Some(error.to_string()),
    }
}
