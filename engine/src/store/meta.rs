//! The two meta pages of an LMDB file, read with plain reads before LMDB maps anything.
//!
//! LMDB trusts a meta page that carries the magic number: a file shorter than it says is a SIGBUS on
//! first touch, a page size that differs between the two pages a read of the wrong place.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::StoreError;
use super::page::{FLAG_META, HEADER_BYTES, Header, TREE_BYTES, Tree, read_u32, read_u64};

const MAGIC: u32 = 0xBEEF_C0DE;
const DATA_VERSION: u32 = 1;
/// `MDB_INTEGERKEY`: the only flag of the free-page tree, and of environments as this module opens them.
const FREE_FLAGS: u16 = 0x08;
const META_BYTES: usize = HEADER_BYTES + 24 + 2 * TREE_BYTES + 16;

/// One snapshot of the file: where its trees start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meta {
    pub page_size: u32,
    /// Largest map that a writer of the file has asked for, in bytes.
    pub map_bytes: u64,
    pub last_page: u64,
    pub txnid: u64,
    pub free: Tree,
    pub main: Tree,
    /// Which of the two pages it was read from.
    pub slot: u64,
}

/// How often the pages are read before what is wrong with them is taken for damage.
const READS_MAX: usize = 8;

/// Reads both meta pages; the one of the newest transaction comes first, as LMDB would choose.
///
/// A writer beside may commit between the two reads, which makes the pages look as if they did not belong together:
/// damage is what is still there when they are read again.
///
/// # Errors
/// [`StoreError::Damaged`] when either is not a meta page of this format or they disagree: LMDB needs
/// both. [`StoreError::Truncated`] when the file cannot hold them. [`StoreError::Io`].
pub(super) fn read_both(file: &File, path: &Path) -> Result<[Meta; 2], StoreError> {
    for _ in 1..READS_MAX {
        match read_pair(file, path) {
            Err(StoreError::Damaged { .. }) => {}
            outcome => return outcome,
        }
    }
    read_pair(file, path)
}

fn read_pair(file: &File, path: &Path) -> Result<[Meta; 2], StoreError> {
    let length = file
        .metadata()
        .map_err(|e| StoreError::io(path, "reading", e))?
        .len();
    let first = read_one(file, path, length, 0, 0)?;
    let second = read_one(file, path, length, u64::from(first.page_size), 1)?;
    if first.page_size != second.page_size {
        return Err(StoreError::damaged(
            path,
            1,
            "the meta pages disagree on the page size",
        ));
    }
    // Transaction n writes page n mod 2; only a file without any commit has 0 in both.
    let fresh = first.txnid == 0 && second.txnid == 0;
    for meta in [&first, &second] {
        let unused = meta.txnid == 0 && meta.slot == 1;
        if !fresh && !unused && meta.txnid % 2 != meta.slot {
            return Err(StoreError::damaged(
                path,
                meta.slot,
                "transaction number of the other page",
            ));
        }
    }
    // Commits alternate between the pages, so their numbers are neighbours.
    if first.txnid.abs_diff(second.txnid) > 1 {
        return Err(StoreError::damaged(
            path,
            0,
            "the meta pages are not of adjacent transactions",
        ));
    }
    Ok(if first.txnid < second.txnid {
        [second, first]
    } else {
        [first, second]
    })
}

/// The newest snapshot, after checking that the file is as long as it says.
///
/// # Errors
/// As [`read_both`]; [`StoreError::Truncated`] also when pages of the snapshot are missing.
pub(super) fn read_newest(file: &File, path: &Path) -> Result<Meta, StoreError> {
    let [newest, _] = read_both(file, path)?;
    check_length(file, path, &newest)?;
    Ok(newest)
}

/// Checks that the file holds every page of the snapshot.
pub(super) fn check_length(file: &File, path: &Path, meta: &Meta) -> Result<(), StoreError> {
    let have = file
        .metadata()
        .map_err(|e| StoreError::io(path, "reading", e))?
        .len();
    let need = meta
        .last_page
        .checked_add(1)
        .and_then(|pages| pages.checked_mul(u64::from(meta.page_size)))
        .unwrap_or(u64::MAX);
    if have < need {
        return Err(StoreError::Truncated {
            file: path.to_path_buf(),
            have,
            need,
        });
    }
    Ok(())
}

fn read_one(file: &File, path: &Path, length: u64, at: u64, slot: u64) -> Result<Meta, StoreError> {
    let need = at + META_BYTES as u64;
    if length < need {
        return Err(StoreError::Truncated {
            file: path.to_path_buf(),
            have: length,
            need,
        });
    }
    let mut bytes = [0; META_BYTES];
    file.read_exact_at(&mut bytes, at)
        .map_err(|e| StoreError::io(path, "reading", e))?;
    parse(&bytes, slot).map_err(|what| StoreError::damaged(path, slot, what))
}

fn parse(bytes: &[u8], slot: u64) -> Result<Meta, String> {
    let short = || "the meta page is too short".to_owned();
    let header = Header::parse(bytes).ok_or_else(short)?;
    let body = bytes.get(HEADER_BYTES..).ok_or_else(short)?;
    if header.flags != FLAG_META || header.number != slot {
        return Err("not a meta page".to_owned());
    }
    if read_u32(body, 0) != Some(MAGIC) {
        return Err("the magic number is wrong".to_owned());
    }
    match read_u32(body, 4) {
        Some(DATA_VERSION) => {}
        version => return Err(format!("data version {}, not 1", version.unwrap_or(0))),
    }
    let free = body.get(24..).and_then(Tree::parse).ok_or_else(short)?;
    let main = body
        .get(24 + TREE_BYTES..)
        .and_then(Tree::parse)
        .ok_or_else(short)?;
    let page_size = free.pad;
    if !page_size.is_power_of_two() || !(256..=32_768).contains(&page_size) {
        return Err(format!("a page size of {page_size} bytes"));
    }
    if free.flags != FREE_FLAGS || main.flags != 0 || main.pad != 0 {
        return Err("unknown flags of the free or main tree".to_owned());
    }
    let map_bytes = read_u64(body, 16).ok_or_else(short)?;
    let last_page = read_u64(body, 24 + 2 * TREE_BYTES).ok_or_else(short)?;
    let txnid = read_u64(body, 32 + 2 * TREE_BYTES).ok_or_else(short)?;
    if last_page < 1 {
        return Err("the last page is a meta page".to_owned());
    }
    Ok(Meta {
        page_size,
        map_bytes,
        last_page,
        txnid,
        free,
        main,
        slot,
    })
}
