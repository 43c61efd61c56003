//! Sources as they are declared: what is read, which times its items have, what the watermark is.

mod iterators;
mod timestamped;

use std::any::TypeId;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream_engine::flow::{
    Alignment, Fault, Identity, NoWatermarks, Operator, Source, SourceHead, SourceOptions, Split,
    StageMeter, WatermarkPolicy, Wiring,
};
use millstream_engine::mailbox::Mailbox;
use millstream_engine::time::Timestamp;

pub use self::iterators::{Generate, IteratorSource, WithoutTime};
pub use self::timestamped::Timestamped;
use super::flow::Flow;
use super::origin::{Opening, Origin, open_stage};
use super::site::Site;
use super::stream::Stream;

/// An input as it is declared: makes the sources that each partition reads.
pub trait SourcePlan: Send + 'static {
    /// One ordered input.
    type Source: Source;

    /// How many there are over all partitions; each has a watermark of its own.
    ///
    /// # Errors
    /// [`Fault`]: it cannot be known, such as a log that the engine does not have.
    fn split_count(&self, wiring: &Wiring) -> Result<usize, Fault>;

    /// Makes number `split`, out of `0..split_count`.
    ///
    /// # Errors
    /// [`Fault`]: it cannot be read.
    fn split(&self, split: usize, wiring: &Wiring) -> Result<Self::Source, Fault>;

    /// What must be known of it before it runs. Default: nothing is promised.
    fn notes(&self) -> SourceNotes {
        SourceNotes::default()
    }

    /// Whether split n of a number of splits is something else than split n of another number.
    fn splits_depend_on_count(&self) -> bool {
        false
    }

    /// The items' times will not be those of the medium: a watermark that is made from those would be wrong.
    fn times_are_replaced(&mut self) {}
}

/// What is known of a source before it runs.
#[derive(Clone, Debug, Default)]
pub struct SourceNotes {
    /// Every start of the dataflow reads the same items again, in the same order, from the first one on.
    pub is_repeatable: bool,
    /// It ends where its medium ends when the dataflow starts, which may be further on at the next start.
    pub end_moves: bool,
    /// It has no end by itself.
    pub is_endless: bool,
    /// It knows a watermark without a policy.
    pub has_watermark: bool,
    /// The event type whose categories must be known from the topology's aggregates, and its name.
    pub events_of: Option<(TypeId, &'static str)>,
}

/// A source that was declared.
pub(super) struct SourceNote {
    pub(super) name: String,
    pub(super) notes: SourceNotes,
    /// A policy makes its watermark.
    pub(super) has_policy: bool,
    /// A silent split holds windows back no longer.
    pub(super) may_be_idle: bool,
    /// It reads the engine's log.
    pub(super) is_of_log: bool,
}

/// A source that is being declared.
#[must_use = "a source does nothing until .stream() and a sink"]
pub struct SourceBuilder<S, W = NoWatermarks> {
    pub(super) flow: Flow,
    pub(super) name: String,
    pub(super) naming: Naming,
    pub(super) plan: S,
    policy: W,
    partitions: usize,
    pub(super) idle_after: Idleness,
    drift: Option<Duration>,
}

/// Where the name of a source comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// It was given.
    Given,
    /// It only says what the source is.
    OfKind,
    /// The same for one that reads the engine's log.
    OfLog,
}

/// When a split of a source no longer holds windows back.
#[derive(Clone, Copy, Debug)]
pub(super) enum Idleness {
    /// As it was said: after so much silence, or never.
    Said(Option<Duration>),
    /// After so much silence as long as items have the times of the medium, otherwise never.
    OfTheMedium(Duration),
}

impl Idleness {
    /// Items have other times than those of the medium: what was safe to say of those says nothing of these.
    pub(super) const fn times_are_replaced(self) -> Self {
        match self {
            Self::OfTheMedium(_) => Self::Said(None),
            said @ Self::Said(_) => said,
        }
    }

    const fn after(self) -> Option<Duration> {
        match self {
            Self::Said(after) => after,
            Self::OfTheMedium(after) => Some(after),
        }
    }
}

impl Flow {
    /// Reads `plan`, as a stage named `name`.
    pub fn source<S: SourcePlan>(&self, name: &str, plan: S) -> SourceBuilder<S> {
        SourceBuilder {
            flow: self.clone(),
            name: name.to_owned(),
            naming: Naming::Given,
            plan,
            policy: NoWatermarks,
            partitions: self.partitions(),
            idle_after: Idleness::Said(None),
            drift: None,
        }
    }
}

impl<S, W> SourceBuilder<S, W> {
    /// The same with another plan and policy.
    pub(super) fn map_parts<S2, W2>(
        self,
        change: impl FnOnce(S, W) -> (S2, W2),
    ) -> SourceBuilder<S2, W2> {
        let (plan, policy) = change(self.plan, self.policy);
        SourceBuilder {
            flow: self.flow,
            name: self.name,
            naming: self.naming,
            plan,
            policy,
            partitions: self.partitions,
            idle_after: self.idle_after,
            drift: self.drift,
        }
    }
}

impl<S: SourcePlan, W: WatermarkPolicy<<S::Source as Source>::Item>> SourceBuilder<S, W> {
    /// Takes each item's event time from the item. Default: the time that the medium has for it. What the medium says of
    /// watermarks and of [silence](Self::idle_after) does not hold for these times.
    pub fn timestamps<F>(mut self, time: F) -> SourceBuilder<Timestamped<S, F>, W>
    where
        F: Fn(&<S::Source as Source>::Item) -> Timestamp + Clone + Send + 'static,
    {
        self.plan.times_are_replaced();
        self.idle_after = self.idle_after.times_are_replaced();
        self.map_parts(|inner, policy| (Timestamped { inner, time }, policy))
    }

    /// How the watermark follows from the items. Default: not at all, unless the source knows it itself.
    pub fn watermarks<W2>(self, policy: W2) -> SourceBuilder<S, W2>
    where
        W2: WatermarkPolicy<<S::Source as Source>::Item>,
    {
        self.map_parts(|plan, _| (plan, policy))
    }

    /// Time without an item or a watermark after which a split of the source no longer holds windows back. Default:
    /// [never](Self::never_idle), but 5 s for the log as long as items have the times of their recording.
    pub const fn idle_after(mut self, silence: Duration) -> Self {
        self.idle_after = Idleness::Said(Some(silence));
        self
    }

    /// A split without items holds all windows back, however long it is silent.
    pub const fn never_idle(mut self) -> Self {
        self.idle_after = Idleness::Said(None);
        self
    }

    /// Reads no split further than `drift` of event time ahead of the slowest, so that one that is read fast does
    /// not fill windows with what waits for the others. Default: no bound.
    pub const fn aligned(mut self, drift: Duration) -> Self {
        self.drift = Some(drift);
        self
    }

    /// Partitions that read. Default: the dataflow's. One that gets no split ends at once.
    pub const fn partitions(mut self, partitions: usize) -> Self {
        self.partitions = partitions;
        self
    }

    /// The stream of its items.
    pub fn stream(self) -> Stream<SourceOrigin<S, W>, Identity>
    where
        <S::Source as Source>::Item: Send + 'static,
    {
        let notes = self.plan.notes();
        let mut draft = self.flow.draft.borrow_mut();
        let mut site = Site::new(self.name.clone(), self.partitions, Vec::new());
        site.source = Some(draft.sources.len());
        site.name = (self.naming == Naming::Given).then(|| self.name.clone());
        draft.sources.push(SourceNote {
            has_policy: TypeId::of::<W>() != TypeId::of::<NoWatermarks>(),
            may_be_idle: self.idle_after.after().is_some(),
            is_of_log: self.naming == Naming::OfLog,
            name: self.name,
            notes,
        });
        let batch = draft.options.edges.batch.clone();
        drop(draft);
        let origin = SourceOrigin {
            plan: self.plan,
            policy: self.policy,
            options: SourceOptions {
                batch,
                idle_after: self.idle_after.after(),
                alignment: None,
            },
            drift: self.drift,
            alignment: Mutex::default(),
        };
        Stream::new(self.flow, origin, Identity, site)
    }
}

/// The beginning of a stage that reads a source.
pub struct SourceOrigin<S, W> {
    plan: S,
    policy: W,
    options: SourceOptions,
    drift: Option<Duration>,
    /// Shared by the partitions of a run.
    alignment: Mutex<Option<Arc<Alignment>>>,
}

impl<S, W> SourceOrigin<S, W> {
    /// How the splits of a run are kept together. The first partition makes it anew: what the run before had read says nothing
    /// of where this one is, and what hangs of that one may still tell its own.
    fn alignment(&self, splits: usize, wiring: &Wiring) -> Option<Arc<Alignment>> {
        let drift = self.drift?;
        let alignment = self.alignment.lock();
        let mut alignment = alignment.unwrap_or_else(PoisonError::into_inner);
        if wiring.partition == 0 {
            *alignment = None;
        }
        let make = || Arc::new(Alignment::new(splits, drift));
        Some(Arc::clone(alignment.get_or_insert_with(make)))
    }
}

impl<S, W> Origin for SourceOrigin<S, W>
where
    S: SourcePlan,
    W: WatermarkPolicy<<S::Source as Source>::Item>,
    <S::Source as Source>::Item: Send + 'static,
{
    type Item = <S::Source as Source>::Item;

    fn stage<O: Operator<Self::Item, Out = Infallible>>(
        &self,
        operator: O,
        wiring: &Wiring,
        mailbox: &Arc<Mailbox>,
        meter: StageMeter,
    ) -> Result<Opening, Fault> {
        let count = self.plan.split_count(wiring)?;
        let mut splits = Vec::new();
        for number in (wiring.partition..count).step_by(wiring.partitions) {
            splits.push(Split {
                source: self.plan.split(number, wiring)?,
                policy: self.policy.clone(),
                number,
                of: self.plan.splits_depend_on_count().then_some(count),
                resumed: Timestamp::MIN,
            });
        }
        let mut options = self.options.clone();
        options.alignment = self.alignment(count, wiring);
        let head = SourceHead::new(splits, options, mailbox);
        Ok(open_stage(head, operator, wiring, meter))
    }
}

impl<S, W> fmt::Debug for SourceBuilder<S, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceBuilder")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<S, W> fmt::Debug for SourceOrigin<S, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceOrigin")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
