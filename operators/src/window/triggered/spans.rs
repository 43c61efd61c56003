//! Which windows are given out as a trigger says: tumbling, sliding, or one for all time.

use crate::window::aligned::Span;
use crate::window::{Global, Sliding, Tumbling};

/// The windows that [`TriggeredWindows`](super::TriggeredWindows) can have.
#[derive(Clone, Copy, Debug)]
pub struct Spans {
    /// `None`: one window for all time.
    pub(in crate::window) span: Option<Span>,
    pub(super) retracting: bool,
}

impl From<Tumbling> for Spans {
    fn from(window: Tumbling) -> Self {
        Self {
            span: Some(window.span),
            retracting: window.span.retracting,
        }
    }
}

impl From<Sliding> for Spans {
    fn from(window: Sliding) -> Self {
        Self {
            span: Some(window.span),
            retracting: window.span.retracting,
        }
    }
}

impl From<Global> for Spans {
    fn from(window: Global) -> Self {
        Self {
            span: None,
            retracting: window.retracting,
        }
    }
}
