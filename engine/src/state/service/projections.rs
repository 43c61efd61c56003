//! Projections and their tables, registered and dropped on the writer's thread.
//!
//! Invariant: what was queued before is committed before. Each blocks its caller until it is answered: not for async code.

use super::StateWriterHandle;
use crate::state::{RegisteredProjection, StateError};

impl StateWriterHandle {
    /// As [`StateWriter::register_projection`](crate::state::StateWriter::register_projection), on the writer's
    /// thread. Blocks the thread.
    ///
    /// # Errors
    /// As there; [`StateError::Closed`].
    pub fn register_projection(
        &self,
        name: &str,
        version: u32,
        tables: &[&str],
    ) -> Result<RegisteredProjection, StateError> {
        let name = name.to_owned();
        let tables: Vec<String> = tables.iter().map(ToString::to_string).collect();
        self.ask(move |writer| {
            let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
            writer.register_projection(&name, version, &tables)
        })
    }

    /// Forgets a projection; its rows are deleted in slices between the commits that follow. Blocks the thread
    /// until it is forgotten. Stop what writes to it first: rows written later are not found.
    ///
    /// # Errors
    /// As [`StateWriter::drop_projection`](crate::state::StateWriter::drop_projection); [`StateError::Closed`].
    pub fn drop_projection(&self, name: &str, version: u32) -> Result<(), StateError> {
        let name = name.to_owned();
        self.ask(move |writer| writer.drop_projection(&name, version))
    }

    /// As [`StateWriter::reset_projection`](crate::state::StateWriter::reset_projection), on the writer's
    /// thread. Blocks the thread.
    ///
    /// # Errors
    /// As there; [`StateError::Closed`].
    pub fn reset_projection(
        &self,
        name: &str,
        version: u32,
    ) -> Result<RegisteredProjection, StateError> {
        let name = name.to_owned();
        self.ask(move |writer| writer.reset_projection(&name, version))
    }

    /// As [`StateWriter::set_tables`](crate::state::StateWriter::set_tables), on the writer's
    /// thread. Blocks the thread.
    ///
    /// # Errors
    /// As there; [`StateError::Closed`].
    pub fn set_tables(
        &self,
        name: &str,
        version: u32,
        tables: &[&str],
        kept: &[&str],
    ) -> Result<RegisteredProjection, StateError> {
        let name = name.to_owned();
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let (tables, kept): (Vec<String>, Vec<String>) = (owned(tables), owned(kept));
        self.ask(move |writer| {
            let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
            let kept: Vec<&str> = kept.iter().map(String::as_str).collect();
            writer.set_tables(&name, version, &tables, &kept)
        })
    }
}
