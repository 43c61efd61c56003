//! Sinks: where dataflows end outside of themselves.
//!
//! Place: the last operator of a stage. A sink never blocks its thread: what has no room makes the stage wait, which
//! the stages before it feel. What a repetition after a restart means is said of each:
//!
//! | sink | after a restart that computes everything again | from a checkpoint |
//! |---|---|---|
//! | [`ChannelSink`] | at least once | at least once, what came after the checkpoint |
//! | [`FileSink`] | at least once | exactly once |
//! | [`LogSink`] | exactly once under the conditions said there, or at least once, as chosen | the same |
//! | [`LateLetters`], [`TableSink`] | exactly once: the table is emptied at start and made anew | exactly once |
//! | [`Deliver`] | at least once | at least once, under the same id |
//!
//! Not here: how sinks are declared, which is the builder's.

mod channel;
mod deliver;
mod file;
mod file_folders;
mod file_naming;
mod file_saved;
mod file_state;
mod file_writer;
mod late_letters;
mod letter_store;
mod log;
mod log_standing;
mod log_state;
mod row_format;
mod storing;
mod table;
mod table_part;
mod table_place;

#[cfg(test)]
mod tests;

pub use channel::ChannelSink;
pub use deliver::{Always, Deliver, DeliverOptions, Delivery, Receive, ResultId, Trying};
pub use file::{FileSink, FileSinkOptions};
pub use file_folders::FileFolders;
pub use late_letters::{LateLetters, late_letters_of};
pub use letter_store::LetterAccess;
pub(crate) use letter_store::{LetterNumbers, LetterStore};
pub use log::{LogEffect, LogSink, LogSinkOptions};
pub use row_format::{CsvRows, JsonRows, RowFormat};
pub use table::{TableSink, TableSinkOptions};
pub use table_part::{TABLE_STATE, has_all_rows};
pub use table_place::{TableAccess, TablePlace};
