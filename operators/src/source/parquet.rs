//! Parquet files as sources, row by row; behind the feature `parquet`.
//!
//! Place: a file -> **Parquet source** -> a dataflow; one split per file, which must be complete: its description
//! stands at its end. Position: the number of the next row, from 0, with the file's length and a hash of its last bytes,
//! which describe it: replayable, and refused by a file that is another one. Going on from it reads what comes before as
//! well. Rows become what serde makes of them by the columns' names: decimals, times and bytes are texts,
//! as in JSON. Bounds: a page of each column. Threads: one owner; a pull may wait for the disk.
//! Failure: a file that cannot be read fails the stage; a row that is not a `T` is dealt with by the
//! [`BadLinePolicy`], its number (from 1) standing for the line and its number from 0 for the byte.
//! Cost: a row is taken together from all columns and goes through a JSON value. Not here: pushing filters into
//! the file.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use millstream_engine::event::PartitionId;
use millstream_engine::flow::{
    Emit, Fault, Pulled, SeekError, Source, number_position, position_number,
};
use millstream_engine::mailbox::Mailbox;
use millstream_engine::time::Timestamp;
use parquet::file::reader::SerializedFileReader;
use parquet::record::reader::RowIter;
use serde::de::DeserializeOwned;

use super::bad_line::{BadLine, BadLinePolicy, shown};
use super::file::TimeOf;
use super::file_mark::{Before, FileMark, FileNumber, read_before};
use super::opening::not_the_same;

/// One Parquet file as a source.
pub struct ParquetSource<T, P> {
    path: PathBuf,
    name: Arc<str>,
    policy: P,
    time: Option<TimeOf<T>>,
    rows: Option<RowIter<'static>>,
    /// Number of the next row.
    next: u64,
    /// Length of the file and what tells it; until it is opened, as the position says that was gone to.
    mark: Option<(u64, FileMark)>,
    last_time: Timestamp,
}

impl<T, P> ParquetSource<T, P>
where
    T: DeserializeOwned + Send + 'static,
    P: BadLinePolicy<T>,
{
    /// A source that reads `path` from row `from` on. Without `time` items have the epoch as their time.
    #[must_use]
    pub fn new(path: PathBuf, policy: P, from: u64, time: Option<TimeOf<T>>) -> Self {
        Self {
            name: path.display().to_string().into(),
            path,
            policy,
            time,
            rows: None,
            next: from,
            mark: None,
            last_time: Timestamp::EPOCH,
        }
    }

    /// Says where it belongs, for metrics.
    pub fn place(&mut self, stage: &str, split: usize) {
        let split = PartitionId(u16::try_from(split).unwrap_or(u16::MAX));
        self.policy.open(stage, split);
    }

    /// Number of the first row that was not given yet.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.next
    }

    /// Whether `file` is the one that the position lies in; keeps what tells it.
    fn check(&mut self, file: &File) -> Result<(), Fault> {
        let failed = |error: io::Error| Fault(format!("{}: {error}", self.path.display()));
        let metadata = file.metadata().map_err(failed)?;
        let bytes = metadata.len();
        let Before::Same(last) = read_before(file, bytes).map_err(failed)? else {
            return Err(Fault(format!(
                "{}: it was cut while it was read",
                self.name
            )));
        };
        let found = FileMark::new(FileNumber::of(&metadata), &last, &[]);
        if let Some((known_bytes, known)) = self.mark
            && !(known_bytes == bytes && known.is_of_same_bytes(&found))
        {
            return Err(self.refuse("is another file now"));
        }
        self.mark = Some((bytes, found));
        Ok(())
    }

    #[cold]
    fn refuse(&self, what: &str) -> Fault {
        Fault(not_the_same(
            &self.path,
            &format!("row {}", self.next),
            what,
        ))
    }

    #[cold]
    fn bad(&self, value: &serde_json::Value) -> BadLine {
        let (field, reason) = match serde_path_to_error::deserialize::<_, T>(value) {
            Ok(_) => (None, "the row cannot be read".to_owned()),
            Err(error) => {
                let path = error.path().to_string();
                ((path != ".").then_some(path), error.inner().to_string())
            }
        };
        BadLine {
            file: Arc::clone(&self.name),
            line: self.next + 1,
            offset: self.next,
            field,
            reason,
            text: shown(value.to_string().as_bytes()),
        }
    }
}

impl<T, P> Source for ParquetSource<T, P>
where
    T: DeserializeOwned + Send + 'static,
    P: BadLinePolicy<T>,
{
    type Item = P::Item;

    fn open(&mut self, _mailbox: &Arc<Mailbox>) -> Result<(), Fault> {
        let name = Arc::clone(&self.name);
        let failed = |error: &dyn fmt::Display| Fault(format!("{name}: {error}"));
        let file = File::open(&self.path).map_err(|error| failed(&error))?;
        self.check(&file)?;
        let reader = SerializedFileReader::new(file).map_err(|error| failed(&error))?;
        let mut rows = RowIter::from_file_into(Box::new(reader));
        for passed in 0..self.next {
            match rows.next() {
                Some(row) => row.map_err(|error| failed(&error))?,
                None => return Err(self.refuse(&format!("has only {passed} rows"))),
            };
        }
        self.rows = Some(rows);
        Ok(())
    }

    fn pull<E: Emit<P::Item>>(&mut self, items_max: usize, out: &mut E) -> Result<Pulled, Fault> {
        for _ in 0..items_max {
            let Some(row) = self.rows.as_mut().and_then(Iterator::next) else {
                return Ok(Pulled::End);
            };
            let row = row.map_err(|error| {
                let (name, number) = (&self.name, self.next + 1);
                Fault(format!("{name}, row {number}: {error}"))
            })?;
            let value = row.to_json_value();
            match T::deserialize(&value) {
                Ok(item) => {
                    if let Some(time) = &self.time {
                        self.last_time = time(&item);
                    }
                    out.emit(self.last_time, self.policy.good(item));
                }
                Err(_) => {
                    let line = self.bad(&value);
                    if let Some(item) = self.policy.bad(line)? {
                        out.emit(self.last_time, item);
                    }
                }
            }
            self.next += 1;
        }
        Ok(Pulled::More)
    }

    fn position(&self) -> Result<Option<Vec<u8>>, Fault> {
        let mut position = number_position(self.next);
        if let Some((bytes, mark)) = &self.mark {
            position.extend_from_slice(&bytes.to_be_bytes());
            mark.encode(&mut position);
        }
        Ok(Some(position))
    }

    fn seek(&mut self, position: &[u8]) -> Result<(), SeekError> {
        let unknown = || Fault("a position of another kind of source".to_owned());
        let (next, rest) = position.split_at_checked(8).ok_or_else(unknown)?;
        self.next = position_number(next)?;
        // Positions had only the row once.
        self.mark = match rest.split_at_checked(8) {
            None if rest.is_empty() => None,
            None => return Err(unknown().into()),
            Some((bytes, mark)) => {
                let mark = FileMark::decode(mark).ok_or_else(unknown)?;
                Some((position_number(bytes)?, mark))
            }
        };
        Ok(())
    }
}

impl<T, P> fmt::Debug for ParquetSource<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParquetSource")
            .field("name", &self.name)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::KeepBadLines;
    use millstream_engine::mailbox::MailboxLimits;
    use millstream_engine::time::ManualClock;
    use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Sale {
        product: String,
        cents: u64,
    }

    /// Two row groups of three rows; the fifth has negative cents.
    fn write(path: &std::path::Path) {
        write_groups(path, &[[1, 2, 3], [4, -5, 6]]);
    }

    fn write_groups(path: &std::path::Path, groups: &[[i64; 3]]) {
        let schema = "message sale { required binary product (UTF8); required int64 cents; }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let file = File::create(path).unwrap();
        let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
        for cents in groups {
            let mut group = writer.next_row_group().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let names: Vec<_> = cents
                .map(|cents| ByteArray::from(format!("p{cents}").as_str()))
                .into();
            let typed = column.typed::<ByteArrayType>();
            typed.write_batch(&names, None, None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let typed = column.typed::<Int64Type>();
            typed.write_batch(cents, None, None).unwrap();
            column.close().unwrap();
            group.close().unwrap();
        }
        writer.close().unwrap();
    }

    fn mailbox() -> Arc<Mailbox> {
        let limits = MailboxLimits {
            items_max: 8.try_into().unwrap(),
            bytes_max: 1_024.try_into().unwrap(),
        };
        Mailbox::new(limits, Arc::new(ManualClock::new(Timestamp::EPOCH)))
    }

    fn read(path: &std::path::Path, from: u64) -> (Vec<Result<Sale, BadLine>>, u64) {
        let mut source = ParquetSource::<Sale, _>::new(path.to_owned(), KeepBadLines, from, None);
        source.open(&mailbox()).unwrap();
        let mut found = Vec::new();
        let mut out = |_: Timestamp, item| found.push(item);
        while source.pull(2, &mut out).unwrap() == Pulled::More {}
        (found, source.position())
    }

    #[test]
    fn rows_are_read_from_any_position_and_bad_ones_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sales.parquet");
        write(&path);
        let (mut found, position) = read(&path, 0);
        assert_eq!((found.len(), position), (6, 6));
        let bad = found.remove(4).unwrap_err();
        assert_eq!((bad.line, bad.field.as_deref()), (5, Some("cents")));
        let cents: Vec<_> = found.into_iter().map(|sale| sale.unwrap().cents).collect();
        assert_eq!(cents, [1, 2, 3, 4, 6]);
        let (found, position) = read(&path, 5);
        let last = Sale {
            product: "p6".to_owned(),
            cents: 6,
        };
        assert_eq!((found, position), (vec![Ok(last)], 6));
        assert_eq!(read(&path, 6).0, []);
    }

    /// The story: a position was a row and nothing else. One behind the last row ended in silence, and another file was
    /// read from its middle on.
    #[test]
    fn a_position_belongs_to_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sales.parquet");
        write(&path);
        let new = || ParquetSource::<Sale, _>::new(path.clone(), KeepBadLines, 0, None);
        let mut first = new();
        first.open(&mailbox()).unwrap();
        assert_eq!(first.pull(4, &mut |_: Timestamp, _| {}), Ok(Pulled::More));
        let position = Source::position(&first).unwrap().unwrap();
        let begin = |position: &[u8]| {
            let mut source = new();
            source.seek(position).unwrap();
            let opened = source.open(&mailbox());
            opened.map(|()| source).map_err(|fault| fault.0)
        };
        let same = begin(&position).unwrap();
        assert_eq!(
            (same.position(), Source::position(&same)),
            (4, Ok(Some(position.clone())))
        );
        // A copy is as good.
        let copy = folder.path().join("copy");
        std::fs::copy(&path, &copy).unwrap();
        std::fs::rename(&copy, &path).unwrap();
        assert!(begin(&position).is_ok());
        write_groups(&path, &[[1, 2, 3], [4, 7, 6]]);
        let fault = begin(&position).unwrap_err();
        assert!(
            fault.contains("row 4 before, and is another file now"),
            "{fault}"
        );
        // Stored before positions said which file it was.
        assert_eq!(begin(&position[..8]).unwrap().position(), 4);
        write_groups(&path, &[[1, 2, 3]]);
        let fault = begin(&position[..8]).unwrap_err();
        assert!(fault.contains("has only 3 rows"), "{fault}");
    }
}
