//! What is declared: stages and the edges between them, before anything runs.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::num::{NonZeroU32, NonZeroUsize};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use millstream_engine::checkpoint::CheckpointOptions;
use millstream_engine::flow::{
    BatchSize, Edge, EdgeOptions, Fault, Forward, Identity, Operator, Outlet, StageMeter, Then,
    Wiring,
};
use millstream_engine::mailbox::{Mailbox, MailboxLimits};
use millstream_operators::failing::letter_stage;

use super::check::{self, DataflowFault, InvalidDataflow};
use super::origin::{InletOrigin, Opening, Origin};
use super::site::Site;
use super::source::SourceNote;
use super::stream::Stream;
use super::table::TablePlan;

/// How a dataflow runs unless a part of it says otherwise.
#[derive(Clone, Debug)]
pub struct FlowOptions {
    /// Partitions of each stage. Default: one per processor, at most 16.
    pub partitions: usize,
    /// Batches between stages.
    pub edges: EdgeOptions,
    /// Batches (not items) that wait before each partition of a stage, and their bytes, shared out among the partitions that
    /// send to it (at least two batches each). Default: 64 and 1 MiB. More: longer bursts; less: fresher caches.
    pub mailbox: MailboxLimits,
    /// When checkpoints are taken, in an engine. Default: every ten seconds, and each start goes on from the last. `None`:
    /// never, so that each start begins anew.
    pub checkpoints: Option<CheckpointOptions>,
    /// Threads that the dataflow has for itself, beside those of the engine's runtime: for sinks and functions that may block
    /// or hang, which keep a thread of others otherwise until the watchdog sees it. Default: none. One more than there are
    /// partitions of what may hang lets the rest of the dataflow go on. Cost: threads that take turns with the engine's.
    pub own_threads: Option<NonZeroUsize>,
}

impl Default for FlowOptions {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, |number| number.get());
        Self {
            partitions: processors.min(16),
            edges: EdgeOptions::default(),
            mailbox: MailboxLimits {
                items_max: const { std::num::NonZeroU32::new(64).unwrap() },
                bytes_max: const { std::num::NonZeroU64::new(1 << 20).unwrap() },
            },
            checkpoints: Some(CheckpointOptions::default()),
            own_threads: None,
        }
    }
}

pub(super) type EdgeId = usize;
pub(super) type StageId = usize;

/// Prepares one partition of a stage.
pub(super) type MakeStage =
    Box<dyn Fn(&Wiring, &Arc<Mailbox>, StageMeter) -> Result<Opening, Fault> + Send>;
/// Makes the lanes of an edge.
pub(super) type Connect = Box<dyn Fn(usize, &[Arc<Mailbox>], MailboxLimits) + Send>;

pub(super) struct StagePlan {
    pub(super) site: Site,
    /// Unique; given with the site, or made when all are known.
    pub(super) name: String,
    pub(super) make: MakeStage,
}

pub(super) struct EdgePlan {
    pub(super) label: String,
    pub(super) one_to_one: bool,
    pub(super) from: Option<StageId>,
    pub(super) to: Option<StageId>,
    pub(super) connect: Connect,
}

/// A dataflow while it is declared.
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) options: FlowOptions,
    pub(super) stages: Vec<StagePlan>,
    pub(super) edges: Vec<EdgePlan>,
    pub(super) faults: Vec<DataflowFault>,
    pub(super) sources: Vec<SourceNote>,
    pub(super) tables: Vec<TablePlan>,
    /// Late items, or items that fail, become dead letters somewhere.
    pub(super) has_letters: bool,
}

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
        Self {
            draft: Rc::new(RefCell::new(Draft {
                name: name.to_owned(),
                options,
                stages: Vec::new(),
                edges: Vec::new(),
                faults: Vec::new(),
                sources: Vec::new(),
                tables: Vec::new(),
                has_letters: false,
            })),
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

impl Draft {
    /// What could not be known before all stages were: how many partitions those have that follow others, and names
    /// of those that were not given one.
    fn complete(&mut self) {
        for _ in 0..self.stages.len() {
            let mut changed = false;
            for at in 0..self.stages.len() {
                let edge = self.stages[at].site.follows;
                let before = edge.and_then(|edge| self.edges[edge].from);
                let Some(partitions) = before.map(|from| self.stages[from].site.partitions) else {
                    continue;
                };
                let site = &mut self.stages[at].site;
                changed |= std::mem::replace(&mut site.partitions, partitions) != partitions;
            }
            if !changed {
                break;
            }
        }
        for at in 0..self.stages.len() {
            if self.stages[at].site.name.is_none() {
                self.stages[at].name = self.free_name(&self.stages[at].site.kind);
            }
        }
    }

    /// What the state of each stage is found by in a checkpoint: a name that was given, or else the stage's.
    pub(super) fn identities(&self) -> Vec<String> {
        let given: Vec<_> = self
            .stages
            .iter()
            .map(|stage| stage.site.identity())
            .collect();
        let is_taken = |name: &str| {
            let mut others = self.stages.iter().zip(&given);
            others.any(|(stage, given)| given.is_none() && stage.name == name)
        };
        let is_of_state = |stage: &StagePlan, name: &str| {
            let is_named = |other: &StagePlan| other.site.name.as_deref() == Some(name);
            stage.site.name.is_none() && self.stages.iter().any(is_named)
        };
        let stages = self.stages.iter().zip(&given);
        let identity = |(stage, given): (&StagePlan, &Option<String>)| match given {
            // A source may well be named as the state that it steers.
            Some(given) if is_of_state(stage, given) => format!("state {given}"),
            Some(given) if is_taken(given) => format!("{given} (named)"),
            Some(given) => given.clone(),
            None => stage.name.clone(),
        };
        stages.map(identity).collect()
    }

    /// What letters of late items name as their stages.
    pub(super) fn late_stages(&self, dataflow: &str) -> Vec<Arc<str>> {
        let stages = self.stages.iter().zip(self.identities());
        let kept = stages.filter(|(stage, _)| stage.site.has_late_letters);
        kept.map(|(_, identity)| letter_stage(&format!("{dataflow}/{identity}"), 0))
            .collect()
    }

    /// What the letters of operators that may fail name as their stages.
    pub(super) fn letter_stages(&self, dataflow: &str) -> Vec<Arc<str>> {
        let stages = self.stages.iter().zip(self.identities());
        let named = stages.flat_map(|(stage, identity)| {
            let stage_name = format!("{dataflow}/{identity}");
            (0..stage.site.failing).map(move |ordinal| letter_stage(&stage_name, ordinal))
        });
        named.collect()
    }

    /// `kind`, or `kind-2` and so on if that is taken.
    fn free_name(&self, kind: &str) -> String {
        let is_taken = |name: &str| self.stages.iter().any(|stage| stage.name == name);
        if !is_taken(kind) {
            return kind.to_owned();
        }
        (2..)
            .map(|number| format!("{kind}-{number}"))
            .find(|name| !is_taken(name))
            .unwrap_or_default()
    }
}

/// A dataflow that was declared: stages, joined by edges.
pub struct Dataflow {
    pub(super) name: String,
    pub(super) options: FlowOptions,
    /// What is declared is not shared between threads, only handed over.
    pub(super) draft: Mutex<Draft>,
}

impl Dataflow {
    /// Declares a dataflow named `name` and checks it; gives what `declare` gives as well, such as what streams that
    /// end in memory are collected in.
    ///
    /// ```
    /// use millstream::dataflow::Dataflow;
    ///
    /// let (flow, squares) = Dataflow::declare("squares", |flow| {
    ///     flow.items(0..100u64)
    ///         .stream()
    ///         .filter(|number| number % 2 == 0)
    ///         .map(|number| number * number)
    ///         .collect()
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidDataflow`] names everything that is wrong with it.
    pub fn declare<T>(
        name: &str,
        declare: impl FnOnce(&Flow) -> T,
    ) -> Result<(Self, T), InvalidDataflow> {
        Self::declare_with(name, FlowOptions::default(), declare)
    }

    /// Declares a dataflow that gives nothing to the program beside what it writes, and checks it.
    ///
    /// # Errors
    /// [`InvalidDataflow`] names everything that is wrong with it.
    pub fn build(name: &str, declare: impl FnOnce(&Flow)) -> Result<Self, InvalidDataflow> {
        Self::build_with(name, FlowOptions::default(), declare)
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_with(
        name: &str,
        options: FlowOptions,
        declare: impl FnOnce(&Flow),
    ) -> Result<Self, InvalidDataflow> {
        let (flow, ()) = Self::declare_with(name, options, declare)?;
        Ok(flow)
    }

    /// [`declare`](Self::declare) with options.
    ///
    /// # Errors
    /// As there.
    pub fn declare_with<T>(
        name: &str,
        options: FlowOptions,
        declare: impl FnOnce(&Flow) -> T,
    ) -> Result<(Self, T), InvalidDataflow> {
        let flow = Flow::new(name, options.clone());
        let given = declare(&flow);
        flow.draft.borrow_mut().complete();
        let mut faults = std::mem::take(&mut flow.draft.borrow_mut().faults);
        faults.extend(check::check(&flow.draft.borrow()));
        if !faults.is_empty() {
            return Err(InvalidDataflow {
                name: name.to_owned(),
                faults,
            });
        }
        // Streams that were let go of hold the draft no longer.
        let empty = Flow::new(name, options.clone());
        let draft = flow.draft.replace(
            Rc::try_unwrap(empty.draft)
                .map_or_else(|_| unreachable!("nobody else has it"), RefCell::into_inner),
        );
        let dataflow = Self {
            name: name.to_owned(),
            options,
            draft: Mutex::new(draft),
        };
        Ok((dataflow, given))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Draft> {
        self.draft
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
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

impl fmt::Debug for Dataflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dataflow")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
