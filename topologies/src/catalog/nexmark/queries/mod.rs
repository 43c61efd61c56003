//! The queries as dataflows, one file per query.
//!
//! Place: what `millstream run nexmark` and the benchmarks run; [`direct`](super::direct) computes the same in
//! plain code. Each query filters and narrows its events before an exchange, and its rows go to a tally. Events of one
//! partition of the source come in order of event time unless the generator shuffles them, and the source knows its
//! own watermark. Cost: see `docs/performance_dataflows.md`.

mod hot_items;
mod q11;
mod q12;
mod q13;
mod q3;
mod q7;
mod q8;
mod source;
mod stateless;
mod tally;
mod winning_bids;

use std::sync::Arc;

pub use source::NexmarkPlan;
pub use tally::Tally;

use crate::dataflow::{Flow, Stream};

use super::config::NexmarkConfig;
use super::direct::{Q5_SECONDS_BEAM, Q5_SECONDS_FLINK, Variant};
use millstream_engine::flow::Identity;

/// The stream that all queries begin with.
type Events = Stream<
    crate::dataflow::SourceOrigin<NexmarkPlan, millstream_engine::flow::NoWatermarks>,
    Identity,
>;

/// A query of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Query {
    /// Every event through.
    Q0,
    /// Bids in another currency.
    Q1,
    /// Bids on chosen auctions.
    Q2,
    /// Auctions of one category whose seller lives near by.
    Q3,
    /// Mean winning price per category, over sliding windows.
    Q4,
    /// Auctions with most bids, over sliding windows.
    Q5,
    /// Mean of each seller's last ten winning bids.
    Q6,
    /// Highest bids of each window.
    Q7,
    /// New people and the auctions they opened in the same window.
    Q8,
    /// Winning bid of each auction.
    Q9,
    /// Bids per bidder and session.
    Q11,
    /// Bids per bidder and ten seconds of processing time.
    Q12,
    /// Bids enriched from a table.
    Q13,
}

impl Query {
    /// Such as `q5`.
    #[must_use]
    pub fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// The number of the query.
    #[must_use]
    pub fn number(self) -> u32 {
        self.name()[1..].parse().unwrap_or_default()
    }

    /// Declares the query over the events of `config`; its rows go to `tally`.
    pub fn declare(
        self,
        flow: &Flow,
        config: &NexmarkConfig,
        variant: Variant,
        tally: &Arc<Tally>,
    ) {
        let events = flow.source("events", NexmarkPlan::new(config)).stream();
        match self {
            Self::Q0 => stateless::q0(events, tally),
            Self::Q1 => stateless::q1(events, tally),
            Self::Q2 => stateless::q2(events, tally),
            Self::Q3 => q3::q3(events, tally),
            Self::Q4 => winning_bids::q4(events, tally),
            Self::Q6 => winning_bids::q6(events, tally),
            Self::Q8 => q8::q8(events, variant, tally),
            Self::Q9 => winning_bids::q9(events, variant, tally),
            Self::Q11 => q11::q11(events, tally),
            Self::Q5 => {
                let every = match variant {
                    Variant::Beam => Q5_SECONDS_BEAM,
                    Variant::Flink => Q5_SECONDS_FLINK,
                };
                hot_items::q5(events, every, tally);
            }
            Self::Q7 => q7::q7(events, tally),
            Self::Q12 => q12::q12(events, tally),
            Self::Q13 => q13::q13(events, tally),
        }
    }
}
