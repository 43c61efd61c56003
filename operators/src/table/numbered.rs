//! Several tables with numbers in checkpoints: those of open windows.

use std::collections::BTreeMap;
use std::hash::Hash;

use millstream_engine::checkpoint::{CheckpointError, Restoring, Saving};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Parts, Read, Table, Written};

/// All tables that there are; those that a part does not name are gone.
#[derive(Serialize)]
struct AllWritten<'a, K: Serialize, A: Serialize>(Vec<(i64, Written<'a, K, A>)>);

#[derive(Deserialize)]
#[serde(bound(deserialize = "K: Deserialize<'de>, A: Deserialize<'de>"))]
struct AllRead<K, A>(Vec<(i64, Read<K, A>)>);

/// Gives what has changed in tables.
///
/// # Errors
/// [`CheckpointError::Encode`].
pub(crate) fn save_numbered<'a, K, A>(
    kind: &'static str,
    tables: impl Iterator<Item = (i64, &'a mut Table<K, A>)>,
    saving: &mut Saving,
) -> Result<(), CheckpointError>
where
    K: Serialize + 'a,
    A: Serialize + 'a,
{
    let epoch = saving.epoch();
    let tables = tables.map(|(number, table)| (number, table.changes(epoch)));
    let tables: Vec<_> = tables.collect();
    let base = tables.iter().map(|(_, table)| table.base()).min();
    saving.changes(kind, base.unwrap_or(epoch), &AllWritten(tables))
}

/// Takes back what was [saved](save_numbered), as far as it is this partition's.
///
/// # Errors
/// [`CheckpointError::Changed`], [`CheckpointError::Decode`].
pub(crate) fn restore_numbered<K, A>(
    kind: &'static str,
    restoring: &mut Restoring,
) -> Result<BTreeMap<i64, Table<K, A>>, CheckpointError>
where
    K: Hash + Eq + DeserializeOwned,
    A: DeserializeOwned,
{
    let base = restoring.base();
    let mut restored = BTreeMap::<i64, Table<K, A>>::new();
    for changes in restoring.changes::<AllRead<K, A>>(kind)? {
        let mut tables = BTreeMap::<i64, Parts<K, A>>::new();
        for part in changes {
            let mut before = std::mem::take(&mut tables);
            for (number, part) in part?.0 {
                let mut parts = before.remove(&number).unwrap_or_default();
                parts.add(part);
                tables.insert(number, parts);
            }
        }
        for (number, parts) in tables {
            let own = parts.entries(kind)?.into_iter();
            let own = own.filter(|(key, _)| restoring.owns(key));
            restored.entry(number).or_default().take_in(own);
        }
    }
    restored.retain(|_, table| !table.is_empty());
    if let Some(base) = base {
        restored.values_mut().for_each(|table| table.resume(base));
    }
    Ok(restored)
}
