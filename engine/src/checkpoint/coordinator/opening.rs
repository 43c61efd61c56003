//! Making a coordinator, from what is stored and what the run begins from.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::completing::savepoints;
use super::writes::Writes;
use super::{CheckpointOptions, Coordinator, Phase, progress};
use crate::checkpoint::control::Control;
use crate::checkpoint::standing::Standing;
use crate::checkpoint::storage::sync_blocking;
use crate::checkpoint::{CheckpointError, CheckpointStorage, Manifest, SavedCheckpoint};
use crate::mailbox::{Mailbox, MailboxLimits};
use crate::metrics::CheckpointMetrics;
use crate::time::Clock;

/// A stage whose partitions take part.
#[derive(Debug, Clone)]
pub struct StageShape {
    /// Its name within the dataflow, which its state is found by.
    pub name: Arc<str>,
    /// It reads a source.
    pub is_source: bool,
    /// Of its partitions.
    pub mailboxes: Vec<Arc<Mailbox>>,
}

/// What a coordinator is made from.
pub struct CoordinatorParts {
    /// For metrics.
    pub dataflow: String,
    /// When and how often.
    pub options: CheckpointOptions,
    /// The engine's clock.
    pub clock: Arc<dyn Clock>,
    /// Where they are kept.
    pub storage: Arc<dyn CheckpointStorage>,
    /// Something that cannot be taken back follows a checkpoint, such as events in the log: it is forced to the disk.
    pub must_sync: bool,
    /// All stages.
    pub stages: Vec<StageShape>,
    /// What the run begins from.
    pub restored: Option<SavedCheckpoint>,
}

impl fmt::Debug for CoordinatorParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoordinatorParts")
            .field("dataflow", &self.dataflow)
            .finish_non_exhaustive()
    }
}

impl Coordinator {
    /// A coordinator. Blocks on the storage.
    ///
    /// # Errors
    /// [`CheckpointError::Storage`].
    pub fn new(parts: CoordinatorParts) -> Result<Self, CheckpointError> {
        let last = parts
            .restored
            .as_ref()
            .map(|saved| saved.manifest().clone());
        let begins = last.as_ref().map(|last| last.epoch);
        let standing = Standing::read(&*parts.storage)?;
        if parts.restored.is_some() && parts.must_sync {
            // A process that was killed may have left it in the system's memory alone, and what it lets out follows now.
            sync_blocking(&*parts.storage)?;
        }
        // Those behind the one that the run begins from are of no use to it.
        let is_kept =
            |manifest: &&Manifest| manifest.is_savepoint || Some(manifest.epoch) <= begins;
        let retained: Vec<_> = standing.readable().filter(is_kept).cloned().collect();
        let count: usize = parts.stages.iter().map(|stage| stage.mailboxes.len()).sum();
        let items = u32::try_from(count * 8 + 16).unwrap_or(u32::MAX);
        let limits = MailboxLimits {
            items_max: items.try_into().unwrap_or(std::num::NonZeroU32::MAX),
            ..MailboxLimits::default()
        };
        let mailbox = Mailbox::new(limits, Arc::clone(&parts.clock));
        let (teller, told) = mailbox.lane();
        let control = Control::new(begins, savepoints(&retained), Arc::clone(&mailbox));
        let now = parts.clock.monotonic();
        let progress = parts.stages.iter().map(|stage| {
            let saved = last.as_ref().and_then(|last| last.stage(&stage.name));
            progress::of_stage(stage.mailboxes.len(), saved, last.as_ref())
        });
        let progress = progress.collect();
        let numbers = numbers(&parts.stages, last.as_ref());
        let writes = Writes::new(Arc::clone(&mailbox), &retained, standing.unreadable_up_to());
        Ok(Self {
            numbers,
            progress,
            retained,
            control,
            told,
            teller,
            taken: Vec::new(),
            mailbox,
            writes,
            phase: Phase::Resting,
            epoch: standing.last(),
            is_savepoint: false,
            began: now,
            rested_since: now,
            asked: 0,
            answered: 0,
            failures: 0,
            bytes: 0,
            stopping: false,
            metrics: CheckpointMetrics::new(&parts.dataflow),
            options: parts.options,
            clock: parts.clock,
            storage: parts.storage,
            must_sync: parts.must_sync,
            stages: parts.stages,
            restored: parts.restored,
        })
    }
}

/// Numbers of stages in keys: those that they had, and new ones for new names.
fn numbers(stages: &[StageShape], last: Option<&Manifest>) -> Vec<u32> {
    let known: BTreeMap<&str, u32> = last
        .into_iter()
        .flat_map(|last| &last.stages)
        .map(|stage| (stage.name.as_str(), stage.number))
        .collect();
    let mut next = known.values().max().map_or(0, |last| last + 1);
    let number = |stage: &StageShape| {
        known.get(&*stage.name).copied().unwrap_or_else(|| {
            next += 1;
            next - 1
        })
    };
    stages.iter().map(number).collect()
}
