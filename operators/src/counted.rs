//! How many bytes a value takes where it is saved.

use std::io::{self, Write};

use serde::Serialize;

/// Counts what is written to it.
#[derive(Default)]
pub(crate) struct Counted(pub(crate) usize);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes of a value in the format of checkpoints, without names; `None`: it cannot be saved.
pub(crate) fn bytes_of<T: Serialize>(value: &T) -> Option<u64> {
    let mut counted = Counted::default();
    rmp_serde::encode::write(&mut counted, value).ok()?;
    Some(counted.0 as u64)
}
