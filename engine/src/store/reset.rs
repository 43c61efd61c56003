//! The state environment can be rebuilt from the log, so damage there costs time, not data.

use std::path::{Path, PathBuf};

use super::{Environment, EnvironmentOptions, StoreError};

/// A state environment, and where a damaged one was put.
#[derive(Debug)]
pub struct OpenedState {
    /// The open environment; empty when `set_aside` is some.
    pub environment: Environment,
    /// The damaged environment's new place, kept for inspection; delete it when done.
    pub set_aside: Option<PathBuf>,
}

/// Opens an environment whose content can be rebuilt; a damaged or truncated one is renamed to
/// `<folder>.damaged-<n>` and a fresh one made. Never for the log.
///
/// # Errors
/// As [`Environment::open`] but for damage; [`StoreError::Io`] when the folder cannot be renamed. With
/// `read_only` damage is an error, too.
pub fn open_or_reset(
    folder: &Path,
    options: EnvironmentOptions,
) -> Result<OpenedState, StoreError> {
    match Environment::open(folder, options.clone()) {
        Ok(environment) => Ok(OpenedState {
            environment,
            set_aside: None,
        }),
        Err(error) if error.is_damage() && !options.read_only => reset(folder, options, &error),
        Err(error) => Err(error),
    }
}

/// Sets a damaged environment aside, which must not be open, and makes a fresh one.
///
/// # Errors
/// As [`open_or_reset`].
pub fn reset(
    folder: &Path,
    options: EnvironmentOptions,
    damage: &dyn std::error::Error,
) -> Result<OpenedState, StoreError> {
    let aside = free_name(folder);
    std::fs::rename(folder, &aside).map_err(|e| StoreError::io(folder, "renaming", e))?;
    tracing::warn!(
        folder = %folder.display(),
        set_aside = %aside.display(),
        error = %damage,
        "derived state was damaged: it is set aside and rebuilt from the log; effects that were to be delivered are in what is set aside alone"
    );
    let environment = Environment::open(folder, options)?;
    Ok(OpenedState {
        environment,
        set_aside: Some(aside),
    })
}

/// The first `<folder>.damaged-<n>` that does not exist, n from 1.
fn free_name(folder: &Path) -> PathBuf {
    let mut n = 1_u64;
    loop {
        let mut name = folder.as_os_str().to_owned();
        name.push(format!(".damaged-{n}"));
        let path = PathBuf::from(name);
        if !path.exists() {
            return path;
        }
        n += 1;
    }
}
