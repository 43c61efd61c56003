//! Parquet files as sources of a dataflow; behind the feature `parquet`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_engine::flow::{Fault, Wiring};
use millstream_engine::time::Timestamp;
use millstream_operators::source::{
    BadLinePolicy, FailOnBadLine, KeepBadLines, ParquetSource, SkipBadLines, TimeOf,
};
use serde::de::DeserializeOwned;

use super::source::{SourceNotes, SourcePlan};

/// Parquet files as a source, one split per file. Its position, the number of a row, is replayable.
pub struct ParquetFiles<T, P = FailOnBadLine> {
    paths: Vec<PathBuf>,
    policy: P,
    from: u64,
    time: Option<TimeOf<T>>,
}

impl<T> ParquetFiles<T> {
    /// A file whose columns are the fields of `T`.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            paths: vec![path.as_ref().to_owned()],
            policy: FailOnBadLine,
            from: 0,
            time: None,
        }
    }
}

impl<T, P> ParquetFiles<T, P> {
    /// Another file of the same kind; order is kept within each file.
    #[must_use]
    pub fn and(mut self, path: impl AsRef<Path>) -> Self {
        self.paths.push(path.as_ref().to_owned());
        self
    }

    /// The time of each item. Default: the epoch.
    #[must_use]
    pub fn time(mut self, time: impl Fn(&T) -> Timestamp + Send + Sync + 'static) -> Self {
        self.time = Some(Arc::new(time));
        self
    }

    /// Begins with this row, counted from 0, in every file.
    #[must_use]
    pub const fn from(mut self, row: u64) -> Self {
        self.from = row;
        self
    }

    fn with<Q>(self, policy: Q) -> ParquetFiles<T, Q> {
        ParquetFiles {
            paths: self.paths,
            policy,
            from: self.from,
            time: self.time,
        }
    }

    /// Gives rows that are not a `T` as items as well, for [`errors_to`](super::Stream::errors_to).
    #[must_use]
    pub fn keep_bad_rows(self) -> ParquetFiles<T, KeepBadLines> {
        self.with(KeepBadLines)
    }

    /// Counts rows that are not a `T` and passes them over.
    #[must_use]
    pub fn skip_bad_rows(self) -> ParquetFiles<T, SkipBadLines> {
        self.with(SkipBadLines::default())
    }
}

impl<T, P> SourcePlan for ParquetFiles<T, P>
where
    T: DeserializeOwned + Send + 'static,
    P: BadLinePolicy<T>,
{
    type Source = ParquetSource<T, P>;

    fn split_count(&self, _wiring: &Wiring) -> Result<usize, Fault> {
        Ok(self.paths.len())
    }

    fn split(&self, split: usize, wiring: &Wiring) -> Result<Self::Source, Fault> {
        let (path, time) = (self.paths[split].clone(), self.time.clone());
        let mut source = ParquetSource::new(path, self.policy.clone(), self.from, time);
        source.place(&wiring.stage, split);
        Ok(source)
    }

    fn notes(&self) -> SourceNotes {
        SourceNotes {
            is_repeatable: self.from == 0,
            ..SourceNotes::default()
        }
    }
}

impl<T, P> fmt::Debug for ParquetFiles<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParquetFiles")
            .field("paths", &self.paths)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}
