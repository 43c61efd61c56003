//! Sources: what a dataflow reads from, each an ordered input with a position.
//!
//! Place: at the beginning of a stage. What is said of each: whether its position is *replayable*, that is, whether
//! the same items come again, in the same order, from the same position on.
//!
//! | source | position | replayable |
//! |---|---|---|
//! | [`LogSource`] | offset in a partition of the log | yes |
//! | [`FileSource`]: [`CsvFormat`], [`JsonLinesFormat`] | byte in a file, and which one | yes, while the file keeps what it held |
//! | `ParquetSource` (feature `parquet`) | row of a file, and which one | yes, of the same file |
//! | [`ChannelSource`] | none | no |
//!
//! Failure: what cannot be read fails the stage with the place named, unless the source was told to pass it over,
//! which is counted.
//! Not here: how sources are declared and dealt to partitions, which is the builder's.

mod bad_line;
mod channel;
mod csv;
mod file;
mod file_mark;
mod json_lines;
mod line_format;
mod log;
mod opening;
#[cfg(feature = "parquet")]
mod parquet;
mod pieces;
mod pipes;
mod reader;
mod too_long;
mod unread;

#[cfg(test)]
mod tests;

pub use bad_line::{BadLine, BadLinePolicy, FailOnBadLine, KeepBadLines, SkipBadLines};
pub use channel::{ChannelSource, SharedReceiver};
pub use csv::CsvFormat;
pub use file::{FileOptions, FileSource, ReadInPlace, TimeOf};
pub use json_lines::JsonLinesFormat;
pub use line_format::{FilePosition, LineFormat, Parsed};
pub use log::{LogAccess, LogSource, LogSplit, PayloadOnly, RecordShape, Unreadable, WholeRecord};
#[cfg(feature = "parquet")]
pub use parquet::ParquetSource;
pub use unread::{KeepUnread, UnreadEvent};
