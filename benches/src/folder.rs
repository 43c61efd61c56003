//! Where stores are made: a folder of its own per case, gone when the case is.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// A folder on the disk that is measured. Removed when dropped, unless it is kept.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _temporary: Option<TempDir>,
}

impl DataFolder {
    /// A new folder inside `root`, which is made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn temporary(root: &Path) -> Result<Self> {
        std::fs::create_dir_all(root).with_context(|| format!("making {}", root.display()))?;
        let temporary = tempfile::Builder::new()
            .prefix("case-")
            .tempdir_in(root)
            .with_context(|| format!("making a folder in {}", root.display()))?;
        Ok(Self {
            path: temporary.path().to_path_buf(),
            _temporary: Some(temporary),
        })
    }

    /// The folder `name` inside `root`, which stays.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn kept(root: &Path, name: &str) -> Result<Self> {
        let path = root.join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self {
            path,
            _temporary: None,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
