//! What a stage begins with, as it is declared: makes the head of each partition.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use millstream_engine::flow::{
    Edge, Fault, FlowStage, FlowStageParts, Head, Inlet, Operator, Side, StageMeter, TwoInlets,
    Wiring,
};
use millstream_engine::mailbox::Mailbox;
use millstream_engine::stage::StageCore;

/// The beginning of a stage.
pub trait Origin: Send + 'static {
    /// What comes in.
    type Item: Send + 'static;

    /// Prepares one partition of a stage that begins here. Each run begins with the first one.
    ///
    /// # Errors
    /// [`Fault`]: it cannot start.
    fn stage<O: Operator<Self::Item, Out = Infallible>>(
        &self,
        operator: O,
        wiring: &Wiring,
        mailbox: &Arc<Mailbox>,
        meter: StageMeter,
    ) -> Result<Opening, Fault>;
}

/// Opens one partition of a stage, with its state of the last checkpoint. Blocks on storage and files; on any thread.
pub type Opening = Box<dyn FnOnce() -> Result<Box<dyn StageCore>, Fault> + Send>;

/// A stage of a head and the operators that it drives.
pub(super) fn open_stage<H, O>(head: H, operator: O, wiring: &Wiring, meter: StageMeter) -> Opening
where
    H: Head<O> + Send + 'static,
    O: Operator<H::Item, Out = Infallible>,
{
    let parts = FlowStageParts {
        head,
        operator,
        wiring: wiring.clone(),
        meter,
    };
    Box::new(move || Ok(Box::new(FlowStage::open(parts)?)))
}

/// What other stages send.
pub struct InletOrigin<T> {
    edges: Vec<Arc<Edge<T>>>,
}

impl<T> InletOrigin<T> {
    pub(super) const fn new(edges: Vec<Arc<Edge<T>>>) -> Self {
        Self { edges }
    }
}

impl<T: Send + 'static> Origin for InletOrigin<T> {
    type Item = T;

    fn stage<O: Operator<T, Out = Infallible>>(
        &self,
        operator: O,
        wiring: &Wiring,
        _mailbox: &Arc<Mailbox>,
        meter: StageMeter,
    ) -> Result<Opening, Fault> {
        let head = Inlet::open(&self.edges, wiring.partition)?;
        Ok(open_stage(head, operator, wiring, meter))
    }
}

/// What two kinds of stages send: the input of a join.
pub struct PairOrigin<L, R> {
    left: Vec<Arc<Edge<L>>>,
    right: Vec<Arc<Edge<R>>>,
    /// The right side has no say in what time it is.
    by_time_of_left: bool,
}

impl<L, R> PairOrigin<L, R> {
    pub(super) const fn new(left: Vec<Arc<Edge<L>>>, right: Vec<Arc<Edge<R>>>) -> Self {
        Self {
            left,
            right,
            by_time_of_left: false,
        }
    }

    pub(super) const fn by_time_of_left(mut self) -> Self {
        self.by_time_of_left = true;
        self
    }
}

impl<L: Send + 'static, R: Send + 'static> Origin for PairOrigin<L, R> {
    type Item = Side<L, R>;

    fn stage<O: Operator<Side<L, R>, Out = Infallible>>(
        &self,
        operator: O,
        wiring: &Wiring,
        _mailbox: &Arc<Mailbox>,
        meter: StageMeter,
    ) -> Result<Opening, Fault> {
        let mut head = TwoInlets::open(&self.left, &self.right, wiring.partition)?;
        if self.by_time_of_left {
            head = head.by_time_of_left();
        }
        Ok(open_stage(head, operator, wiring, meter))
    }
}

impl<T> fmt::Debug for InletOrigin<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InletOrigin").finish_non_exhaustive()
    }
}

impl<L, R> fmt::Debug for PairOrigin<L, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PairOrigin").finish_non_exhaustive()
    }
}
