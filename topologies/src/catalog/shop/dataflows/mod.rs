//! Dataflows over the shop's sales: windows, sessions, ranks, a join and a pattern, each compared with a direct
//! computation over the file.
//!
//! Place: events of customers in the log -> [`sale`] -> one dataflow that reads them once and shares them: [`revenue`]
//! (by hour, and by seven days), [`sessions`], [`top_products`], [`refunds`], [`repeats`]. [`direct`] computes the same
//! rows from the file by code of its own. Event time is the invoice's minute. Invariant: with a watermark that is as
//! far behind as the log is out of order, nothing is late; what is late all the same is counted, and fails a check.
//! Results do not depend on the order of lines in one minute, nor on how partitions are interleaved.
//! Either they run [over what is there](over_the_log), and their rows are collected in memory, about thirty thousand for a
//! year, or they [go on](live) in an engine, from checkpoints, and keep their rows in tables: a window has its row once the
//! watermark has passed it.
//! Failure: see [`RunDataflowError`](crate::dataflow::RunDataflowError).

mod destination;
pub mod direct;
pub mod live;
pub mod refunds;
pub mod repeats;
pub mod revenue;
pub mod sale;
pub mod sessions;
#[cfg(test)]
mod tests;
pub mod top_products;

pub use direct::Direct;
pub use refunds::RefundRow;
pub use repeats::RepeatRow;
pub use revenue::RevenueSpan;
pub use sale::{Sale, SaleKind};
pub use sessions::SessionRow;
pub use top_products::TopRow;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream_engine::event::Recorded;
use millstream_engine::flow::{BoundedOutOfOrderness, Operator};
use millstream_operators::aggregate::Aggregate;
use millstream_operators::source::WholeRecord;

use self::destination::{Destination, InMemory};
use super::{Customer, CustomerEvent};
use crate::dataflow::{
    Collected, Dataflow, Flow, InvalidDataflow, LogPlan, Origin, SideOutput, SourceBuilder, Stream,
};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const DAYS_30: Duration = Duration::from_secs(30 * DAY.as_secs());

/// Rows of all dataflows, each sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SalesRows {
    /// Revenue per country and hour.
    pub hourly: Vec<RevenueSpan>,
    /// Revenue per country and seven days, sliding by a day.
    pub weekly: Vec<RevenueSpan>,
    /// Shopping sessions.
    pub sessions: Vec<SessionRow>,
    /// The best of each week.
    pub top_products: Vec<TopRow>,
    /// Refunds and what they undo.
    pub refunds: Vec<RefundRow>,
    /// Who bought and brought back twice.
    pub repeats: Vec<RepeatRow>,
}

/// Counts items that were late for one of the dataflows.
#[derive(Clone, Debug, Default)]
struct Late(Arc<AtomicU64>);

impl Late {
    fn count<T: Send + 'static>(&self, flow: &Flow, side: &SideOutput<T>) {
        let late = Arc::clone(&self.0);
        flow.side(side).for_each(move |_, _| {
            late.fetch_add(1, Ordering::Relaxed);
        });
    }
}

/// What becomes of the rows of each dataflow.
struct Kept<D: Destination> {
    hourly: D::Kept<RevenueSpan>,
    weekly: D::Kept<RevenueSpan>,
    sessions: D::Kept<SessionRow>,
    top_products: D::Kept<TopRow>,
    refunds: D::Kept<RefundRow>,
    repeats: D::Kept<RepeatRow>,
}

/// What the dataflows give out while they run.
pub struct SalesOutput {
    kept: Kept<InMemory>,
    late: [Late; 6],
}

impl fmt::Debug for SalesOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SalesOutput")
            .field("late", &self.late)
            .finish_non_exhaustive()
    }
}

impl SalesOutput {
    /// All rows so far, and how many items were late for each dataflow, in the order of [`SalesRows`]. Takes the rows
    /// out.
    #[must_use]
    pub fn take(&self) -> (SalesRows, [u64; 6]) {
        fn sorted<T: Ord>(rows: &Collected<T>) -> Vec<T> {
            let mut rows = rows.take_items();
            rows.sort_unstable();
            rows
        }
        let kept = &self.kept;
        let rows = SalesRows {
            hourly: sorted(&kept.hourly),
            weekly: sorted(&kept.weekly),
            sessions: sorted(&kept.sessions),
            top_products: sorted(&kept.top_products),
            refunds: sorted(&kept.refunds),
            repeats: sorted(&kept.repeats),
        };
        let late = self.late.each_ref();
        (rows, late.map(|late| late.0.load(Ordering::Relaxed)))
    }
}

/// Declares all dataflows over `sales`, whose times must be those of the items.
pub fn declare<P, O>(flow: &Flow, sales: Stream<P, O>) -> SalesOutput
where
    P: Origin,
    O: Operator<P::Item, Out = Sale> + Clone,
{
    let (kept, late) = declare_to(flow, sales, &InMemory);
    SalesOutput { kept, late }
}

fn declare_to<P, O, D>(flow: &Flow, sales: Stream<P, O>, to: &D) -> (Kept<D>, [Late; 6])
where
    P: Origin,
    O: Operator<P::Item, Out = Sale> + Clone,
    D: Destination,
{
    let mut branches = sales.share(7).into_iter();
    let mut next = || {
        branches
            .next()
            .unwrap_or_else(|| unreachable!("seven were asked for"))
    };
    let late: [Late; 6] = Default::default();
    let kept = Kept {
        hourly: revenue::hourly(flow, next(), &late[0], to),
        weekly: revenue::weekly(flow, next(), &late[1], to),
        sessions: sessions::sessions(flow, next(), &late[2], to),
        top_products: top_products::top_products(flow, next(), &late[3], to),
        refunds: refunds::refunds(flow, next(), next(), &late[4], to),
        repeats: repeats::repeats(flow, next(), &late[5], to),
    };
    (kept, late)
}

/// All customers' events as sales. `disorder` is how far one may be behind one before it in its partition of the log, in
/// event time.
fn sales(
    source: SourceBuilder<LogPlan<CustomerEvent, WholeRecord>>,
    disorder: Duration,
) -> Stream<
    impl Origin<Item = Recorded<CustomerEvent>>,
    impl Operator<Recorded<CustomerEvent>, Out = Sale> + Clone,
> {
    source
        .category(Customer::CATEGORY)
        .timestamps(|recorded| sale::time(&recorded.payload))
        .watermarks(BoundedOutOfOrderness::new(disorder))
        .stream()
        .map(|recorded: Recorded<CustomerEvent>| Sale::of(recorded.stream.id(), recorded.payload))
}

/// The dataflows over all customers' events that are durable when it starts. `disorder` is how far an event may be
/// behind one before it in its partition of the log, in event time.
///
/// # Errors
/// [`InvalidDataflow`]: none as it stands; callers pass it on.
pub fn over_the_log(disorder: Duration) -> Result<(Dataflow, SalesOutput), InvalidDataflow> {
    Dataflow::declare("sales", |flow| {
        let source = flow.records::<CustomerEvent>().until_durable_end();
        declare(flow, sales(source, disorder))
    })
}
