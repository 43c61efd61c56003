//! What a run came to: counts, times, findings, the largest countries, and whether every check holds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use millstream_engine::time::Timestamp;
use millstream_operators::projection::QueryError;
use serde_json::{Value, json};

use super::reader::Outcome;
use crate::Engine;
use crate::catalog::shop::rows::RevenueRow;
use crate::catalog::shop::rules::{Dirt, Finding};
use crate::catalog::shop::tables::REVENUE_BY_COUNTRY;
use crate::catalog::table::BadLine;
use crate::money::Money;

/// Lines with a rejection that nothing follows, kept in a report.
pub(super) const REJECTED_LISTED_MAX: usize = 20;

/// How far a run has come: all of it is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Lines read, those that cannot be read included.
    pub lines: u64,
    /// Bytes of the file read, compressed if it is.
    pub bytes: u64,
    /// Bytes of the file.
    pub bytes_total: u64,
}

/// What became of commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Commands answered: accepted, repeated or rejected.
    pub commands: u64,
    /// Accepted with an effect.
    pub accepted: u64,
    /// Had their effect in an earlier run.
    pub repeats: u64,
    /// Refunds rejected for want of a purchase; each was recorded by a command of its own.
    pub unmatched_refunds: u64,
    /// Rejected for other reasons: no effect.
    pub other_rejections: u64,
    /// The first of these, at most 20 per kind of aggregate.
    pub rejected_first: Vec<RejectedLine>,
    /// Events that they gave.
    pub events: u64,
}

/// A line with a rejection that nothing follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedLine {
    /// Line in the file.
    pub line: u64,
    /// What the aggregate said.
    pub reason: String,
}

impl Counts {
    fn plus(mut self, other: Self) -> Self {
        self.commands += other.commands;
        self.accepted += other.accepted;
        self.repeats += other.repeats;
        self.unmatched_refunds += other.unmatched_refunds;
        self.other_rejections += other.other_rejections;
        self.rejected_first.extend(other.rejected_first);
        self.events += other.events;
        self
    }
}

/// Times from the first line on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seconds {
    /// Until the last command was answered, its events durable.
    pub commands: Duration,
    /// Until every table showed all of it.
    pub tables: Duration,
    /// What the dataflows took after that, over all of it; live ones until they had come as far.
    pub dataflows: Duration,
}

/// One comparison of a table, or of a dataflow's rows, with a direct pass over the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was compared.
    pub name: &'static str,
    /// What the direct pass says.
    pub expected: String,
    /// What the engine says.
    pub found: String,
    /// Whether they are the same.
    pub ok: bool,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct ShopReport {
    /// The file.
    pub input: PathBuf,
    /// The data folder.
    pub data: PathBuf,
    /// Partitions of the store.
    pub partitions: u16,
    /// Lines read.
    pub lines: u64,
    /// Last line that was read; line 1 is the header.
    pub last_line: u64,
    /// Line up to which an earlier run had sent the file, as the log has noted: those lines are read but not sent again, so
    /// that they are not among the commands. 0 if there is no note.
    pub begun_behind: u64,
    /// Lines that cannot be read: nothing of them was stored.
    pub unreadable: u64,
    /// The first of them.
    pub unreadable_first: Vec<BadLine>,
    /// What became of the commands.
    pub counts: Counts,
    /// Events in the log, of all runs, the notes of the file included.
    pub log_events: u64,
    /// Times.
    pub seconds: Seconds,
    /// Every kind of dirt, with how many lines and the first of them.
    pub dirt: Vec<(Dirt, Finding)>,
    /// Countries, the largest revenue first.
    pub countries: Vec<(String, RevenueRow)>,
    /// Whether it was asked to stop before the file ended. Nothing is checked then.
    pub interrupted: bool,
    /// Why the file ended too early, if it did: damaged, or no file of invoice lines.
    pub broken_off: Option<String>,
    /// Whether the dataflows ran beside the commands and go on.
    pub live_dataflows: bool,
    /// Event time up to which live dataflows have dealt with everything; `None` before there is one.
    pub watermark: Option<Timestamp>,
    /// The comparisons.
    pub checks: Vec<Check>,
    pub(super) unreadable_lines: BTreeSet<u64>,
    /// Events in the log that note the file and how far it was sent.
    pub(super) notes: u64,
    /// How far the log may be out of order.
    pub(super) disorder: Duration,
    /// What the watermark of live dataflows comes to.
    pub(super) watermark_due: Option<Timestamp>,
}

impl ShopReport {
    pub(super) fn new(
        input: &Path,
        engine: &Engine,
        read: Outcome,
        customers: Counts,
        products: Counts,
    ) -> Self {
        let dirt = Dirt::ALL
            .into_iter()
            .map(|dirt| (dirt, read.findings.of(dirt).clone()));
        let positions = engine.durable();
        let log_events = positions.positions().iter().map(|last| last.offset.0 + 1);
        Self {
            input: input.to_path_buf(),
            data: engine.folder().to_path_buf(),
            partitions: engine.partitions(),
            lines: read.findings.lines,
            last_line: read.last_line,
            begun_behind: 0,
            notes: 0,
            unreadable: read.findings.unreadable,
            dirt: dirt.collect(),
            unreadable_first: read.findings.unreadable_first,
            counts: customers.plus(products),
            log_events: log_events.sum(),
            seconds: Seconds::default(),
            countries: Vec::new(),
            interrupted: read.stopped,
            broken_off: read.broken_off,
            live_dataflows: false,
            watermark: None,
            checks: Vec::new(),
            unreadable_lines: read.unreadable,
            watermark_due: read.latest.watermark(read.disorder.most()),
            disorder: read.disorder.most(),
        }
    }

    pub(super) fn read_countries(&mut self, engine: &Engine) -> Result<(), QueryError> {
        let rows = engine.table(&REVENUE_BY_COUNTRY)?.rows()?;
        self.countries = rows
            .into_iter()
            .map(|(country, row)| (country.into(), row))
            .collect();
        self.countries
            .sort_by_key(|(_, row)| std::cmp::Reverse(row.amount));
        Ok(())
    }

    /// Whether the whole file was run and every check holds. Lines that cannot be read do not count
    /// against it: they are reported, and the checks are about all others.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        !self.interrupted
            && self.broken_off.is_none()
            && !self.checks.is_empty()
            && self.checks.iter().all(|check| check.ok)
    }

    /// Revenue over all countries, of all runs. Pounds.
    #[must_use]
    pub fn revenue(&self) -> Money {
        self.countries.iter().map(|(_, row)| row.amount).sum()
    }

    /// Commands answered per second, until the last one was durable.
    #[must_use]
    pub fn commands_per_second(&self) -> f64 {
        per_second(self.counts.commands, self.seconds.commands)
    }

    /// Events per second, until every table showed all of them.
    #[must_use]
    pub fn events_per_second(&self) -> f64 {
        per_second(self.counts.events, self.seconds.tables)
    }

    /// All of it as one object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let counts = &self.counts;
        let dirt: serde_json::Map<_, _> = self
            .dirt
            .iter()
            .map(|(dirt, finding)| (dirt.name().to_owned(), finding.count.into()))
            .collect();
        let texts = |lines: Vec<String>| Value::from(lines);
        let rejected = counts.rejected_first.iter();
        let checks: Vec<_> = self
            .checks
            .iter()
            .map(|check| {
                json!({ "name": check.name, "ok": check.ok, "expected": check.expected, "found": check.found })
            })
            .collect();
        json!({
            "topology": "shop",
            "ok": self.is_ok(),
            "input": self.input.display().to_string(),
            "partitions": self.partitions,
            "lines": self.lines,
            "last_line": self.last_line,
            "begun_behind": self.begun_behind,
            "interrupted": self.interrupted,
            "broken_off": self.broken_off,
            "unreadable": self.unreadable,
            "unreadable_first": texts(self.unreadable_first.iter().map(ToString::to_string).collect()),
            "commands": counts.commands,
            "accepted": counts.accepted,
            "repeats": counts.repeats,
            "rejections": { "refund_without_purchase": counts.unmatched_refunds, "other": counts.other_rejections },
            "rejected_first": texts(rejected.map(|line| format!("line {}: {}", line.line, line.reason)).collect()),
            "events": counts.events,
            "log_events": self.log_events,
            "seconds": self.seconds.commands.as_secs_f64(),
            "seconds_until_tables": self.seconds.tables.as_secs_f64(),
            "seconds_of_dataflows": self.seconds.dataflows.as_secs_f64(),
            "live_dataflows": self.live_dataflows,
            "watermark": self.watermark.map(|watermark| watermark.to_string()),
            "commands_per_second": self.commands_per_second().round(),
            "events_per_second": self.events_per_second().round(),
            "revenue": self.revenue().to_string(),
            "countries": self.countries.len(),
            "dirt": dirt,
            "checks_hold": self.checks.iter().filter(|check| check.ok).count(),
            "checks": checks,
        })
    }
}

fn per_second(count: u64, time: Duration) -> f64 {
    let seconds = time.as_secs_f64();
    if seconds == 0.0 {
        return 0.0;
    }
    count as f64 / seconds
}
