//! The dataflows: what all of them have in common, and which there are.
//!
//! Each reads categories of the log by the times of their events, in one of several ways that the seed chooses, and gives rows
//! to sinks of several kinds. What it must come to in the end depends on the input alone.

mod arrival;
mod failing;
mod in_order;
mod joins;
mod windows;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream::dataflow::{Branch, Flow, FlowOptions, Origin, Stream};
use millstream::prelude::*;
use millstream_engine::flow::Operator;
use millstream_operators::function::count;
use millstream_operators::keyed::Ttl;
use millstream_operators::sink::{Delivery, FileSinkOptions, TableSinkOptions};
use serde::{Deserialize, Serialize};

use crate::plan::{Item, Plan, millis};

/// What all dataflows give out: the result of a key and of a span of time, or of two items.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) key: u16,
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) left: i64,
    pub(crate) right: i64,
    /// It takes back one that was given before.
    pub(crate) is_taken_back: bool,
}

impl Event for Row {}

impl Row {
    pub(crate) const fn of_pair(key: u16, left: i64, right: i64) -> Self {
        Self {
            key,
            start: 0,
            end: 0,
            left,
            right,
            is_taken_back: false,
        }
    }

    pub(crate) fn of_window(window: &Windowed<u16, i64>) -> Self {
        Self {
            key: window.key,
            start: window.window.start.as_millis(),
            end: window.window.end.as_millis(),
            left: window.value,
            right: 0,
            is_taken_back: window.revision == Revision::Retraction,
        }
    }

    /// Its key in a table.
    pub(crate) fn place(&self) -> String {
        format!("{} {}..{}", self.key, self.start, self.end)
    }
}

/// Rows by key and span.
pub(crate) const ROWS: Table<String, Row> = Table::named("rows");
/// How many partitions of the log have ended, by category.
pub(crate) const ENDS: [Table<u16, u64>; 2] =
    [Table::named("ends of a"), Table::named("ends of b")];
/// How many events the second dataflow has read, by key.
pub(crate) const READ: Table<u16, u64> = Table::named("read");
/// Category of what goes to the log.
pub(crate) const OUT: &str = "out";

/// Which dataflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tumbling,
    Nested,
    Sessions,
    Process,
    Joins,
    Tables,
    InOrder,
    Early,
    Arrival,
    Failing,
}

/// All of them.
pub(crate) const KINDS: [Kind; 10] = [
    Kind::Tumbling,
    Kind::Nested,
    Kind::Sessions,
    Kind::Process,
    Kind::Joins,
    Kind::Tables,
    Kind::InOrder,
    Kind::Early,
    Kind::Arrival,
    Kind::Failing,
];

impl Kind {
    /// Seeds that follow each other have all of them.
    pub(crate) const fn of(plan: &Plan) -> Self {
        KINDS[(plan.seed % KINDS.len() as u64) as usize]
    }

    /// Categories that it reads.
    pub(crate) const fn inputs(self) -> usize {
        match self {
            Self::Joins | Self::Tables => 2,
            _ => 1,
        }
    }

    /// Whether a second dataflow reads what it writes to the log.
    pub(crate) const fn has_reader(self) -> bool {
        matches!(self, Self::Joins)
    }

    /// Whether its results depend on the order in which items come.
    pub(crate) const fn is_by_arrival(self) -> bool {
        matches!(self, Self::Arrival | Self::Failing)
    }

    pub(crate) const fn has_table(self) -> bool {
        !matches!(self, Self::Joins | Self::InOrder)
    }

    /// Whether the events of a stream come in the same order in every run.
    pub(crate) const fn is_in_order(self) -> bool {
        matches!(self, Self::Nested | Self::Tables | Self::InOrder)
    }

    fn declare(self, plan: &Plan, flow: &Flow, sinks: &Sinks<'_>) {
        match self {
            Self::Tumbling => windows::tumbling(plan, flow, sinks),
            Self::Nested => windows::nested(plan, flow, sinks),
            Self::Sessions => windows::sessions(plan, flow, sinks),
            Self::Process => in_order::process(plan, flow, sinks),
            Self::Joins => joins::joins(plan, flow, sinks),
            Self::Tables => joins::tables(plan, flow, sinks),
            Self::InOrder => in_order::in_order(plan, flow, sinks),
            Self::Early => windows::early(plan, flow, sinks),
            Self::Arrival => arrival::arrival(plan, flow, sinks),
            Self::Failing => failing::failing(plan, flow, sinks),
        }
    }
}

/// The dataflows of a plan, over a folder for what they write beside the log.
pub(crate) fn topology(plan: &Plan, options: FlowOptions, outside: &Path) -> Topology {
    let sinks = Sinks {
        has_checkpoints: options.checkpoints.is_some(),
        outside,
        plan,
    };
    let kind = Kind::of(plan);
    let mut topology = Topology::named("torture").dataflow_with("flow", options.clone(), |flow| {
        kind.declare(plan, flow, &sinks);
    });
    if kind.has_reader() {
        topology = topology.dataflow_with("reader", options, |flow| {
            flow.events::<Row>()
                .category(OUT)
                .stream()
                .key_by(|row: &Row| row.key)
                .aggregate_running(Ttl::Never, count())
                .to_table_with(&READ, table_options(), |(key, count)| (key, Some(count)));
        });
    }
    topology.build().unwrap()
}

/// Where rows go.
pub(crate) struct Sinks<'a> {
    has_checkpoints: bool,
    outside: &'a Path,
    plan: &'a Plan,
}

/// Rows are stored and let go often.
fn table_options() -> TableSinkOptions {
    TableSinkOptions {
        publish_every: Duration::from_millis(1),
        store_every: Duration::from_millis(2),
        hot_rows_max: 20,
        ..TableSinkOptions::default()
    }
}

/// The stream that a row goes to.
fn stream_of(row: &Row) -> StreamId {
    StreamId::new(OUT, &row.key.to_string()).unwrap()
}

/// Producer of all events in the log.
pub(crate) const PRODUCER: &str = "torture";

impl Sinks<'_> {
    /// One row per key and span; what is taken back goes.
    pub(crate) fn to_table<P: Origin, O>(&self, rows: Stream<P, O>)
    where
        O: Operator<P::Item, Out = Row> + Clone,
    {
        rows.to_table_with(&ROWS, table_options(), |row| {
            (row.place(), (!row.is_taken_back).then_some(row))
        });
    }

    /// For results that depend on timing: through checkpoints, where there are any.
    pub(crate) fn to_log<P: Origin, O>(&self, rows: Stream<P, O>)
    where
        O: Operator<P::Item, Out = Row> + Clone,
    {
        if self.has_checkpoints {
            rows.to_log_with_checkpoints(PRODUCER, |row| (stream_of(&row), row));
        } else {
            rows.to_log_at_least_once(|row| (stream_of(&row), row));
        }
    }

    /// For those that do not.
    pub(crate) fn to_log_in_order<P: Origin, O>(&self, rows: Stream<P, O>)
    where
        O: Operator<P::Item, Out = Row> + Clone,
    {
        rows.to_log(PRODUCER, |row| (stream_of(&row), row));
    }

    pub(crate) fn to_files<P: Origin, O>(&self, rows: Stream<P, O>)
    where
        O: Operator<P::Item, Out = Row> + Clone,
    {
        let options = FileSinkOptions {
            rows_max: self.plan.file_rows_max,
            ..FileSinkOptions::new(files_in(self.outside), "rows")
        };
        if self.plan.is_other {
            rows.to_csv(options);
        } else {
            rows.to_json_lines(options);
        }
    }

    pub(crate) fn deliver<P: Origin, O>(&self, rows: Stream<P, O>)
    where
        O: Operator<P::Item, Out = Row> + Clone,
    {
        let options = OpenOptions::new()
            .create(true)
            .append(true)
            .open(delivered_in(self.outside));
        let receiver = Receiver(Arc::new(Mutex::new(options.unwrap())));
        rows.deliver(move |delivery| receiver.take(delivery));
    }
}

pub(crate) fn files_in(outside: &Path) -> std::path::PathBuf {
    outside.join("files")
}

pub(crate) fn delivered_in(outside: &Path) -> std::path::PathBuf {
    outside.join("delivered")
}

/// A result as its receiver notes it down.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delivered {
    pub(crate) stage: String,
    pub(crate) partition: usize,
    pub(crate) number: u64,
    pub(crate) time: i64,
    pub(crate) row: Row,
}

/// Who is delivered to: a file that outlives the process.
#[derive(Clone)]
struct Receiver(Arc<Mutex<File>>);

impl Receiver {
    fn take(&self, delivery: Delivery<Row>) {
        let delivered = Delivered {
            stage: delivery.id.stage.to_string(),
            partition: delivery.id.partition,
            number: delivery.id.number,
            time: delivery.time.0,
            row: delivery.item,
        };
        let mut line = serde_json::to_vec(&delivered).unwrap();
        line.push(b'\n');
        // In one call, which a kill does not divide.
        self.0.lock().unwrap().write_all(&line).unwrap();
    }
}

/// Items of a category, by the times of their events; what ends it is counted in a table.
fn items(plan: &Plan, flow: &Flow, input: usize) -> Branch<Item> {
    let category = crate::plan::CATEGORIES[input];
    let mut source = flow
        .events::<Item>()
        .category(category)
        .event_times()
        .watermarks(BoundedOutOfOrderness::new(millis(plan.bound_ms)));
    if plan.is_aligned {
        source = source.aligned(Duration::from_secs(5));
    }
    let stream = source.stream().stage_named(category);
    let (ends, items) = stream.split(|item: &Item| item.is_last);
    ends.map(move |_| input as u16)
        .key_by(|input: &u16| *input)
        .named(&format!("ends of {category}"))
        .aggregate_running(Ttl::Never, count())
        .to_table(&ENDS[input], |(input, count)| (input, Some(count)));
    items
}
