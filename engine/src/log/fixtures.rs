//! For tests of those who read a log in which nothing is.

use super::frame::Frame;
use super::{Direction, Head, LogError, LogReader, StreamReader};
use crate::event::{Offset, PartitionId};
use crate::index::IndexEntry;

/// A log of one partition in which nothing ever is.
#[derive(Debug)]
pub(crate) struct EmptyLog;

impl LogReader for EmptyLog {
    fn partitions(&self) -> u16 {
        1
    }

    fn head(&self, _: PartitionId) -> Result<Head, LogError> {
        Ok(Head::default())
    }

    fn read(&self, _: PartitionId, _: Offset, _: usize) -> Result<Vec<Frame>, LogError> {
        Ok(Vec::new())
    }
}

impl StreamReader for EmptyLog {
    fn locate(
        &self,
        _: PartitionId,
        _: u64,
        _: u64,
        _: usize,
        _: Direction,
    ) -> Result<Vec<IndexEntry>, LogError> {
        Ok(Vec::new())
    }
}
