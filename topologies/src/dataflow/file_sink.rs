//! Streams that end in files.

use millstream_engine::flow::Operator;
use millstream_operators::sink::{CsvRows, FileSink, FileSinkOptions, JsonRows, RowFormat};
use serde::Serialize;

use super::origin::Origin;
use super::site::FilesNote;
use super::stream::Stream;

impl<P: Origin, O> Stream<P, O>
where
    O: Operator<P::Item> + Clone,
    O::Out: Serialize + 'static,
{
    /// Writes items into files of a JSON value per line. A file has its name only once it is complete and durable. At
    /// least once: what is computed again after a restart is written again, into further files. With checkpoints exactly
    /// once: a file has its name only once a checkpoint has it. Sinks into one folder need prefixes of their own.
    pub fn to_json_lines(self, files: FileSinkOptions) {
        self.to_files(files, JsonRows::default());
    }

    /// Writes items into CSV files, each with a header of the fields' names; otherwise as
    /// [`to_json_lines`](Self::to_json_lines).
    pub fn to_csv(self, files: FileSinkOptions) {
        self.to_files(files, CsvRows::default());
    }

    /// Writes items into files of a format of one's own; otherwise as [`to_json_lines`](Self::to_json_lines).
    pub fn to_files<F: RowFormat>(self, files: FileSinkOptions, format: F) {
        let mut stream = self;
        stream.site.lets_out = true;
        stream.site.files = Some(FilesNote::new(&files.folder, &files.prefix));
        stream.end(FileSink::new(files, format));
    }
}
