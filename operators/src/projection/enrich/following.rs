//! Waiting for those that are read: no event is applied before they have stored all up to it.

use std::sync::Arc;

use millstream_engine::event::PartitionId;

use super::sight::Scope;
use crate::projection::ProgressBoard;
use crate::projection::following::Hurried;

/// What a projection waits for because it reads others.
#[derive(Debug)]
pub(in crate::projection) struct Following {
    pub(in crate::projection) boards: Vec<Arc<ProgressBoard>>,
    pub(in crate::projection) scope: Scope,
    actor: u16,
    /// What it waits for in this turn.
    pub(in crate::projection) waits: Option<(PartitionId, Arc<ProgressBoard>)>,
    /// While it waits.
    hurried: Vec<Hurried>,
}

impl Following {
    pub(in crate::projection) fn new(
        boards: &[Arc<ProgressBoard>],
        scope: Scope,
        actor: u16,
    ) -> Self {
        Self {
            boards: boards.to_vec(),
            scope,
            actor,
            waits: None,
            hurried: Vec::new(),
        }
    }

    /// A turn is over: says on the projection's own board what it waits for, and has that stored soon.
    pub(in crate::projection) fn turn_over(&mut self, own: &ProgressBoard) {
        if self.boards.is_empty() {
            return;
        }
        let is_new = self.waits.is_some() && self.hurried.is_empty();
        if is_new {
            self.hurried = self.boards.iter().map(Hurried::new).collect();
        } else if self.waits.is_none() {
            self.hurried.clear();
        }
        own.wait_for(self.actor, self.waits.as_ref());
    }
}
