//! The engine's log as a source of a dataflow.

use std::any::{TypeId, type_name};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::codec::Event;
use millstream_engine::event::{Offset, PartitionId, Token};
use millstream_engine::flow::{Fault, NoWatermarks, Wiring};
use millstream_operators::source::{
    KeepUnread, LogAccess, LogSource, LogSplit, PayloadOnly, RecordShape, Unreadable, WholeRecord,
};

use super::flow::Flow;
use super::source::{Idleness, Naming, SourceBuilder, SourceNotes, SourcePlan};

/// Silence after which a partition of the log no longer holds windows back. Well above the time from an event's
/// recording to its visibility, which is one forced write: what is recorded later has a later time, so that a
/// partition that speaks again is not late. That holds for times of recording only.
const IDLE_AFTER: Duration = Duration::from_secs(5);

/// Where in the log a source begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFrom {
    /// With the first event.
    #[default]
    Beginning,
    /// Behind all that the token has seen; partitions that it does not know from their beginning.
    After(Token),
    /// Behind what is durable when the dataflow starts.
    End,
}

impl From<Token> for LogFrom {
    fn from(token: Token) -> Self {
        Self::After(token)
    }
}

#[derive(Clone, Debug)]
enum Categories {
    /// Those of the aggregates whose events have the source's type.
    OfType,
    Named(Vec<String>),
    All,
}

/// The log as it is declared as a source.
pub struct LogPlan<E, R = PayloadOnly> {
    from: LogFrom,
    categories: Categories,
    until_durable_end: bool,
    unreadable: Unreadable,
    event_times: bool,
    own_watermark: bool,
    types: PhantomData<fn() -> (E, R)>,
}

impl Flow {
    /// The events of type `E` in the engine's log: of all aggregates of the topology whose events they are, or of
    /// the categories that are [named](SourceBuilder::category).
    ///
    /// One split per partition of the log. Each event's time is that of its recording, and so is the watermark; a
    /// partition that is silent for 5 s holds windows back no longer, unless items get other times. The source has no end unless it is
    /// [asked to](SourceBuilder::until_durable_end). Its position is replayable: an offset per partition. Until
    /// there are checkpoints, each start reads again from where [`from`](SourceBuilder::from) says. With checkpoints
    /// several of them in one dataflow want names, by which their positions are found again: [`stage_named`](super::Stream::stage_named).
    ///
    /// ```
    /// use millstream::Topology;
    /// use millstream::catalog::bank::{Account, AccountEvent};
    ///
    /// let topology = Topology::named("bank")
    ///     .aggregate::<Account>()
    ///     .dataflow("audit", |flow| {
    ///         flow.events::<AccountEvent>().stream().for_each(|time, _event| {
    ///             let _ = time;
    ///         });
    ///     })
    ///     .build()?;
    /// # Ok::<(), millstream::InvalidTopology>(())
    /// ```
    pub fn events<E: Event>(&self) -> SourceBuilder<LogPlan<E>> {
        self.log("events")
    }

    /// The same with stream, position, times and metadata of each event: [`Recorded`](millstream_engine::event::Recorded).
    pub fn records<E: Event>(&self) -> SourceBuilder<LogPlan<E, WholeRecord>> {
        self.log("records")
    }

    fn log<E: Event, R: RecordShape<E>>(&self, kind: &str) -> SourceBuilder<LogPlan<E, R>> {
        let plan = LogPlan {
            from: LogFrom::Beginning,
            categories: Categories::OfType,
            until_durable_end: false,
            unreadable: Unreadable::Fail,
            event_times: false,
            own_watermark: true,
            types: PhantomData,
        };
        let mut source = self.source(kind, plan);
        source.naming = Naming::OfLog;
        source.idle_after = Idleness::OfTheMedium(IDLE_AFTER);
        source
    }
}

impl<E: Event, R: RecordShape<E>> SourceBuilder<LogPlan<E, R>, NoWatermarks> {
    /// Reads the events of this category instead of those that are known by their type; may be said repeatedly.
    pub fn category(mut self, category: &str) -> Self {
        match &mut self.plan.categories {
            Categories::Named(categories) => categories.push(category.to_owned()),
            other => *other = Categories::Named(vec![category.to_owned()]),
        }
        self
    }

    /// Reads every event of the log: all of them must be readable as `E`, or be [passed over](Self::skip_unreadable).
    pub fn all_categories(mut self) -> Self {
        self.plan.categories = Categories::All;
        self
    }

    /// Where to begin. Default: with the first event.
    pub fn from(mut self, from: impl Into<LogFrom>) -> Self {
        self.plan.from = from.into();
        self
    }

    /// Ends with the last event that is durable when the dataflow starts: for runs over what is there. With checkpoints a
    /// dataflow that has ended is done, whatever comes to the log later: to compute it again at each start, take none
    /// ([`FlowOptions::checkpoints`](super::FlowOptions::checkpoints)).
    pub fn until_durable_end(mut self) -> Self {
        self.plan.until_durable_end = true;
        self
    }

    /// Counts events that cannot be read and passes them over. Default: the dataflow fails and names the position.
    pub fn skip_unreadable(mut self) -> Self {
        self.plan.unreadable = Unreadable::Skip;
        self
    }

    /// Gives events that cannot be read as items as well, each an
    /// [`UnreadEvent`](millstream_operators::source::UnreadEvent) with its bytes and position: have a policy deal with them with
    /// [`try_errors`](super::Stream::try_errors), or send them to a side output with
    /// [`errors_to`](super::Stream::errors_to). They are counted as those that are passed over are. Default: the dataflow
    /// fails and names the position.
    ///
    /// ```
    /// use millstream::Topology;
    /// use millstream::catalog::bank::{Account, AccountEvent};
    /// use millstream_operators::failing::ItemPolicy;
    ///
    /// let topology = Topology::named("bank")
    ///     .aggregate::<Account>()
    ///     .dataflow("audit", |flow| {
    ///         let events = flow.events::<AccountEvent>().keep_unreadable().stream();
    ///         // What a later version of the program has written waits until this one is upgraded and it is redriven.
    ///         let events = events.try_errors(ItemPolicy::dead_letter());
    ///         events.for_each(|_time, _event: AccountEvent| {});
    ///     })
    ///     .build()?;
    /// # Ok::<(), millstream::InvalidTopology>(())
    /// ```
    pub fn keep_unreadable(self) -> SourceBuilder<LogPlan<E, KeepUnread<R>>, NoWatermarks> {
        self.map_parts(|plan, policy| {
            let plan = LogPlan {
                from: plan.from,
                categories: plan.categories,
                until_durable_end: plan.until_durable_end,
                unreadable: plan.unreadable,
                event_times: plan.event_times,
                own_watermark: plan.own_watermark,
                types: PhantomData,
            };
            (plan, policy)
        })
    }

    /// Takes the time when each event happened, as its writer said it, instead of that of its recording. Say what the
    /// [watermark](SourceBuilder::watermarks) is then: the log does not know it. Nor does it know what silence means for
    /// these times, so that partitions are waited for unless [told otherwise](SourceBuilder::idle_after).
    pub fn event_times(mut self) -> Self {
        self.plan.event_times = true;
        self.plan.own_watermark = false;
        self.idle_after = self.idle_after.times_are_replaced();
        self
    }
}

impl<E: Event, R: RecordShape<E>> LogPlan<E, R> {
    fn wanted(&self, access: &LogAccess) -> Result<Option<Arc<[String]>>, Fault> {
        match &self.categories {
            Categories::All => Ok(None),
            Categories::Named(categories) => Ok(Some(categories.as_slice().into())),
            Categories::OfType => match access.categories_of::<E>() {
                [] => Err(Fault(format!(
                    "no aggregate has events of type {}: say in which category they are with .category(\"…\")",
                    type_name::<E>()
                ))),
                found => Ok(Some(found.into())),
            },
        }
    }
}

fn access(wiring: &Wiring) -> Result<Arc<LogAccess>, Fault> {
    let found = wiring.resources.get::<LogAccess>();
    found.ok_or_else(|| Fault("there is no log: the dataflow runs without an engine".to_owned()))
}

impl<E: Event, R: RecordShape<E>> SourcePlan for LogPlan<E, R> {
    type Source = LogSource<E, R>;

    fn split_count(&self, wiring: &Wiring) -> Result<usize, Fault> {
        Ok(usize::from(access(wiring)?.feed().partitions()))
    }

    fn split(&self, split: usize, wiring: &Wiring) -> Result<LogSource<E, R>, Fault> {
        let access = access(wiring)?;
        let partition = PartitionId(u16::try_from(split).unwrap_or(u16::MAX));
        let durable = access.feed().durable(partition);
        let from = match &self.from {
            LogFrom::Beginning => Offset(0),
            LogFrom::End => durable,
            LogFrom::After(token) => {
                let mut seen = token.positions().iter();
                let seen = seen.find(|position| position.partition == partition);
                seen.map_or(Offset(0), |position| position.offset.plus(1))
            }
        };
        let split = LogSplit {
            partition,
            from,
            until: self.until_durable_end.then_some(durable),
            categories: self.wanted(&access)?,
            unreadable: self.unreadable,
            event_times: self.event_times,
            own_watermark: self.own_watermark,
        };
        Ok(LogSource::new(access, split, wiring))
    }

    fn notes(&self) -> SourceNotes {
        let by_type = matches!(self.categories, Categories::OfType);
        SourceNotes {
            // A token is most often where an earlier run ended: another one at the next start.
            is_repeatable: self.from == LogFrom::Beginning,
            end_moves: self.until_durable_end,
            is_endless: !self.until_durable_end,
            has_watermark: self.own_watermark,
            events_of: by_type.then(|| (TypeId::of::<E>(), type_name::<E>())),
        }
    }

    fn times_are_replaced(&mut self) {
        self.own_watermark = false;
    }
}

impl<E, R> fmt::Debug for LogPlan<E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogPlan")
            .field("from", &self.from)
            .field("categories", &self.categories)
            .field("until_durable_end", &self.until_durable_end)
            .finish_non_exhaustive()
    }
}
