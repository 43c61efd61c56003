//! Names that survive a power loss: a file that was synced is lost all the same when the entry of a folder on the
//! way to it is, and syncing the file does not keep that.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::StoreError;

/// Makes the names in a folder durable.
///
/// # Errors
/// [`StoreError::Io`].
pub(super) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder)
        .and_then(|file| file.sync_all())
        .map_err(|e| StoreError::io(folder, "syncing", e))
}

/// Makes the names of a folder and of the folders above it durable, within its file system.
///
/// All of them, since nobody knows which a process that was interrupted had made. What may not be read was made by
/// somebody else, and so was a mount point. Cost: an fsync each; once in a store's life.
///
/// # Errors
/// [`StoreError::Io`].
pub(super) fn sync_way_to(folder: &Path) -> Result<(), StoreError> {
    let reading = |e| StoreError::io(folder, "reading", e);
    let device = folder.metadata().map_err(reading)?.dev();
    let whole = folder.canonicalize().map_err(reading)?;
    for above in whole.ancestors().skip(1) {
        let synced = match File::open(above) {
            Ok(file) if file.metadata().is_ok_and(|found| found.dev() == device) => file.sync_all(),
            Ok(_) => return Ok(()),
            Err(error) => Err(error),
        };
        match synced {
            Ok(()) => {}
            // The second: a file system that knows no sync of folders.
            Err(e)
                if [ErrorKind::PermissionDenied, ErrorKind::InvalidInput].contains(&e.kind()) => {}
            Err(e) => return Err(StoreError::io(above, "syncing", e)),
        }
    }
    Ok(())
}
