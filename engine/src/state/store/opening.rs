//! Opening the state: for its one writer, on a simulated disk, or beside who writes it.
//!
//! What is damaged is found here. Whoever opens it to write sets it aside with its folder and begins anew: the log has it all.
//! Invariant: a folder has one writer, whose lock is taken before its environment is opened and again where it was set aside.
//! Cost: that of opening the [`Environment`], and up to `check_bytes_max` of entries that are looked at.

use std::path::Path;

use super::{Databases, NAMES, SetAside, StateStore};
use crate::state::{StateError, StateOptions, StateWriter, layout};
use crate::store::{
    Durability, Environment, EnvironmentOptions, FolderLock, SimulatedDisk, open_or_reset, reset,
};

impl StateStore {
    /// Opens or creates the state in `folder`. A damaged one is set aside beside it and made anew: it
    /// is rebuilt from the log. One of the layout before is converted, which earlier programs do not read any more.
    ///
    /// # Errors
    /// [`StateError::Store`]: the folder is held by another process, or the disk fails.
    /// [`StateError::Layout`]: another version of this program wrote it.
    pub fn open(
        folder: &Path,
        options: StateOptions,
    ) -> Result<(StateStore, StateWriter), StateError> {
        let mut lock = FolderLock::acquire(folder)?;
        let mut opened = open_or_reset(folder, environment_options(&options))?;
        let mut store = Self::of(opened.environment)?;
        let content = store.convert();
        let content = content.and_then(|()| store.check(options.check_bytes_max));
        match content {
            Err(damage) if damage.is_damage() => {
                drop(store); // One environment per folder.
                opened = reset(folder, environment_options(&options), &damage)?;
                store = Self::of(opened.environment)?;
            }
            content => content?,
        }
        if opened.set_aside.is_some() {
            // The lock went away with the folder that was set aside.
            lock = FolderLock::acquire(folder)?;
        }
        store.with_writer(options, Some(lock), opened.set_aside)
    }

    /// The same on a simulated disk, where nothing is set aside.
    ///
    /// # Errors
    /// [`StateError::Store`]: the disk fails. [`StateError::Format`]: it is damaged. [`StateError::Layout`].
    pub fn open_simulated(
        disk: &SimulatedDisk,
        options: StateOptions,
    ) -> Result<(StateStore, StateWriter), StateError> {
        let store = Self::of(Environment::simulated(disk, &environment_options(&options)))?;
        store.convert()?;
        store.check(options.check_bytes_max)?;
        store.with_writer(options, None, None)
    }

    fn with_writer(
        self,
        options: StateOptions,
        lock: Option<FolderLock>,
        set_aside: SetAside,
    ) -> Result<(StateStore, StateWriter), StateError> {
        let mut writer = self.environment.writer()?;
        if !self.is_begun()? {
            let mut txn = writer.begin()?;
            layout::put(&self.databases, &mut txn)?;
            txn.commit()?;
        }
        let writer = StateWriter::new(self.clone(), writer, options, lock, set_aside)?;
        Ok((self, writer))
    }

    /// Opens a state for reading alone, also beside the process that writes it. Nothing is created.
    ///
    /// # Errors
    /// [`StateError::Missing`] when there is none; [`StateError::Store`] or [`StateError::Format`] when it is damaged, the former
    /// also when it is open in this process; [`StateError::Layout`], also of the one before, which is not converted here.
    pub fn open_beside(folder: &Path) -> Result<StateStore, StateError> {
        if !folder.join("data.mdb").is_file() {
            return Err(StateError::Missing {
                folder: folder.to_path_buf(),
            });
        }
        let options = EnvironmentOptions {
            read_only: true,
            ..environment_options(&StateOptions::default())
        };
        let store = Self::of(Environment::open(folder, options)?)?;
        store.is_begun()?;
        Ok(store)
    }

    fn of(environment: Environment) -> Result<Self, StateError> {
        let databases = Databases::of(&environment)?;
        Ok(Self {
            environment,
            databases,
        })
    }

    /// Looks for entries that no writer of ours made; those of another layout are not looked at.
    fn check(&self, bytes_max: u64) -> Result<(), StateError> {
        if self.is_begun()? {
            self.view(|view| view.check(bytes_max))?;
        }
        Ok(())
    }
}

fn environment_options(options: &StateOptions) -> EnvironmentOptions {
    EnvironmentOptions {
        map_bytes_max: options.map_bytes_max,
        preallocate_step_bytes: options.preallocate_step_bytes,
        durability: Durability::NoMetaSync,
        max_readers: options.max_readers,
        check_bytes_max: options.check_bytes_max,
        ..EnvironmentOptions::with_databases(&NAMES)
    }
}
