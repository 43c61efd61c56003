//! Files as sources of a dataflow, and the side output for what is wrong in them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::flow::{Fault, Forward, Operator, Outlet, Then, Wiring};
use millstream_engine::time::Timestamp;
use millstream_operators::source::{
    BadLinePolicy, CsvFormat, FailOnBadLine, FileOptions, FilePosition, FileSource,
    JsonLinesFormat, KeepBadLines, LineFormat, ReadInPlace, SkipBadLines, TimeOf,
};
use millstream_operators::stateless::SplitResult;
use serde::de::DeserializeOwned;

use super::flow::SideOutput;
use super::origin::Origin;
use super::source::{SourceNotes, SourcePlan};
use super::stream::Stream;

/// Files as a source, one split per file; also pipes, `/dev/stdin` among them. While a dataflow runs each file is read by a
/// thread of its own; a [`Driver`](super::Driver) reads on its own thread.
///
/// ```
/// use millstream::dataflow::{Dataflow, Driver, Files};
/// use millstream_engine::flow::{Ascending, Resources};
/// use millstream_engine::time::Timestamp;
///
/// #[derive(serde::Deserialize)]
/// struct Sale {
///     second: i64,
///     cents: u64,
/// }
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("sales.csv");
/// std::fs::write(&path, "second,cents\n1,250\n2,x\n3,100\n")?;
/// let (flow, (cents, bad)) = Dataflow::declare("sales", |flow| {
///     let bad_lines = flow.side_output("bad lines");
///     let sales = Files::csv(&path)
///         .time(|sale: &Sale| Timestamp::from_seconds(sale.second))
///         .keep_bad_lines();
///     let sales = flow.source("sales", sales).watermarks(Ascending::new()).stream();
///     let cents = sales.errors_to(&bad_lines).map(|sale| sale.cents).collect();
///     (cents, flow.side(&bad_lines).collect())
/// })?;
/// Driver::new(flow)?.run()?;
/// assert_eq!(cents.take_items(), [250, 100]);
/// assert_eq!(bad.take_items()[0].line, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Files<T, F, P = FailOnBadLine> {
    paths: Arc<Vec<PathBuf>>,
    format: F,
    policy: P,
    options: FileOptions,
    time: Option<TimeOf<T>>,
}

impl<T> Files<T, CsvFormat> {
    /// A CSV file whose first line names the columns, which are the fields of `T`.
    pub fn csv(path: impl AsRef<Path>) -> Self {
        Self::new(path, CsvFormat::new(b',', true))
    }

    /// A CSV file of another kind: fields parted by `delimiter`, with or without a line that names them. Without,
    /// columns are the fields of `T` in their order.
    pub fn csv_with(path: impl AsRef<Path>, delimiter: u8, with_header: bool) -> Self {
        Self::new(path, CsvFormat::new(delimiter, with_header))
    }
}

impl<T> Files<T, JsonLinesFormat> {
    /// A file with a JSON value per line.
    pub fn json_lines(path: impl AsRef<Path>) -> Self {
        Self::new(path, JsonLinesFormat::default())
    }
}

impl<T, F> Files<T, F> {
    fn new(path: impl AsRef<Path>, format: F) -> Self {
        Self {
            paths: Arc::new(vec![path.as_ref().to_owned()]),
            format,
            policy: FailOnBadLine,
            options: FileOptions::default(),
            time: None,
        }
    }
}

impl<T, F, P> Files<T, F, P> {
    /// Another file of the same kind; order is kept within each file. A start that goes on from a checkpoint needs the files in
    /// the order that they had, with new ones behind them.
    #[must_use]
    pub fn and(mut self, path: impl AsRef<Path>) -> Self {
        Arc::make_mut(&mut self.paths).push(path.as_ref().to_owned());
        self
    }

    /// The time of each item. Default: the epoch. A bad line has the time of the line before it.
    #[must_use]
    pub fn time(mut self, time: impl Fn(&T) -> Timestamp + Send + Sync + 'static) -> Self {
        self.time = Some(Arc::new(time));
        self
    }

    /// Waits for more at the end, also where the file is replaced, cut or not there yet: a source without an end.
    #[must_use]
    pub const fn follow(mut self) -> Self {
        self.options.follow = true;
        self
    }

    /// Time between two looks at a file that is followed. Default 200 ms.
    #[must_use]
    pub const fn look_every(mut self, every: Duration) -> Self {
        self.options.look_every = every;
        self
    }

    /// Begins at a position instead of the beginning, in every file.
    #[must_use]
    pub const fn from(mut self, position: FilePosition) -> Self {
        self.options.from = position;
        self
    }

    fn with<Q>(self, policy: Q) -> Files<T, F, Q> {
        Files {
            paths: self.paths,
            format: self.format,
            policy,
            options: self.options,
            time: self.time,
        }
    }

    /// Gives bad lines as items as well, each a [`BadLine`](millstream_operators::source::BadLine): send them to a
    /// side output with [`errors_to`](Stream::errors_to). Default: the dataflow fails, and the line is named.
    #[must_use]
    pub fn keep_bad_lines(self) -> Files<T, F, KeepBadLines> {
        self.with(KeepBadLines)
    }

    /// Counts bad lines and passes them over.
    #[must_use]
    pub fn skip_bad_lines(self) -> Files<T, F, SkipBadLines> {
        self.with(SkipBadLines::default())
    }
}

impl<T, F, P> SourcePlan for Files<T, F, P>
where
    T: DeserializeOwned + Send + 'static,
    F: LineFormat,
    P: BadLinePolicy<T>,
{
    type Source = FileSource<T, F, P>;

    fn split_count(&self, _wiring: &Wiring) -> Result<usize, Fault> {
        Ok(self.paths.len())
    }

    fn split(&self, split: usize, wiring: &Wiring) -> Result<Self::Source, Fault> {
        let mut source = FileSource::new(
            self.paths[split].clone(),
            self.format.clone(),
            self.policy.clone(),
            self.options.clone(),
            self.time.clone(),
        )
        .among(&self.paths);
        source.place(&wiring.stage, split);
        if wiring.resources.get::<ReadInPlace>().is_none() {
            source = source.on_a_thread();
        }
        Ok(source)
    }

    /// A file that is followed may have been replaced in the meantime, and a position is most often where an earlier
    /// run ended.
    fn notes(&self) -> SourceNotes {
        SourceNotes {
            is_repeatable: !self.options.follow && self.options.from.offset == 0,
            is_endless: self.options.follow,
            ..SourceNotes::default()
        }
    }
}

impl<T, X, P, O> Stream<P, O>
where
    T: 'static,
    X: Send + 'static,
    P: Origin,
    O: Operator<P::Item, Out = Result<T, X>> + Clone,
{
    /// The values of a stream of results; the errors go to a side output.
    #[expect(
        clippy::type_complexity,
        reason = "the operators so far are in the type"
    )]
    pub fn errors_to(
        mut self,
        side: &SideOutput<X>,
    ) -> Stream<P, Then<O, SplitResult<T, X, Outlet<X, Forward>>>> {
        let outlet = side.outlet(&mut self.site);
        self.then(SplitResult::new(outlet))
    }
}

impl<T, F: fmt::Debug, P> fmt::Debug for Files<T, F, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files")
            .field("paths", &self.paths)
            .field("format", &self.format)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
