//! What joins in time hold of one key.

use serde::{Deserialize, Serialize};

use super::run::{Held, Run};

/// What is held of one key.
#[derive(Serialize, Deserialize)]
#[serde(bound(
    serialize = "L: Serialize, R: Serialize",
    deserialize = "L: Deserialize<'de>, R: Deserialize<'de>"
))]
pub(super) struct Pending<L, R> {
    pub(super) left: Run<Held<L>>,
    pub(super) right: Run<Held<R>>,
}

impl<L, R> Default for Pending<L, R> {
    fn default() -> Self {
        Self {
            left: Run::default(),
            right: Run::default(),
        }
    }
}

impl<L, R> Pending<L, R> {
    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty() && self.right.is_empty()
    }
}
