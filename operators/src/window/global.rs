//! The window that all of a key's items are in.

/// One window per key for all time. Needs a trigger: at the watermark alone it gives nothing before the end of the
/// input. Its state, an accumulator per key, stays until then, so keys must be bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Global {
    pub(super) retracting: bool,
}

impl Global {
    /// All of a key's items.
    pub const fn new() -> Self {
        Self { retracting: false }
    }

    /// Takes back each result before one that replaces it.
    #[must_use]
    pub const fn retracting(mut self) -> Self {
        self.retracting = true;
        self
    }
}
