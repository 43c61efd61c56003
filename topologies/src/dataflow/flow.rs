//! Where a dataflow is declared: its stages and the edges between them, before anything runs.

mod declared;
mod draft;
mod options;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::num::{NonZeroU32, NonZeroUsize};
use std::rc::Rc;
use std::sync::Arc;

use millstream_engine::flow::{
    BatchSize, Edge, EdgeOptions, Forward, Identity, Operator, Outlet, Then,
};

pub use self::declared::Dataflow;
pub(super) use self::draft::{Draft, EdgePlan, MakeStage, StagePlan};
pub use self::options::FlowOptions;
use super::check::DataflowFault;
use super::origin::{InletOrigin, Origin};
use super::site::Site;
use super::stream::Stream;

pub(super) type EdgeId = usize;
pub(super) type StageId = usize;

/// Where a dataflow is declared. Clones mean the same dataflow.
#[derive(Clone)]
pub struct Flow {
    pub(super) draft: Rc<RefCell<Draft>>,
}

/// A place in a dataflow where items leave beside the main output; read with [`Flow::side`].
pub struct SideOutput<T> {
    pub(super) id: EdgeId,
    pub(super) edge: Arc<Edge<T>>,
    /// Of the stage that sends, once that is declared.
    partitions: Rc<Cell<Option<usize>>>,
}

impl<T> Clone for SideOutput<T> {
    fn clone(&self) -> Self {
        Self {
            id: self.id,
            edge: Arc::clone(&self.edge),
            partitions: Rc::clone(&self.partitions),
        }
    }
}

/// How much may be on its way to a stage that takes little, so that what comes behind it does not wait for long.
#[derive(Clone, Copy)]
pub(super) struct EdgeBound {
    /// Items of a batch.
    pub(super) batch_items: NonZeroUsize,
    /// Batches of so many items.
    pub(super) batches: NonZeroU32,
}

impl EdgeBound {
    /// Makes batches no larger than the bound says; gives how many of them may wait. `None` where they are not as large
    /// anyway.
    fn narrow(self, options: &mut EdgeOptions) -> Option<NonZeroU32> {
        let items = match &options.batch {
            BatchSize::Dynamic(limits) if self.batch_items.get() >= limits.items_max => {
                return None;
            }
            BatchSize::Dynamic(_) => self.batch_items,
            BatchSize::Fixed(items) => self.batch_items.min(*items),
        };
        options.batch = BatchSize::Fixed(items);
        let smaller = self.batch_items.get().div_ceil(items.get());
        let smaller = u32::try_from(smaller).unwrap_or(u32::MAX);
        Some(
            self.batches
                .saturating_mul(NonZeroU32::new(smaller).unwrap_or(NonZeroU32::MIN)),
        )
    }
}

impl Flow {
    pub(super) fn new(name: &str, options: FlowOptions) -> Self {
        let draft = Draft::new(name.to_owned(), options);
        Self {
            draft: Rc::new(RefCell::new(draft)),
        }
    }

    pub(super) fn partitions(&self) -> usize {
        self.draft.borrow().options.partitions
    }

    pub(super) fn fault(&self, fault: DataflowFault) {
        self.draft.borrow_mut().faults.push(fault);
    }

    /// A new edge; whoever sends and whoever receives are noted when their stages are closed.
    pub(super) fn edge<T: Send + 'static>(
        &self,
        label: &str,
        one_to_one: bool,
    ) -> (EdgeId, Arc<Edge<T>>) {
        self.edge_of(label, one_to_one, None)
    }

    /// The same where no more may be on its way than a bound says.
    pub(super) fn edge_of<T: Send + 'static>(
        &self,
        label: &str,
        one_to_one: bool,
        bound: Option<EdgeBound>,
    ) -> (EdgeId, Arc<Edge<T>>) {
        let mut draft = self.draft.borrow_mut();
        let mut options = draft.options.edges.clone();
        let batches_max = bound.and_then(|bound| bound.narrow(&mut options));
        let edge = Edge::<T>::new(options);
        let connected = Arc::clone(&edge);
        draft.edges.push(EdgePlan {
            label: label.to_owned(),
            one_to_one,
            from: None,
            to: None,
            connect: Box::new(move |senders, mailboxes, mut limits| {
                limits.items_max = limits.items_max.min(batches_max.unwrap_or(NonZeroU32::MAX));
                connected.connect(senders, mailboxes, one_to_one, limits);
            }),
        });
        (draft.edges.len() - 1, edge)
    }

    /// Takes a stage whose operators are complete.
    pub(super) fn close<P, O>(&self, origin: P, operator: O, site: Site)
    where
        P: Origin,
        O: Operator<P::Item, Out = std::convert::Infallible> + Clone,
    {
        let mut draft = self.draft.borrow_mut();
        let id = draft.stages.len();
        for &input in &site.inputs {
            let edge = &mut draft.edges[input];
            let (label, before) = (edge.label.clone(), edge.to.replace(id));
            if before.is_some() {
                draft.faults.push(DataflowFault::ReadTwice { label });
            }
        }
        for &output in &site.outputs {
            let edge = &mut draft.edges[output];
            let (label, before) = (edge.label.clone(), edge.from.replace(id));
            if before.is_some() {
                draft.faults.push(DataflowFault::SentTwice { label });
            }
        }
        let make: MakeStage = Box::new(move |wiring, mailbox, meter| {
            origin.stage(operator.clone(), wiring, mailbox, meter)
        });
        let name = site.name.clone().unwrap_or_default();
        draft.stages.push(StagePlan { site, name, make });
    }

    /// A side output named `label` in messages. Give it to the operator that should send to it, such as a window's
    /// [`late_to`](super::WindowedStream::late_to), and read it with [`side`](Self::side).
    #[must_use]
    pub fn side_output<T: Send + 'static>(&self, label: &str) -> SideOutput<T> {
        let (id, edge) = self.edge(label, true);
        SideOutput {
            id,
            edge,
            partitions: Rc::default(),
        }
    }

    /// What comes out of a side output, with as many partitions as the stage that sends.
    pub fn side<T: Send + 'static>(
        &self,
        side: &SideOutput<T>,
    ) -> Stream<InletOrigin<T>, Identity> {
        let known = side.partitions.get();
        let partitions = known.unwrap_or_else(|| self.partitions());
        let label = self.draft.borrow().edges[side.id].label.clone();
        let site = Site::new(label, partitions, vec![side.id]).following();
        let origin = InletOrigin::new(vec![Arc::clone(&side.edge)]);
        Stream::new(self.clone(), origin, Identity, site)
    }
}

impl<T: Send + 'static> SideOutput<T> {
    /// What the stage of `site` sends to it.
    pub(super) fn outlet(&self, site: &mut Site) -> Outlet<T, Forward> {
        site.outputs.push(self.id);
        self.outlet_of(site.partitions)
    }

    /// The same for a stage that is yet to begin, with so many partitions; it takes [`id`](Self::id) as an output.
    pub(super) fn outlet_of(&self, partitions: usize) -> Outlet<T, Forward> {
        self.partitions.set(Some(partitions));
        Outlet::new(Arc::clone(&self.edge), Forward)
    }
}

/// Composes two operators.
pub(super) fn then<A, B>(first: A, second: B) -> Then<A, B> {
    Then { first, second }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flow").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for SideOutput<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = PhantomData::<T>;
        f.debug_struct("SideOutput").field("id", &self.id).finish()
    }
}
