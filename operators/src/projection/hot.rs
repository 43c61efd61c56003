//! Rows in memory, as readers see them.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use dashmap::DashMap;
use smallvec::SmallVec;

use super::changes::Changes;
use super::fresh::Fresh;
use super::kept::Kept;
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

    /// The snapshots that are open.
    pub(super) fn kept(&self) -> KeptNow<K, R> {
        let all = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter_map(Weak::upgrade).collect()
    }
}
