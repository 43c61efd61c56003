//! Sources as they are declared: what is read, which times its items have, what the watermark is.

use std::any::TypeId;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use millstream_engine::flow::{
    Alignment, Emit, Fault, Identity, NoWatermarks, Operator, Pulled, SeekError, Source,
    SourceHead, SourceOptions, Split, StageMeter, WatermarkPolicy, Wiring, number_position,
    position_number,
};
use millstream_engine::mailbox::Mailbox;
use millstream_engine::time::Timestamp;

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
}

/// A source that is being declared.
#[must_use = "a source does nothing until .stream() and a sink"]
pub struct SourceBuilder<S, W = NoWatermarks> {
    pub(super) flow: Flow,
    pub(super) name: String,
    /// Whether the name was given, and does not only say what the source is.
    pub(super) is_named: bool,
    pub(super) plan: S,
    policy: W,
    partitions: usize,
    pub(super) idle_after: Idleness,
    drift: Option<Duration>,
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
            is_named: true,
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
            is_named: self.is_named,
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
        site.name = self.is_named.then(|| self.name.clone());
        draft.sources.push(SourceNote {
            has_policy: TypeId::of::<W>() != TypeId::of::<NoWatermarks>(),
            may_be_idle: self.idle_after.after().is_some(),
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
            alignment: OnceLock::new(),
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
    /// Shared by the partitions; made with the first of them.
    alignment: OnceLock<Arc<Alignment>>,
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
        options.alignment = self.drift.map(|drift| {
            let make = || Arc::new(Alignment::new(count, drift));
            Arc::clone(self.alignment.get_or_init(make))
        });
        let head = SourceHead::new(splits, options, mailbox);
        Ok(open_stage(head, operator, wiring, meter))
    }
}

/// A source whose items say their own time.
#[derive(Debug, Clone)]
pub struct Timestamped<S, F> {
    inner: S,
    time: F,
}

struct Stamp<'a, F, E> {
    time: &'a F,
    out: &'a mut E,
}

impl<T, F: Fn(&T) -> Timestamp, E: Emit<T>> Emit<T> for Stamp<'_, F, E> {
    #[inline(always)]
    fn emit(&mut self, _time: Timestamp, item: T) {
        self.out.emit((self.time)(&item), item);
    }
}

impl<S: Source, F: Fn(&S::Item) -> Timestamp + Send + 'static> Source for Timestamped<S, F> {
    type Item = S::Item;

    fn open(&mut self, mailbox: &Arc<Mailbox>) -> Result<(), Fault> {
        self.inner.open(mailbox)
    }

    fn watermark(&self) -> Option<Timestamp> {
        self.inner.watermark()
    }

    #[inline]
    fn pull<E: Emit<S::Item>>(&mut self, items_max: usize, out: &mut E) -> Result<Pulled, Fault> {
        let time = &self.time;
        self.inner.pull(items_max, &mut Stamp { time, out })
    }

    fn position(&self) -> Result<Option<Vec<u8>>, Fault> {
        self.inner.position()
    }

    fn seek(&mut self, position: &[u8]) -> Result<(), SeekError> {
        self.inner.seek(position)
    }
}

impl<S, F> SourcePlan for Timestamped<S, F>
where
    S: SourcePlan,
    F: Fn(&<S::Source as Source>::Item) -> Timestamp + Clone + Send + 'static,
{
    type Source = Timestamped<S::Source, F>;

    fn split_count(&self, wiring: &Wiring) -> Result<usize, Fault> {
        self.inner.split_count(wiring)
    }

    fn split(&self, split: usize, wiring: &Wiring) -> Result<Self::Source, Fault> {
        Ok(Timestamped {
            inner: self.inner.split(split, wiring)?,
            time: self.time.clone(),
        })
    }

    fn notes(&self) -> SourceNotes {
        self.inner.notes()
    }

    fn splits_depend_on_count(&self) -> bool {
        self.inner.splits_depend_on_count()
    }
}

/// Items that a program makes: one iterator per split. Not replayable unless the iterators give the same again.
#[derive(Debug, Clone)]
pub struct Generate<F> {
    splits: Option<usize>,
    is_repeatable: bool,
    make: F,
}

impl<F, I> Generate<F>
where
    F: Fn(usize, usize) -> I + Clone + Send + 'static,
    I: Iterator,
{
    /// One split per partition; `make(split, splits)` gives its items with their times.
    pub const fn timed(make: F) -> Self {
        Self {
            splits: None,
            is_repeatable: false,
            make,
        }
    }

    /// Promises that every call gives the same items in the same order: what sinks need that tell repetitions by
    /// their number. Say [`splits`](Self::splits) then as well, since the number of partitions may change.
    #[must_use]
    pub const fn repeatable(mut self) -> Self {
        self.is_repeatable = true;
        self
    }

    /// A fixed number of splits, whatever the number of partitions.
    #[must_use]
    pub const fn splits(mut self, splits: usize) -> Self {
        self.splits = Some(splits);
        self
    }
}

impl Generate<()> {
    /// One split per partition; `make(split, splits)` gives its items, all with the epoch as their time.
    pub fn each<T, I, F>(
        make: F,
    ) -> Generate<impl Fn(usize, usize) -> WithoutTime<I::IntoIter> + Clone + Send + 'static>
    where
        I: IntoIterator<Item = T>,
        F: Fn(usize, usize) -> I + Clone + Send + 'static,
    {
        Generate {
            splits: None,
            is_repeatable: false,
            make: move |split, splits| WithoutTime(make(split, splits).into_iter()),
        }
    }
}

/// Gives each item the epoch as its time.
#[derive(Debug, Clone)]
pub struct WithoutTime<I>(I);

impl<I: Iterator> Iterator for WithoutTime<I> {
    type Item = (Timestamp, I::Item);

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|item| (Timestamp::EPOCH, item))
    }
}

/// An iterator as a source.
#[derive(Debug, Clone)]
pub struct IteratorSource<I> {
    items: I,
    /// Items that were given.
    given: u64,
}

impl<I> IteratorSource<I> {
    pub(super) const fn new(items: I) -> Self {
        Self { items, given: 0 }
    }
}

impl<T: 'static, I: Iterator<Item = (Timestamp, T)> + Send + 'static> Source for IteratorSource<I> {
    type Item = T;

    #[inline]
    fn pull<E: Emit<T>>(&mut self, items_max: usize, out: &mut E) -> Result<Pulled, Fault> {
        for given in 0..items_max {
            let Some((time, item)) = self.items.next() else {
                self.given += given as u64;
                return Ok(Pulled::End);
            };
            out.emit(time, item);
        }
        self.given += items_max as u64;
        Ok(Pulled::More)
    }

    /// Counts what was given: an iterator that does not give the same again goes on with something else.
    fn position(&self) -> Result<Option<Vec<u8>>, Fault> {
        Ok(Some(number_position(self.given)))
    }

    /// Cost: makes what comes before once more.
    fn seek(&mut self, position: &[u8]) -> Result<(), SeekError> {
        self.given = position_number(position)?;
        for _ in 0..self.given {
            if self.items.next().is_none() {
                let reason = "the iterator gives fewer items than it had given before";
                return Err(Fault(reason.to_owned()).into());
            }
        }
        Ok(())
    }
}

impl<T, I, F> SourcePlan for Generate<F>
where
    T: 'static,
    I: Iterator<Item = (Timestamp, T)> + Send + 'static,
    F: Fn(usize, usize) -> I + Clone + Send + 'static,
{
    type Source = IteratorSource<I>;

    fn split_count(&self, wiring: &Wiring) -> Result<usize, Fault> {
        Ok(self.splits.unwrap_or(wiring.partitions))
    }

    fn split(&self, split: usize, wiring: &Wiring) -> Result<Self::Source, Fault> {
        let splits = self.split_count(wiring)?;
        Ok(IteratorSource::new((self.make)(split, splits)))
    }

    fn notes(&self) -> SourceNotes {
        SourceNotes {
            is_repeatable: self.is_repeatable,
            ..SourceNotes::default()
        }
    }

    fn splits_depend_on_count(&self) -> bool {
        self.splits.is_none()
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
