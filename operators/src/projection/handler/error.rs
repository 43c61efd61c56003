//! Which of several handlers failed.

use std::error::Error;
use std::fmt;

use crate::failing::Classed;
use crate::projection::TableSet;

/// Why one of several handlers failed: nothing that any of them changed counts. Its text is that of the cause, with the tables
/// before it; what caused the cause comes behind it, and its class of causes is the cause's.
#[derive(Debug)]
pub struct HandlerError {
    tables: Vec<&'static str>,
    cause: Box<dyn Error + Send + Sync>,
}

impl HandlerError {
    /// Of the smallest part that failed.
    #[cold]
    pub(in crate::projection) fn of(
        tables: &impl TableSet,
        cause: impl Error + Send + Sync + 'static,
    ) -> Self {
        let cause: Box<dyn Error + Send + Sync> = Box::new(cause);
        cause.downcast().map_or_else(
            |cause| {
                let outboxes = tables.outboxes();
                let outboxes = outboxes.iter().map(|outbox| outbox.name);
                let tables = tables.names().into_iter().chain(outboxes).collect();
                Self { tables, cause }
            },
            |part| *part,
        )
    }

    /// Names of the tables and outboxes of the handler that failed.
    #[must_use]
    pub fn tables(&self) -> &[&'static str] {
        &self.tables
    }

    /// Its error.
    #[must_use]
    pub fn cause(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.cause
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "what keeps {} failed: {}",
            self.tables.join(", "),
            self.cause
        )
    }
}

impl Error for HandlerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // The cause is in the text. One that has a class is told again, so that whoever looks for that finds it.
        let cause: &(dyn Error + 'static) = &*self.cause;
        match cause.is::<Classed>() {
            true => Some(cause),
            false => cause.source(),
        }
    }
}
