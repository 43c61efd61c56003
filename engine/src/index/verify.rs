//! Reading everything that is live, for those who want to know whether it is whole.

use std::collections::BTreeSet;

use super::chunk::{ChunkKey, ChunkKind, RunStore};
use super::error::IndexError;
use super::manifest::{Manifest, RunMeta};
use super::run::Run;

/// Reads the manifest and every chunk of every live run, also beside the process that writes them; gives how many
/// chunks there are. Cost: the whole index once, a chunk in memory.
///
/// # Errors
/// The first fault: [`IndexError::Corrupt`], [`IndexError::Missing`], [`IndexError::UnknownFormat`]; as
/// [`RunStore::read`](super::RunStore::read).
pub fn verify(store: &dyn RunStore) -> Result<u64, IndexError> {
    let (mut verified, mut chunks) = (BTreeSet::new(), 0);
    loop {
        let manifest = Manifest::stored(store)?;
        let mut runs = manifest.runs.iter();
        let Some(meta) = runs.find(|meta| !verified.contains(&meta.chunks.run)) else {
            return Ok(chunks + u64::from(manifest.next_run > 1));
        };
        match verify_run(store, *meta) {
            Ok(()) => {
                verified.insert(meta.chunks.run);
                chunks += meta.chunks.total();
            }
            // It may have been merged into another run since, which is to be looked at then.
            Err(IndexError::Missing { .. }) if !is_live(store, meta.chunks.run)? => {}
            Err(cause) => return Err(cause),
        }
    }
}

/// A run goes live once and ends once, so one that is live after a chunk was missed was so before.
fn is_live(store: &dyn RunStore, run: u64) -> Result<bool, IndexError> {
    let manifest = Manifest::stored(store)?;
    Ok(manifest.runs.iter().any(|meta| meta.chunks.run == run))
}

fn verify_run(store: &dyn RunStore, meta: RunMeta) -> Result<(), IndexError> {
    let run = Run::load(store, meta)?;
    let mut entries = 0;
    for chunk in 0..meta.chunks.data {
        let found = run.chunk_entries(store, chunk)?;
        entries += found.len() as u64;
    }
    if entries == meta.entries {
        return Ok(());
    }
    let key = ChunkKey {
        run: meta.chunks.run,
        kind: ChunkKind::Data,
        chunk: 0,
    };
    let problem = "the run has not as many entries as the manifest says";
    Err(IndexError::Corrupt { key, problem })
}
