//! Time from opening to the first answered command.
//!
//! The store has a long log and a projection that had seen all of it. It ended in order (`clean`), or its
//! process was killed under load (`killed`), or what is derived from the log is gone (`state-deleted`),
//! so that the projection is built anew while the first command comes. The system's page cache is warm in
//! all cases, as it is after a restart of the process alone. A killed process must leave every event that it
//! had acknowledged: the child counts them on its standard output.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::bank::{Bank, Pace, ReadSide, Tellers};
use crate::history::History;
use crate::load::Caller;
use crate::{Case, Harness};

const SUITE: &str = "recovery";
/// Commands of a bulk of the child's load.
const CHILD_BULK: usize = 64;
/// Bulks that it has in flight.
const CHILD_CALLERS: u64 = 8;
/// A child that nobody kills ends by itself.
const CHILD_LIFE: Duration = Duration::from_secs(120);
/// How often the child says what it has acknowledged.
const CHILD_SAYS: Duration = Duration::from_millis(10);

/// How large the cases are.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Accounts.
    pub keys: u64,
    /// Events in the log.
    pub events: u64,
    /// How long the child is left to work before it is killed.
    pub child_seconds: f64,
    /// The program of the child: this one, unless a test says otherwise.
    pub program: Option<PathBuf>,
}

/// What is published.
#[must_use]
pub fn full() -> Sizes {
    Sizes {
        keys: 100_000,
        events: 10_000_000,
        child_seconds: 3.0,
        program: None,
    }
}

/// What tests run.
#[must_use]
pub fn tiny(program: &str) -> Sizes {
    Sizes {
        keys: 100,
        events: 5_000,
        child_seconds: 0.1,
        program: Some(program.into()),
    }
}

/// Runs all cases that are wanted.
///
/// # Errors
/// When something that was acknowledged is gone.
pub async fn run(harness: &Harness, sizes: &Sizes) -> Result<()> {
    let keys = harness.options().keys.unwrap_or(sizes.keys);
    let events = harness.options().events.unwrap_or(sizes.events);
    let history = History::make_own(harness, keys, events).await?;
    let store = Store::of(harness, &history).await?;
    if harness.wants("clean") {
        store.measure(harness, "clean").await?;
    }
    if harness.wants("killed") {
        let events = store.kill(harness, sizes)?;
        let found = store.measure(harness, "killed").await?;
        ensure!(found >= events, "{found} events left of {events}");
    }
    if harness.wants("state-deleted") {
        history.forget_state()?;
        store.measure(harness, "state-deleted").await?;
    }
    Ok(())
}

/// A store whose projection has seen all of its log.
struct Store<'a> {
    history: &'a History,
    keys: u64,
}

impl<'a> Store<'a> {
    /// Lets the projection see everything, once.
    async fn of(harness: &Harness, history: &'a History) -> Result<Self> {
        let keys = history.contents().keys;
        let bank = Bank::open(harness, history.folder(), keys, ReadSide::Balances).await?;
        bank.settle().await?;
        bank.close().await?;
        Ok(Self { history, keys })
    }

    /// Opens it, has one command answered, and closes it in order; gives the events that were found.
    async fn measure(&self, harness: &Harness, name: &str) -> Result<u64> {
        let folder = self.history.folder();
        let machine = harness.machine(folder)?;
        let start = harness.now();
        let bank = Bank::open(harness, folder, self.keys, ReadSide::Balances).await?;
        let opened = harness.now() - start;
        let found = bank.events();
        let mut teller = bank.tellers().teller(u64::MAX, Pace::One);
        teller.call().await?;
        let answered = harness.now() - start;
        bank.settle().await?;
        let projected = harness.now() - start;
        let case = Case::new(SUITE, name, machine)
            .with("events", found)
            .with("keys", self.keys)
            .with("partitions", bank.engine().partitions())
            .figure("first_answer_seconds", answered.as_secs_f64())
            .figure("open_seconds", opened.as_secs_f64())
            .figure("projected_seconds", projected.as_secs_f64());
        harness.report(case)?;
        bank.close().await?;
        Ok(found)
    }

    /// Has a child put load on the store and kills it; gives the events that must be there.
    fn kill(&self, harness: &Harness, sizes: &Sizes) -> Result<u64> {
        let program = match &sizes.program {
            Some(program) => program.clone(),
            None => std::env::current_exe().context("finding this program")?,
        };
        let child = Command::new(program)
            .arg("recovery-child")
            .arg("--data")
            .arg(self.history.folder().path())
            .args(["--keys", &self.keys.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the child")?;
        let mut child = Ended(child);
        let mut lines = BufReader::new(child.0.stdout.take().context("a piped output")?).lines();
        let mut said = |what: &str| -> Result<u64> {
            let line = lines
                .next()
                .with_context(|| format!("the child ended, {what}"))??;
            line.parse().context("a number of events")
        };
        let first = said("having said nothing")?;
        let (mut last, begin) = (first, harness.now());
        let least = Duration::from_secs_f64(sizes.child_seconds);
        while last == first || harness.now() - begin < least {
            last = said("and nobody had killed it")?;
        }
        child.0.kill().context("killing the child")?;
        child.0.wait()?;
        // What it had said before it died is still in the pipe; its last line may be cut short.
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        let whole = rest.iter().rev().skip(1).find_map(|line| line.parse().ok());
        Ok(whole.unwrap_or(last))
    }
}

/// A child that does not outlive an error of its parent.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The child: works on the store in the data folder until it is killed.
///
/// # Errors
/// When a command is not accepted, or nobody listens any more.
pub async fn child(harness: &Harness) -> Result<()> {
    let folder = store_folder(harness.root())?;
    let keys = harness.options().keys.context("a number of accounts")?;
    let bank = Bank::open(harness, &folder, keys, ReadSide::Balances).await?;
    let events = bank.events();
    let counted = Arc::new(AtomicU64::new(events));
    let tellers = bank.tellers();
    for number in 0..CHILD_CALLERS {
        tokio::spawn(work(tellers.clone(), number, Arc::clone(&counted)));
    }
    let start = harness.now();
    while harness.now() - start < CHILD_LIFE {
        let said = counted.load(Ordering::Acquire);
        let mut out = std::io::stdout().lock();
        writeln!(out, "{said}")?;
        out.flush()?;
        drop(out);
        tokio::time::sleep(CHILD_SAYS).await;
    }
    Ok(())
}

async fn work(tellers: Tellers, number: u64, counted: Arc<AtomicU64>) -> Result<()> {
    let mut teller = tellers.teller(number, Pace::Bulk(CHILD_BULK));
    loop {
        let events = teller.call().await?;
        counted.fetch_add(events, Ordering::AcqRel);
    }
}

fn store_folder(path: &Path) -> Result<crate::DataFolder> {
    let name = path.file_name().and_then(|name| name.to_str());
    let parent = path.parent().context("a folder inside another")?;
    crate::DataFolder::kept(parent, name.context("a folder with a plain name")?)
}
