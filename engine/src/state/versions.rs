//! Which version of a projection answers queries: one record per name in the catalog.
//!
//! Invariants: (1) a change is one transaction, so after a crash either the old version answers or the new one; (2) the
//! version that answers is registered, and cannot be dropped.
//! Not here: when a version may take over, and how readers learn of it.

use std::ops::Bound;

use super::catalog::{self, VERSIONS_KEYS};
use super::registration::remove;
use super::view::StateView;
use super::wire::{FORMAT_VERSION, Input};
use super::{StateError, StateStore, StateWriter, StateWriterHandle, seal};

/// What is known of the versions of one projection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectionVersions {
    /// The version that answers queries.
    pub active: u32,
    /// The one that did before, if it was not dropped since.
    pub previous: Option<u32>,
    /// Versions that were dropped on command: not built again while a program declares them beside others.
    pub dropped: Vec<u32>,
}

impl ProjectionVersions {
    /// With another version in charge.
    fn activated(mut self, version: u32) -> Self {
        if self.active != version {
            self.previous = (self.active != 0).then_some(self.active);
            self.active = version;
        }
        self.dropped.retain(|&dropped| dropped != version);
        self
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT_VERSION];
        out.extend_from_slice(&self.active.to_be_bytes());
        out.extend_from_slice(&self.previous.unwrap_or(0).to_be_bytes());
        for dropped in &self.dropped {
            out.extend_from_slice(&dropped.to_be_bytes());
        }
        out
    }

    fn decode(key: &[u8], stored: &[u8]) -> Result<Self, StateError> {
        let parsed = || {
            let mut input = Input::versioned(seal::unsealed(key, stored)?)?;
            let (active, previous) = (input.u32()?, input.u32()?);
            let (dropped, rest) = input.rest().as_chunks::<4>();
            rest.is_empty().then(|| Self {
                active,
                previous: (previous != 0).then_some(previous),
                dropped: dropped.iter().map(|one| u32::from_be_bytes(*one)).collect(),
            })
        };
        parsed().ok_or(StateError::Format {
            database: "catalog",
            what: "versions of a projection: which answers, which did, which were dropped",
        })
    }
}

fn versions_key(name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 1);
    key.push(VERSIONS_KEYS);
    key.extend_from_slice(name.as_bytes());
    key
}

impl StateView<'_> {
    /// What is known of the versions of a projection; `None` before it was first run.
    ///
    /// # Errors
    /// [`StateError::Format`], [`StateError::Store`].
    pub fn versions(&self, name: &str) -> Result<Option<ProjectionVersions>, StateError> {
        if catalog::check_name(name).is_err() {
            return Ok(None);
        }
        let key = versions_key(name);
        let stored = self.reader.get(self.databases.catalog, &key)?;
        stored
            .map(|stored| ProjectionVersions::decode(&key, stored))
            .transpose()
    }

    /// Reads what is known of all.
    pub(super) fn check_versions(&self) -> Result<(), StateError> {
        let (from, to) = ([VERSIONS_KEYS], [VERSIONS_KEYS + 1]);
        let bounds = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
        let entries = self
            .reader
            .range(self.databases.catalog, bounds.0, bounds.1)?;
        for entry in entries {
            let (key, stored) = entry?;
            ProjectionVersions::decode(key, stored)?;
        }
        Ok(())
    }
}

impl StateStore {
    /// What is known of the versions of a projection; `None` before it was first run.
    ///
    /// # Errors
    /// As [`StateView::versions`].
    pub fn versions(&self, name: &str) -> Result<Option<ProjectionVersions>, StateError> {
        self.view(|view| view.versions(name))
    }
}

impl StateWriter {
    /// Has a version answer queries from now on, in one transaction. Does nothing if it does already.
    ///
    /// # Errors
    /// [`StateError::UnknownProjection`]: it is not registered. [`StateError::Stopped`], [`StateError::Store`].
    pub fn activate_version(
        &mut self,
        name: &str,
        version: u32,
    ) -> Result<ProjectionVersions, StateError> {
        self.known(name, version)?;
        let before = self.store().versions(name)?;
        let after = before.clone().unwrap_or_default().activated(version);
        if before.as_ref() != Some(&after) {
            self.put_versions(name, &after)?;
        }
        Ok(after)
    }

    /// Forgets which versions were dropped, but those of `declared`: whoever declares one of the others later wants it
    /// built again.
    ///
    /// # Errors
    /// [`StateError::Stopped`], [`StateError::Store`].
    pub fn forget_dropped(&mut self, name: &str, declared: &[u32]) -> Result<(), StateError> {
        let Some(before) = self.store().versions(name)? else {
            return Ok(());
        };
        let mut after = before.clone();
        after.dropped.retain(|dropped| declared.contains(dropped));
        if before == after {
            return Ok(());
        }
        self.put_versions(name, &after)
    }

    /// Drops a version on command, as [`drop_projection`](Self::drop_projection), and remembers that.
    ///
    /// # Errors
    /// [`StateError::ActiveVersion`]: it answers queries. As [`drop_projection`](Self::drop_projection).
    pub fn drop_version(&mut self, name: &str, version: u32) -> Result<(), StateError> {
        let known = self.known(name, version)?;
        let mut versions = self.store().versions(name)?.unwrap_or_default();
        if versions.active == version {
            return Err(StateError::ActiveVersion {
                projection: name.to_owned(),
                version,
            });
        }
        versions.previous.take_if(|previous| *previous == version);
        if !versions.dropped.contains(&version) {
            versions.dropped.push(version);
        }
        let dropped = self.transact(|databases, txn| {
            // A name of which no version was ever run has no record.
            if versions.active != 0 {
                let key = versions_key(name);
                seal::put(txn, databases.catalog, &key, &versions.encode())?;
            }
            remove(databases, txn, &known)
        })?;
        self.add_drop(dropped);
        Ok(())
    }

    fn put_versions(
        &mut self,
        name: &str,
        versions: &ProjectionVersions,
    ) -> Result<(), StateError> {
        let (key, value) = (versions_key(name), versions.encode());
        self.transact(|databases, txn| Ok(seal::put(txn, databases.catalog, &key, &value)?))
    }
}

impl StateWriterHandle {
    /// As [`StateWriter::activate_version`], on the writer's thread, and safe from a power failure. Blocks the thread.
    ///
    /// # Errors
    /// As there; [`StateError::Closed`].
    pub fn activate_version(
        &self,
        name: &str,
        version: u32,
    ) -> Result<ProjectionVersions, StateError> {
        let name = name.to_owned();
        self.ask(move |writer| {
            let versions = writer.activate_version(&name, version)?;
            writer.sync()?;
            Ok(versions)
        })
    }

    /// As [`StateWriter::forget_dropped`], on the writer's thread. Blocks the thread.
    ///
    /// # Errors
    /// As there; [`StateError::Closed`].
    pub fn forget_dropped(&self, name: &str, declared: &[u32]) -> Result<(), StateError> {
        let (name, declared) = (name.to_owned(), declared.to_vec());
        self.ask(move |writer| writer.forget_dropped(&name, &declared))
    }

    /// As [`StateWriter::drop_version`], on the writer's thread, and safe from a power failure; its rows are deleted in slices
    /// between the commits that follow. Stop what writes to it first. Blocks the thread.
    ///
    /// # Errors
    /// As there; [`StateError::Closed`].
    pub fn drop_version(&self, name: &str, version: u32) -> Result<(), StateError> {
        let name = name.to_owned();
        self.ask(move |writer| {
            writer.drop_version(&name, version)?;
            writer.sync()
        })
    }
}
