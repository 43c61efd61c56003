//! Which file a position lies in: its number in the file system, and a hash of what stands before the position.
//!
//! Place: saved with the position, compared when a restart opens the file. The number finds a file that was renamed; the
//! hash finds the same content in another file, such as a copy or one that was restored, and another content under the
//! same name or number, since numbers of files that were deleted are given again.
//! Cost: at most [`HASHED_BYTES_MAX`] bytes hashed per checkpoint and read per start. What was changed farther before the
//! position is not noticed.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::time::SystemTime;

use xxhash_rust::xxh3::Xxh3;

/// Bytes before a position that are hashed.
pub(super) const HASHED_BYTES_MAX: usize = 4 << 10;
/// What encoded marks begin with.
const VERSION: u8 = 1;
/// What those begin with that have the time at which the file was made where the others have the hash.
const VERSION_MADE: u8 = 2;
pub(super) const ENCODED_BYTES: usize = 29;

/// What a file system knows a file by, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileNumber {
    device: u64,
    inode: u64,
}

impl FileNumber {
    #[cfg(unix)]
    #[expect(
        clippy::unnecessary_wraps,
        reason = "not every system has numbers of files"
    )]
    pub(super) fn of(file: &Metadata) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        Some(Self {
            device: file.dev(),
            inode: file.ino(),
        })
    }

    #[cfg(not(unix))]
    pub(super) fn of(_file: &Metadata) -> Option<Self> {
        None
    }
}

/// When a file was made, in nanoseconds since 1970, where file systems know that. It stays over renaming, and the next file
/// of the same number has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Made(u64);

impl Made {
    pub(super) fn of(file: &Metadata) -> Option<Self> {
        let since = file.created().ok()?.duration_since(SystemTime::UNIX_EPOCH);
        let nanos = u64::try_from(since.ok()?.as_nanos()).ok()?;
        (nanos > 0).then_some(Self(nanos))
    }
}

/// Tells whether a position lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileMark {
    /// Of the file, where there are numbers.
    pub(super) number: Option<FileNumber>,
    /// Only where no bytes are hashed.
    made: Option<Made>,
    hashed_bytes: u32,
    hash: u64,
}

/// What a file holds before a position.
#[derive(Debug)]
pub(super) enum Before {
    /// What was there: its last bytes.
    Same(Vec<u8>),
    /// Something else.
    Other,
    /// The file ends earlier.
    Shorter {
        /// What it has.
        bytes: u64,
    },
}

impl FileMark {
    /// Of the position behind `before` and `then`, of which the last bytes count.
    pub(super) fn new(number: Option<FileNumber>, before: &[u8], then: &[u8]) -> Self {
        let then = last(then, HASHED_BYTES_MAX);
        let before = last(before, HASHED_BYTES_MAX - then.len());
        let mut hash = Xxh3::new();
        hash.update(before);
        hash.update(then);
        Self {
            number,
            made: None,
            hashed_bytes: u32::try_from(before.len() + then.len()).unwrap_or(u32::MAX),
            hash: hash.digest(),
        }
    }

    /// With the time at which its file was made, if nothing else tells the file from others of its number.
    pub(super) const fn of_file_made(self, made: Option<Made>) -> Self {
        let made = if self.has_bytes() { None } else { made };
        Self { made, ..self }
    }

    /// Whether there is anything before the position that tells files apart.
    pub(super) const fn has_bytes(&self) -> bool {
        self.hashed_bytes > 0
    }

    /// Whether a file of its number was made when its own was; `None` if nobody knows.
    pub(super) fn is_made_with(&self, file: &Metadata) -> Option<bool> {
        Some(self.made? == Made::of(file)?)
    }

    /// Compares what `file` holds before byte `offset`, and leaves it anywhere.
    pub(super) fn compare(&self, file: &File, offset: u64) -> io::Result<Before> {
        let found = read_before(file, offset)?;
        let Before::Same(before) = &found else {
            return Ok(found);
        };
        let hashed = usize::try_from(self.hashed_bytes).unwrap_or(usize::MAX);
        let is_same = hashed <= before.len()
            && Self::new(None, &before[before.len() - hashed..], &[]).is_of_same_bytes(self);
        Ok(if is_same { found } else { Before::Other })
    }

    /// Whatever the numbers of the files are.
    pub(super) fn is_of_same_bytes(&self, other: &Self) -> bool {
        (self.hashed_bytes, self.hash) == (other.hashed_bytes, other.hash)
    }

    pub(super) fn encode(&self, into: &mut Vec<u8>) {
        let FileNumber { device, inode } = self.number.unwrap_or(FileNumber {
            device: 0,
            inode: 0,
        });
        let (version, last) = match self.made {
            None => (VERSION, self.hash),
            Some(Made(nanos)) => (VERSION_MADE, nanos),
        };
        into.push(version);
        into.extend_from_slice(&device.to_be_bytes());
        into.extend_from_slice(&inode.to_be_bytes());
        into.extend_from_slice(&self.hashed_bytes.to_be_bytes());
        into.extend_from_slice(&last.to_be_bytes());
    }

    /// `None` if these are not the bytes of a mark.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; ENCODED_BYTES] = bytes.try_into().ok()?;
        let (version, bytes) = bytes.split_first()?;
        let (device, bytes) = bytes.split_first_chunk()?;
        let (inode, bytes) = bytes.split_first_chunk()?;
        let (hashed_bytes, bytes) = bytes.split_first_chunk()?;
        let number = FileNumber {
            device: u64::from_be_bytes(*device),
            inode: u64::from_be_bytes(*inode),
        };
        // No file has the number 0.
        let number = (number.inode != 0).then_some(number);
        let hashed_bytes = u32::from_be_bytes(*hashed_bytes);
        let last = u64::from_be_bytes(bytes.try_into().ok()?);
        match *version {
            VERSION => Some(Self {
                number,
                made: None,
                hashed_bytes,
                hash: last,
            }),
            VERSION_MADE if hashed_bytes == 0 => {
                Some(Self::new(number, &[], &[]).of_file_made(Some(Made(last))))
            }
            _ => None,
        }
    }
}

/// The last bytes before `offset`, as far as they are hashed; never [`Before::Other`].
pub(super) fn read_before(mut file: &File, offset: u64) -> io::Result<Before> {
    if offset == 0 {
        // A pipe has no other place either.
        return Ok(Before::Same(Vec::new()));
    }
    let bytes = file.metadata()?.len();
    if bytes < offset {
        return Ok(Before::Shorter { bytes });
    }
    let count = offset.min(HASHED_BYTES_MAX as u64);
    file.seek(SeekFrom::Start(offset - count))?;
    let mut before = Vec::new();
    file.take(count).read_to_end(&mut before)?;
    if (before.len() as u64) < count {
        let bytes = file.metadata()?.len();
        return Ok(Before::Shorter { bytes });
    }
    Ok(Before::Same(before))
}

/// Keeps the last bytes of `before` and `then`, as far as they are hashed.
pub(super) fn keep_last(before: &mut Vec<u8>, then: &[u8]) {
    let then = last(then, HASHED_BYTES_MAX);
    let kept = HASHED_BYTES_MAX - then.len();
    before.drain(..before.len().saturating_sub(kept));
    before.extend_from_slice(then);
}

fn last(bytes: &[u8], count_max: usize) -> &[u8] {
    &bytes[bytes.len().saturating_sub(count_max)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Marks are in checkpoints: these bytes never change.
    #[test]
    fn marks_are_stored_as_ever() {
        let number = FileNumber {
            device: 0x0102,
            inode: 0x0304,
        };
        let mark = FileMark::new(Some(number), b"tea,1\n", b"milk,2\n");
        let mut stored = Vec::new();
        mark.encode(&mut stored);
        let expected = [
            1, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 3, 4, 0, 0, 0, 13,
        ];
        assert_eq!(stored[..21], expected);
        let hash = xxhash_rust::xxh3::xxh3_64(b"tea,1\nmilk,2\n");
        assert_eq!(hash, 0xa713_3819_6810_dfcd);
        assert_eq!(stored[21..], hash.to_be_bytes());
        assert_eq!(FileMark::decode(&stored), Some(mark));
        assert_eq!(FileMark::decode(&stored[1..]), None);
        stored[0] = 2;
        assert_eq!(FileMark::decode(&stored), None);
    }

    /// As above.
    #[test]
    fn marks_of_unread_files_are_stored_as_ever() {
        let number = Some(FileNumber {
            device: 0x0102,
            inode: 0x0304,
        });
        let unread = FileMark::new(number, &[], &[]);
        let mut stored = Vec::new();
        unread.encode(&mut stored);
        // Those of before.
        assert_eq!((stored[0], FileMark::decode(&stored)), (1, Some(unread)));
        let made = unread.of_file_made(Some(Made(0x0506)));
        let mut stored = Vec::new();
        made.encode(&mut stored);
        let expected = [
            2, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 6,
        ];
        assert_eq!(stored, expected);
        assert_eq!(FileMark::decode(&stored), Some(made));
        let read = FileMark::new(number, b"tea,1\n", &[]);
        assert_eq!(read.of_file_made(Some(Made(0x0506))), read);
    }

    #[test]
    fn the_last_bytes_count_however_they_came() {
        let bytes: Vec<u8> = (0..10_000_u32).map(|at| (at % 251) as u8).collect();
        let whole = FileMark::new(None, &[], &bytes);
        for cut in [0, 1, 3_000, 9_000, 10_000] {
            let mut before = Vec::new();
            for part in bytes[..cut].chunks(700) {
                keep_last(&mut before, part);
            }
            assert!(before.len() <= HASHED_BYTES_MAX);
            assert_eq!(FileMark::new(None, &before, &bytes[cut..]), whole);
        }
    }
}
