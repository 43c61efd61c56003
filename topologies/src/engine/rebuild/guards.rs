//! What is asked of versions while they are changed, and taken back if that does not come to its end.

use std::sync::Arc;

use millstream_operators::projection::ProgressBoard;

/// A version that takes all the time that it needs until this is gone.
pub(super) struct Hurried<'b>(&'b ProgressBoard);

impl<'b> Hurried<'b> {
    pub(super) fn new(board: &'b ProgressBoard) -> Self {
        board.hurry(true);
        Self(board)
    }
}

impl Drop for Hurried<'_> {
    fn drop(&mut self) {
        self.0.hurry(false);
    }
}

/// The version that answers, bound not to overtake another one; freed again unless that is kept. If the other one has to
/// stay below the first, since it answered before, neither goes on until it is kept: each comes as far as the other.
pub(super) struct Bound<'b> {
    from: &'b Arc<ProgressBoard>,
    to: &'b Arc<ProgressBoard>,
    is_kept: bool,
}

impl<'b> Bound<'b> {
    pub(super) fn new(from: &'b Arc<ProgressBoard>, to: &'b Arc<ProgressBoard>) -> Self {
        from.stay_below(Some(Arc::clone(to)));
        Self {
            from,
            to,
            is_kept: false,
        }
    }

    /// The other one answers.
    pub(super) fn keep(mut self) {
        self.is_kept = true;
        self.to.stay_below(None);
    }
}

impl Drop for Bound<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            self.from.stay_below(None);
        }
    }
}
