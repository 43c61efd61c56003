//! The tables of a projection as they were, or would have been: its code replayed over the log up to a moment.
//!
//! Place: frames of the log -> **[`Replay`]** -> [`PastTables`], in memory, for whoever asked. The running projection, if
//! there is one, is not asked and does not notice; nothing is written.
//! Invariants: (1) rows are what the given code makes of the events of that moment, each stream in its order, as a
//! projection begun anew would; (2) an event that fails holds up its own stream to the end, and is told; (3) an event that
//! somebody had given up (`dead-letters discard`) by that moment is passed over, and one that was edited by then is applied so.
//! Threads: one per core for [`Rows::ByPartition`], which take partitions in turn, else one.
//! Cost, without embellishment: a whole replay, from the first event of the log. Every frame up to the moment is read and
//! unpacked, those without an event of the category are passed over by their head; rows are held twice for a moment, as
//! values and as bytes. No snapshots of tables shorten it; versions of rows, where they are kept, are asked without it (`versions`). A row that is made
//! from one stream alone is had for the cost of that stream: [`Replay::of_stream`].
//! A projection that looks into the tables of others has them replayed beside it, event by event.
//! Not here: redriven letters. With code that fails on an event it fails again; with code that does not it is applied.

mod merged;
mod partition;
mod tables;

use std::collections::HashSet;
use std::sync::Arc;

use millstream_engine::event::{PartitionId, StreamId};
use millstream_engine::log::StreamReader;
use millstream_engine::threads;

pub use tables::{FailedEvent, PastTables, TableDiff};

pub(super) use self::partition::decisions;
use self::partition::{Job, Share, run};
use super::{Projection, Rows, TableSet};
use crate::past::{At, Cut, PastError};

/// Events that a replay leaves out: what if they had never been?
#[derive(Clone, Debug, Default)]
struct LeftOut {
    streams: HashSet<String>,
    events: HashSet<(String, u64)>,
}

impl LeftOut {
    /// Asked for every event, most of the time in vain.
    fn holds(&self, id: &str, version: u64) -> bool {
        if self.streams.is_empty() && self.events.is_empty() {
            return false;
        }
        self.streams.contains(id) || self.events.contains(&(id.to_owned(), version))
    }
}

/// A replay of a projection up to a moment, with some events left out if that is asked.
pub struct Replay<P: Projection> {
    projection: Arc<P>,
    streams: Arc<dyn StreamReader>,
    at: At,
    left_out: LeftOut,
    only: Option<String>,
    threads_max: usize,
}

impl<P: Projection> std::fmt::Debug for Replay<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay")
            .field("projection", &P::NAME)
            .field("at", &self.at)
            .field("left_out", &self.left_out)
            .field("only", &self.only)
            .finish_non_exhaustive()
    }
}

impl<P: Projection> Replay<P> {
    /// A replay of all that is durable. The projection may be any: the one that runs, one with other code, one that no
    /// topology has.
    #[must_use]
    pub fn new(streams: Arc<dyn StreamReader>, projection: impl Into<Arc<P>>) -> Self {
        let cores = std::thread::available_parallelism();
        Self {
            projection: projection.into(),
            streams,
            at: At::Latest,
            left_out: LeftOut::default(),
            only: None,
            threads_max: cores.map_or(1, std::num::NonZero::get),
        }
    }

    /// Ends it at a moment.
    #[must_use]
    pub fn at(self, at: impl Into<At>) -> Self {
        Self {
            at: at.into(),
            ..self
        }
    }

    /// Leaves out one event of the stream with this id (without the category).
    #[must_use]
    pub fn without(mut self, id: &str, version: u64) -> Self {
        self.left_out.events.insert((id.to_owned(), version));
        self
    }

    /// Leaves out all events of the stream with this id.
    #[must_use]
    pub fn without_stream(mut self, id: &str) -> Self {
        self.left_out.streams.insert(id.to_owned());
        self
    }

    /// Replays the stream with this id alone, found by the index: for a row that is made from that stream and no other.
    /// Rows that other streams have a part in are not what they were.
    #[must_use]
    pub fn of_stream(self, id: &str) -> Self {
        Self {
            only: Some(id.to_owned()),
            ..self
        }
    }

    /// Uses at most so many threads, at least one; as many as the machine has cores unless said otherwise.
    #[must_use]
    pub fn threads_max(self, threads_max: usize) -> Self {
        Self {
            threads_max,
            ..self
        }
    }

    /// Replays, and gives the tables. Blocks until it is done: see the module's head for how long.
    ///
    /// # Errors
    /// [`PastError`]; [`PastError::NotOneStream`] for a version of more than one stream; [`PastError::LooksIntoOthers`] for one
    /// stream of a projection that looks into the tables of others.
    pub fn tables(self) -> Result<PastTables, PastError> {
        if self.only.is_some() && !self.projection.reads().is_empty() {
            let projection = P::NAME;
            return Err(PastError::LooksIntoOthers { projection });
        }
        let only = match &self.only {
            Some(id) => Some(StreamId::new(P::CATEGORY, id)?),
            None if matches!(self.at, At::Version(_)) => return Err(PastError::NotOneStream),
            None => None,
        };
        let partitions = self.streams.partitions();
        let wanted: Vec<_> = match &only {
            Some(stream) => vec![stream.partition(partitions)],
            None => (0..partitions).map(PartitionId).collect(),
        };
        // Taken once: what is durable later is not in the answer, whichever thread comes to it.
        let cuts = wanted.into_iter().map(|partition| {
            let cut = self.at.cut(&*self.streams, partition)?;
            Ok((partition, cut))
        });
        let cuts: Vec<(PartitionId, Cut)> = cuts.collect::<Result<_, PastError>>()?;
        let names = self.projection.tables().names();
        let threads = match P::ROWS {
            Rows::ByKey | Rows::Global => 1,
            Rows::ByPartition => self.threads_max.clamp(1, cuts.len().max(1)),
        };
        let job = Arc::new(Job {
            projection: self.projection,
            streams: self.streams,
            left_out: self.left_out,
            only,
        });
        let mut tables = PastTables::new(names, &cuts);
        for share in shared(&job, &cuts, threads)? {
            tables.add(share);
        }
        Ok(tables)
    }
}

/// Runs the partitions on so many threads, of which the caller's is one.
fn shared<P: Projection>(
    job: &Arc<Job<P>>,
    cuts: &[(PartitionId, Cut)],
    threads: usize,
) -> Result<Vec<Share>, PastError> {
    let part = |number: usize| -> Vec<_> {
        let own = cuts.iter().skip(number).step_by(threads);
        own.copied().collect()
    };
    let (mut running, mut left) = (Vec::new(), vec![part(0)]);
    for number in 1..threads {
        let (job, own) = (Arc::clone(job), part(number));
        match threads::try_spawn(&format!("replay/{number}"), move || run(&job, &own)) {
            Ok(thread) => running.push(thread),
            // No thread left: the caller's does more.
            Err(_) => left.push(part(number)),
        }
    }
    let mut shares: Vec<_> = left.iter().map(|own| run(job, own)).collect();
    for thread in running {
        let ended = thread.join();
        shares.push(ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
    }
    shares.into_iter().collect()
}
