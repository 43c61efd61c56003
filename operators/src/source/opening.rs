//! Opens a file where reading is to begin, if it is the one that was read before.
//!
//! A file that is followed may have been renamed since, or several times: it is sought in its folder by its number and
//! read to its end, then those that had its name in between, then the one that has it now. What had the name in between is
//! told by its own name, which is that of the file with digits behind it, as rotations give them (`app.log.1`,
//! `app.log-20261127`), and by when it was last written to. Without a trace of the file that was read, or was open and had
//! nothing yet, the one that has the name is begun, with a warning. A file that is not followed must be the same, or hold
//! the same.

use std::ffi::OsStr;
use std::fs::{self, DirEntry, File, Metadata};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::file_mark::{Before, FileMark, FileNumber, Made, read_before};

/// Where to begin.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Start {
    /// Byte at which a record begins.
    pub(super) offset: u64,
    /// Of the file that was read up to there; `None` if nobody knows.
    pub(super) mark: Option<FileMark>,
}

/// A file that was opened, of which the reader is to be told.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) file: File,
    pub(super) place: Opened,
}

/// What was opened, and where it is read from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) number: Option<FileNumber>,
    pub(super) made: Option<Made>,
    /// The first byte that is read.
    pub(super) offset: u64,
    /// The last bytes before it.
    pub(super) before: Vec<u8>,
    /// It is another file than before, and read from its beginning.
    pub(super) is_other: bool,
    /// It can be read from any byte.
    pub(super) is_regular: bool,
}

impl Opening {
    fn new(file: File, offset: u64, before: Vec<u8>) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let place = Opened {
            number: FileNumber::of(&metadata),
            made: Made::of(&metadata),
            offset,
            before,
            is_other: false,
            is_regular: metadata.is_file(),
        };
        Ok(Self { file, place })
    }

    fn other(file: File) -> io::Result<Self> {
        let mut opening = Self::new(file, 0, Vec::new())?;
        opening.place.is_other = true;
        Ok(opening)
    }
}

/// Opens the file at `path`, or the one that had this name; `None` while it is awaited.
pub(super) fn open(path: &Path, follow: bool, start: &Start) -> Result<Option<Opening>, String> {
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let named = match File::open(path) {
        Err(error) if follow && error.kind() == ErrorKind::NotFound => None,
        opened => Some(opened.map_err(failed)?),
    };
    let Some(mark) = &start.mark else {
        let opened = named.map(|file| open_unmarked(path, follow, file, start.offset));
        return opened.transpose();
    };
    // By their numbers first: the beginnings of two files may be the same.
    let named = match named {
        Some(file) if is_numbered(&file, mark).map_err(failed)? => {
            match mark.compare(&file, start.offset).map_err(failed)? {
                Before::Same(before) => {
                    let same = Opening::new(file, start.offset, before);
                    return same.map(Some).map_err(failed);
                }
                Before::Other | Before::Shorter { .. } => Some(file),
            }
        }
        named => named,
    };
    if follow && let Some(renamed) = find_renamed(path, mark, start.offset).map_err(failed)? {
        return Ok(Some(renamed));
    }
    let Some(file) = named else {
        return Ok(None);
    };
    let offset = start.offset;
    match mark.compare(&file, offset).map_err(failed)? {
        // No bytes say that it is a copy.
        Before::Same(_) if follow && offset == 0 && mark.number.is_some() => {
            tracing::warn!(
                file = %path.display(),
                "the file of which nothing was read is not found any more: what it had by then is not read; the one that \
                 has its name now is read from its beginning"
            );
            Opening::other(file)
        }
        Before::Same(before) => Opening::new(file, offset, before),
        Before::Other | Before::Shorter { .. } if follow => {
            tracing::warn!(
                file = %path.display(),
                offset,
                "the file that was read up to this byte is gone or was cut: what it had behind it is not read; the one \
                 that has its name now is read from its beginning"
            );
            Opening::other(file)
        }
        Before::Other => return Err(another(path, offset)),
        Before::Shorter { bytes } => return Err(too_short(path, offset, bytes)),
    }
    .map(Some)
    .map_err(failed)
}

fn is_numbered(file: &File, mark: &FileMark) -> io::Result<bool> {
    Ok(mark.number.is_some() && FileNumber::of(&file.metadata()?) == mark.number)
}

/// From a position that somebody named, or that was stored before positions had marks.
fn open_unmarked(path: &Path, follow: bool, file: File, offset: u64) -> Result<Opening, String> {
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let before = match read_before(&file, offset).map_err(failed)? {
        Before::Same(before) => before,
        // It may still grow, or is found to be cut by the first look at it.
        Before::Other | Before::Shorter { .. } if follow => Vec::new(),
        Before::Other => return Err(another(path, offset)),
        Before::Shorter { bytes } => return Err(too_short(path, offset, bytes)),
    };
    Opening::new(file, offset, before).map_err(failed)
}

fn another(path: &Path, offset: u64) -> String {
    not_the_same(
        path,
        &format!("byte {offset}"),
        "holds something else there",
    )
}

fn too_short(path: &Path, offset: u64, bytes: u64) -> String {
    not_the_same(
        path,
        &format!("byte {offset}"),
        &format!("has only {bytes} bytes"),
    )
}

/// Also says what to do: nobody but the user knows which of both is meant.
pub(super) fn not_the_same(path: &Path, place: &str, what: &str) -> String {
    format!(
        "{}: it was read up to {place} before, and {what}: give the file back that it was, or begin anew with \
         what is there now (`millstream checkpoint restore DATA DATAFLOW --anew`)",
        path.display()
    )
}

/// The file of this mark, under another name in the same folder.
fn find_renamed(path: &Path, mark: &FileMark, offset: u64) -> io::Result<Option<Opening>> {
    let Some(number) = mark.number else {
        return Ok(None);
    };
    for entry in entries(path)? {
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        if !metadata.is_file() || FileNumber::of(&metadata) != Some(number) {
            continue;
        }
        if !mark.has_bytes() && !is_unread(mark, path, &entry, &metadata) {
            continue;
        }
        let file = File::open(entry.path())?;
        if let Before::Same(before) = mark.compare(&file, offset)? {
            tracing::info!(
                file = %path.display(),
                now = %entry.path().display(),
                "a file that is followed was renamed, and is read to its end first"
            );
            return Opening::new(file, offset, before).map(Some);
        }
    }
    Ok(None)
}

/// Whether an entry that has the number of a file is that file, of which nothing was read: no bytes tell files apart then, and
/// numbers of files that were deleted are given again, to one that a rotation compressed or to one that is none of `path`'s.
fn is_unread(mark: &FileMark, path: &Path, entry: &DirEntry, metadata: &Metadata) -> bool {
    let name = entry.file_name();
    // A compressed one may have been made at the same time, where only its content was changed.
    !is_compressed(Path::new(&name))
        && mark.is_made_with(metadata).unwrap_or_else(|| {
            // Its name is all there is.
            let own = path.file_name();
            own.is_some_and(|own| is_rotated(own, &name) || is_rotated_within(own, &name))
        })
}

/// Looks at a folder that is renamed in all the time.
const LOOKS_MAX: usize = 16;

/// The file that had the name next after `old`, which was renamed, if another one has it by now.
pub(super) fn find_next(path: &Path, old: &File) -> io::Result<Option<Opening>> {
    for _ in 0..LOOKS_MAX {
        let Some((number, found)) = look_for_next(path, old)? else {
            return Ok(None);
        };
        // Its name may have gone to another one since.
        match File::open(found) {
            Ok(file) if FileNumber::of(&file.metadata()?) == number => {
                return Opening::other(file).map(Some);
            }
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    Err(io::Error::other(
        "the files beside it are renamed faster than they can be looked at",
    ))
}

/// Its number and path, as the folder has them now.
fn look_for_next(path: &Path, old: &File) -> io::Result<Option<(Option<FileNumber>, PathBuf)>> {
    let old = old.metadata()?;
    let (Some(name), Some(old_number)) = (path.file_name(), FileNumber::of(&old)) else {
        return Ok(None);
    };
    let named = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        named => FileNumber::of(&named?),
    };
    let mut next = None;
    for entry in entries(path)? {
        if !is_rotated(name, &entry.file_name()) {
            continue;
        }
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        let number = FileNumber::of(&metadata);
        if !metadata.is_file() || number == Some(old_number) || number == named {
            continue;
        }
        let age = age(&metadata)?;
        let is_next = |(least, _, _): &(_, _, _)| age < *least;
        if age > self::age(&old)? && next.as_ref().is_none_or(is_next) {
            next = Some((age, number, entry.path()));
        }
    }
    Ok(next.map(|(_, number, path)| (number, path)))
}

/// When it was last written to, then when it was made, where that is known.
fn age(file: &Metadata) -> io::Result<(SystemTime, SystemTime)> {
    let made = file.created().unwrap_or(SystemTime::UNIX_EPOCH);
    Ok((file.modified()?, made))
}

/// Whether it is what rotations call a file `name`: digits behind it, as numbers or dates.
fn is_rotated(name: &OsStr, other: &OsStr) -> bool {
    let (Some(name), Some(other)) = (name.to_str(), other.to_str()) else {
        return false;
    };
    other.strip_prefix(name).is_some_and(is_number_or_date)
}

/// Whether it is what some rotations call a file `name` with an ending: digits before that, as in `app-2026-11-27.log`. Without its
/// number it may as well be another log of the folder.
fn is_rotated_within(name: &OsStr, other: &OsStr) -> bool {
    let (Some(name), Some(other)) = (name.to_str(), other.to_str()) else {
        return false;
    };
    let Some(dot) = name.rfind('.').filter(|at| *at > 0) else {
        return false;
    };
    let (stem, ending) = name.split_at(dot);
    let rest = other.strip_prefix(stem);
    let between = rest.and_then(|rest| rest.strip_suffix(ending));
    between.is_some_and(is_number_or_date)
}

fn is_number_or_date(rest: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_digit() || b".-_:T".contains(&byte);
    rest.bytes().all(is_part)
        && rest.starts_with(['.', '-', '_'])
        && rest.bytes().any(|byte| byte.is_ascii_digit())
}

/// Whether it is called as compressed files are.
fn is_compressed(path: &Path) -> bool {
    let endings = ["gz", "bz2", "xz", "zst", "lz4", "zip", "Z"];
    path.extension()
        .is_some_and(|ending| endings.iter().any(|one| ending == *one))
}

fn entries(path: &Path) -> io::Result<Vec<DirEntry>> {
    let folder = match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => return Ok(Vec::new()),
    };
    match fs::read_dir(folder) {
        // A folder may let its files be opened and not be listed.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::PermissionDenied
            ) =>
        {
            Ok(Vec::new())
        }
        entries => entries?.collect(),
    }
}

/// What happened to the name of a file that is open.
pub(super) enum Change {
    None,
    /// It is shorter than what was read of it.
    Cut,
    /// Another file has it.
    Replaced,
}

pub(super) fn change(path: &Path, file: &File, read: u64) -> io::Result<Change> {
    let open = file.metadata()?;
    if open.len() < read {
        return Ok(Change::Cut);
    }
    match fs::metadata(path) {
        Ok(named) if is_same(&open, &named) => Ok(Change::None),
        Ok(_) => Ok(Change::Replaced),
        // Between a renaming and the new file.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Change::None),
        Err(error) => Err(error),
    }
}

/// Without numbers of files only their time of creation tells them apart.
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    match (FileNumber::of(one), FileNumber::of(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one.created().ok() == other.created().ok(),
    }
}
