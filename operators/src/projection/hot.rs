//! Rows in memory, as readers see them.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use dashmap::DashMap;
use smallvec::SmallVec;

use super::changes::Changes;
use super::fresh::Fresh;
use super::kept::Kept;
use super::versions::Head;
use super::{Row, Table, TableKey};

/// Rows that many threads read without asking the projection's actor. `None` is a row that is gone, while
/// the store may still have it.
#[derive(Debug)]
pub struct HotRows<K: Eq + Hash + 'static, R: 'static> {
    rows: DashMap<K, Option<R>, foldhash::fast::RandomState>,
    indexes: usize,
    /// By actor: what it has shown and not stored.
    fresh: RwLock<BTreeMap<u16, Arc<Fresh<K>>>>,
    /// What snapshots keep of rows that change.
    kept: RwLock<Vec<Weak<Kept<K, R>>>>,
    changes: Changes,
    /// By actor: behind which change the rows are, of a table that is versioned.
    heads: RwLock<BTreeMap<u16, Head>>,
    /// By actor: the rows that one held which is gone, for the next one to let go. None if there will be no next one.
    left: Mutex<Option<BTreeMap<u16, Vec<K>>>>,
}

/// Snapshots that are open, as a rule none.
pub(super) type KeptNow<K, R> = SmallVec<[Arc<Kept<K, R>>; 2]>;

impl<K: TableKey, R: Row> HotRows<K, R> {
    /// No rows of this table yet.
    #[must_use]
    pub fn of(table: &Table<K, R>) -> Self {
        Self {
            rows: DashMap::default(),
            indexes: table.indexes().len(),
            fresh: RwLock::default(),
            kept: RwLock::default(),
            changes: Changes::default(),
            heads: RwLock::default(),
            left: Mutex::new(Some(BTreeMap::new())),
        }
    }

    /// Shows a row that changes in a publication.
    pub(super) fn set(&self, key: K, row: Option<R>, publication: u64) {
        self.changes.note(&key, publication);
        self.rows.insert(key, row);
    }

    /// Leaves rows to the store that are not as they were shown.
    pub(super) fn take_back(&self, keys: &[K]) {
        let publication = self.changes.begin();
        for key in keys {
            self.changes.note(key, publication);
            self.rows.remove(key);
        }
    }

    /// What has changed since when.
    pub(super) fn changes(&self) -> &Changes {
        &self.changes
    }

    /// What is here of a row: whether it is there. `None` when only the store can tell.
    #[expect(
        clippy::option_option,
        reason = "absence is known apart from not known"
    )]
    pub(super) fn find(&self, key: &K) -> Option<Option<R>> {
        self.rows.get(key).map(|row| row.clone())
    }

    /// A row that is here.
    pub(super) fn get(&self, key: &K) -> Option<R> {
        self.find(key).flatten()
    }

    /// All rows that are here, in no order.
    pub(super) fn all(&self) -> Vec<(K, R)> {
        let rows = self.rows.iter();
        rows.filter_map(|entry| Some((entry.key().clone(), entry.value().clone()?)))
            .collect()
    }

    /// Leaves all rows to the store. What snapshots have not kept is lost.
    pub(crate) fn forget_all(&self) {
        self.kept().iter().for_each(|kept| kept.lose());
        self.changes.all();
        for fresh in self.all_fresh() {
            fresh.take();
        }
        self.rows.clear();
    }

    /// Leaves a row to the store.
    pub(super) fn forget(&self, key: &K) {
        self.rows.remove(key);
    }

    /// Leaves the rows to the store that an actor before this one had in memory: nobody would let them go. As
    /// [`forget`](Self::forget), once what that one has not stored was taken back.
    pub(super) fn forget_left(&self, actor: u16) {
        let left = self.left().as_mut().and_then(|left| left.remove(&actor));
        for key in left.iter().flatten() {
            self.forget(key);
        }
    }

    /// Frees all rows, of a table that nobody is answered from any more and that has no actor after those that are gone, or
    /// about to be. Snapshots of it give no answer either.
    pub(super) fn end(&self) {
        *self.left() = None;
        self.rows.clear();
        self.rows.shrink_to_fit();
    }

    /// Keys that wait for the next actor.
    #[cfg(test)]
    pub(super) fn left_count(&self) -> usize {
        let left = self.left();
        left.iter().flat_map(BTreeMap::values).map(Vec::len).sum()
    }

    /// What the actor of this number has shown and not stored.
    pub(super) fn fresh(&self, actor: u16) -> Arc<Fresh<K>> {
        let mut all = self.fresh.write().unwrap_or_else(PoisonError::into_inner);
        let own = all.entry(actor);
        Arc::clone(own.or_insert_with(|| Arc::new(Fresh::new(self.indexes))))
    }

    /// The same of all actors.
    pub(super) fn all_fresh(&self) -> SmallVec<[Arc<Fresh<K>>; 8]> {
        let all = self.fresh.read().unwrap_or_else(PoisonError::into_inner);
        all.values().cloned().collect()
    }

    /// Begins to keep what changes from now on. Nothing may be shown meanwhile.
    pub(super) fn keep(&self, kept: &Arc<Kept<K, R>>) {
        let mut all = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(kept));
    }

    /// Says behind which change of an actor the rows are.
    pub(super) fn show_head(&self, actor: u16, head: Head) {
        let mut all = self.heads.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(actor, head);
    }

    /// Behind which change of an actor the rows are.
    pub(super) fn shown_head(&self, actor: u16) -> Option<Head> {
        let all = self.heads.read().unwrap_or_else(PoisonError::into_inner);
        all.get(&actor).copied()
    }

    /// The snapshots that are open.
    pub(super) fn kept(&self) -> KeptNow<K, R> {
        let all = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter_map(Weak::upgrade).collect()
    }
}

impl<K: Eq + Hash, R> HotRows<K, R> {
    /// An actor is gone that had these rows in memory. They stay for readers until the next one begins.
    pub(super) fn leave(&self, actor: u16, keys: impl Iterator<Item = K>) {
        if let Some(left) = &mut *self.left() {
            left.entry(actor).or_default().extend(keys);
        }
    }

    fn left(&self) -> MutexGuard<'_, Option<BTreeMap<u16, Vec<K>>>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
