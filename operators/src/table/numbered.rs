//! Several tables with numbers in checkpoints: those of open windows.
//!
//! They are saved as one list would be: what is written of entries that have not changed is shared out among all of
//! them, the one first that was written longest ago, so that one that is never touched does not keep what was written
//! of the others.

use std::collections::BTreeMap;
use std::hash::Hash;

use millstream_engine::checkpoint::{CheckpointError, Restoring, Saving};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::filling::FillingAll;
use super::reading::PartOfAll;
use super::saved::settled;
use super::{StateMemory, Table, Written};

/// All tables that there are; those that a part does not name are gone.
#[derive(Serialize)]
struct AllWritten<'a, K: Serialize, A: Serialize>(Vec<(i64, Written<'a, K, A>)>);

/// Which tables there were at the last save.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    numbers: Option<Vec<i64>>,
    memory: StateMemory,
}

impl Numbers {
    /// Tables that are read back share this memory.
    pub(crate) fn share(&mut self, memory: StateMemory) {
        self.memory = memory;
    }

    /// Gives what has changed in tables, whose numbers differ and ascend.
    ///
    /// # Errors
    /// [`CheckpointError::Encode`].
    pub(crate) fn save<'a, K, A>(
        &mut self,
        kind: &'static str,
        tables: impl Iterator<Item = (i64, &'a mut Table<K, A>)>,
        saving: &mut Saving,
    ) -> Result<(), CheckpointError>
    where
        K: Serialize + 'a,
        A: Serialize + 'a,
    {
        let epoch = saving.epoch();
        let mut tables: Vec<_> = tables.collect();
        debug_assert!(tables.is_sorted_by(|one, other| one.0 < other.0));
        let numbers: Vec<i64> = tables.iter().map(|(number, _)| *number).collect();
        let changed = tables.iter_mut().map(|(_, table)| table.changed());
        let changed: Vec<Option<usize>> = changed.collect();
        let base = |tables: &[(i64, &mut Table<K, A>)]| {
            let bases = tables.iter().map(|(_, table)| table.base());
            bases.min().unwrap_or(epoch)
        };
        if changed.iter().all(Option::is_none) && self.numbers.as_ref() == Some(&numbers) {
            saving.unchanged(kind, base(&tables));
            return Ok(());
        }
        self.numbers = Some(numbers);
        let others = share_out(&tables, changed.iter().flatten().sum());
        let tables = tables.iter_mut().zip(others);
        let tables =
            tables.map(|((number, table), others)| (*number, table.changes(others, epoch)));
        let tables: Vec<_> = tables.collect();
        let base = tables.iter().map(|(_, table)| table.base()).min();
        saving.changes(kind, base.unwrap_or(epoch), &AllWritten(tables))
    }

    /// Takes back what was [saved](Self::save), as far as it is this partition's.
    ///
    /// # Errors
    /// [`CheckpointError::Changed`], [`CheckpointError::Decode`].
    pub(crate) fn restore<K, A>(
        &mut self,
        kind: &'static str,
        restoring: &mut Restoring,
    ) -> Result<BTreeMap<i64, Table<K, A>>, CheckpointError>
    where
        K: Hash + Eq + Serialize + DeserializeOwned,
        A: Serialize + DeserializeOwned,
    {
        let base = restoring.base();
        let mut restored = BTreeMap::<i64, Table<K, A>>::new();
        for parts in restoring.parts(kind)? {
            let mut filling = FillingAll::new(restoring, self.memory.for_tables());
            for part in parts.into_iter().rev() {
                part.read_with(PartOfAll(&mut filling))?;
            }
            for (number, filling) in filling.tables() {
                let table = restored.entry(number).or_default();
                table.share(&self.memory.for_tables());
                table.take_filled(filling.filled(kind)?);
                settled(table, restoring)?;
            }
        }
        restored.retain(|_, table| !table.is_empty());
        if let Some(base) = base {
            restored.values_mut().for_each(|table| table.resume(base));
        }
        Ok(restored)
    }
}

/// How many entries that have not changed are written of each table, of `others` in all.
fn share_out<K, A>(tables: &[(i64, &mut Table<K, A>)], others: usize) -> Vec<usize> {
    let mut oldest_first: Vec<usize> = (0..tables.len()).collect();
    oldest_first.sort_by_key(|&at| tables[at].1.base());
    let (mut shares, mut left) = (vec![0; tables.len()], others);
    for at in oldest_first {
        shares[at] = tables[at].1.len().min(left);
        left -= shares[at];
    }
    shares
}

#[cfg(test)]
mod tests {
    use millstream_engine::checkpoint::Epoch;

    use super::*;
    use crate::table::Seen;

    const KIND: &str = "tested tables";

    /// Entries of `tables` at epoch `epoch`, and how far its parts go back.
    fn save(
        numbers: &mut Numbers,
        tables: &mut BTreeMap<i64, Table<u32, u32>>,
        epoch: u64,
    ) -> (usize, u64) {
        let mut saving = Saving::new(Epoch(epoch));
        let tables = tables.iter_mut().map(|(&number, table)| (number, table));
        numbers.save(KIND, tables, &mut saving).unwrap();
        let part = saving.into_parts().remove(0);
        (
            part.bytes.map_or(0, |bytes| bytes.len() as usize),
            part.base.0,
        )
    }

    fn of(entries: u32) -> Table<u32, u32> {
        let mut table = Table::default();
        table.take_in((0..entries).map(|key| (key, 70_000)));
        table
    }

    #[test]
    fn nothing_is_written_where_nothing_changes() {
        let mut numbers = Numbers::default();
        let mut tables = BTreeMap::from([(1, of(100)), (2, of(100))]);
        assert!(save(&mut numbers, &mut tables, 1).0 > 200);
        assert_eq!(save(&mut numbers, &mut tables, 2), (0, 1));
        tables.remove(&1);
        assert!(save(&mut numbers, &mut tables, 3).0 > 0);
        assert_eq!(save(&mut numbers, &mut tables, 4).0, 0);
    }

    /// A table that nobody touches does not keep what is written of one that is written all the time.
    #[test]
    fn what_is_kept_is_a_few_times_what_there_is() {
        let mut numbers = Numbers::default();
        let mut tables = BTreeMap::from([(1, of(1_000)), (2, of(500))]);
        let mut kept = BTreeMap::new();
        for epoch in 1..300 {
            tables.get_mut(&2).unwrap().visit(|_, value| {
                *value ^= 1;
                Seen::Changed
            });
            let (bytes, base) = save(&mut numbers, &mut tables, epoch);
            kept.insert(epoch, bytes);
            kept = kept.split_off(&base);
        }
        let (all, first) = (kept.values().sum::<usize>(), 1_500 * 12);
        assert!(all < 6 * first, "{all} bytes are kept of {first}");
        assert!(kept.len() < 10, "{} parts", kept.len());
    }
}
