//! What can be said on the command line.

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use millstream::catalog::nexmark::{NexmarkConfig, NexmarkConfigError, NexmarkSource};

use crate::Tally;

/// Who computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// timely-dataflow.
    Timely,
    /// renoir.
    Renoir,
    /// A loop written by hand for the one query.
    Loop,
    /// The definition, plain and slow: what answers are compared with.
    Direct,
}

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Query {
    /// Every event.
    Q0,
    /// Bids in another currency.
    Q1,
    /// Bids on some auctions.
    Q2,
    /// Auctions joined with sellers near by.
    Q3,
    /// The auctions with most bids in sliding windows.
    Q5,
    /// The highest bids of tumbling windows.
    Q7,
    /// New people and the auctions they opened in the same window.
    Q8,
    /// The count per key and second, over two sources.
    Keyed,
}

/// Runs one query in one peer and prints a JSON line.
#[derive(Clone, Debug, Parser)]
#[command(name = "peers")]
pub(crate) struct Options {
    /// Who computes.
    pub(crate) peer: Peer,
    /// What is computed.
    #[arg(long)]
    pub(crate) query: Query,
    /// Events, of all generators or sources together.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) events: u64,
    /// Threads that compute.
    #[arg(long, default_value_t = 1)]
    pub(crate) workers: u32,
    /// Generators of Nexmark events, shared out over the workers.
    #[arg(long, default_value_t = 100)]
    pub(crate) generators: u32,
    /// Seconds between two windows of q5.
    #[arg(long, default_value_t = 5)]
    pub(crate) every: u64,
    /// Sums the hashes of all rows as well.
    #[arg(long)]
    pub(crate) checksum: bool,
}

impl Options {
    /// Refuses what no peer can do.
    pub(crate) fn check(&self) -> Result<()> {
        if self.workers == 0 || self.workers > 64 {
            bail!("`--workers` is 1 to 64");
        }
        if self.every == 0 || 10 % self.every != 0 {
            bail!("`--every` divides the ten seconds of a window");
        }
        match self.peer {
            Peer::Loop if self.workers > 1 && self.query != Query::Keyed => {
                bail!("the loops run on one thread, except for `keyed`")
            }
            Peer::Loop if self.workers > 2 => bail!("`loop --query keyed` has one or two threads"),
            Peer::Renoir if self.query == Query::Q7 => {
                bail!("renoir has no q7 here")
            }
            _ => Ok(()),
        }
    }

    /// The events of a worker's share of the generators.
    pub(crate) fn source(
        &self,
        worker: u32,
        workers: u32,
    ) -> Result<NexmarkSource, NexmarkConfigError> {
        let config = NexmarkConfig::of(self.events).generators(self.generators);
        NexmarkSource::of_partition(&config, worker, workers)
    }

    /// For the rows to come.
    pub(crate) fn tally(&self) -> Tally {
        Tally::new(self.checksum)
    }
}

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Timely => "timely",
            Self::Renoir => "renoir",
            Self::Loop => "loop",
            Self::Direct => "direct",
        }
    }
}

impl Query {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Q0 => "q0",
            Self::Q1 => "q1",
            Self::Q2 => "q2",
            Self::Q3 => "q3",
            Self::Q5 => "q5",
            Self::Q7 => "q7",
            Self::Q8 => "q8",
            Self::Keyed => "keyed",
        }
    }
}
