//! Walks the B+trees of an LMDB file with plain reads, so that a damaged page is an error here and not a
//! signal inside LMDB, which follows page numbers and offsets without looking.
//!
//! Place: `environment` -> **`structure`** -> `page`. Checked: each page's own number and kind; that
//! pointers, nodes, keys and values lie inside their page and fill it exactly; keys ascending and between
//! the separators above; children, overflow runs and free pages inside the file and used once; depth and,
//! when all was read, the counts of each tree; that no database has another name while one of ours is missing.
//! Not checked: the bytes of values (frames carry checksums), a key changed into another one that still
//! fits its place, pages that no snapshot refers to.
//! Failure: never panics on hostile bytes; memory is one bit per page of the file and one page per level.
//! Cost: one read of a page each; the free-page lists are always read.

mod keys;
mod leaf;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use keys::check_keys;

use super::StoreError;
use super::meta::Meta;
use super::page::{
    self, FLAG_BRANCH, FLAG_LEAF, FLAG_OVERFLOW, HEADER_BYTES, Header, NO_PAGE, NODE_OVERFLOW,
    NODE_TREE, Node, TREE_BYTES, Tree, read_u64,
};

/// LMDB's cursors hold this many levels.
const DEPTH_MAX: u16 = 32;

/// How much of a file is walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All branch pages, the free-page lists, and leaf pages, newest keys first, up to a budget.
    Quick {
        /// Bytes of leaf and overflow pages to read; shared evenly by the databases.
        leaf_bytes_max: u64,
    },
    /// Every page that the snapshot refers to.
    Full,
}

/// What a walk has read. A walk that found damage gives an error instead.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Bytes of a page.
    pub page_bytes: u32,
    /// Pages read, meta pages not counted.
    pub pages_read: u64,
    /// Leaf pages left out for the budget: damage in them is met by LMDB.
    pub leaves_skipped: u64,
    /// Pages free for reuse.
    pub free_pages: u64,
    /// Entries in all named databases, as far as they were read.
    pub entries: u64,
    /// Named databases.
    pub databases: u64,
    /// Their names in no particular order, each with the entries that it is said to have.
    pub names: Vec<(String, u64)>,
}

/// Checks one snapshot of the file, in which databases of these names are looked for.
///
/// # Errors
/// [`StoreError::Damaged`] for the first contradiction; [`StoreError::Io`] when a page cannot be read.
pub(super) fn check(
    file: &File,
    path: &Path,
    meta: &Meta,
    scope: Scope,
    names: &[String],
) -> Result<Report, StoreError> {
    let words = usize::try_from(meta.last_page / 64 + 1).unwrap_or(usize::MAX);
    let mut walk = Walk {
        file,
        path,
        page_bytes: meta.page_size as usize,
        last_page: meta.last_page,
        txnid: meta.txnid,
        seen: vec![0; words],
        budget: u64::MAX,
        counts: Counts::default(),
        named: Vec::new(),
        names,
        strangers: Vec::new(),
        report: Report {
            page_bytes: meta.page_size,
            ..Report::default()
        },
    };
    walk.tree(Kind::Free, &meta.free)?;
    walk.tree(Kind::Main, &meta.main)?;
    let named = std::mem::take(&mut walk.named);
    walk.report.databases = named.len() as u64;
    walk.check_names(named.len())?;
    let mut left = match scope {
        Scope::Full => u64::MAX,
        Scope::Quick { leaf_bytes_max } => leaf_bytes_max,
    };
    for (index, tree) in named.iter().enumerate() {
        // What a small database leaves goes to the later ones.
        let share = if scope == Scope::Full {
            left
        } else {
            left / (named.len() - index) as u64
        };
        walk.budget = share;
        walk.tree(Kind::Named, tree)?;
        walk.report.entries += walk.counts.entries;
        if scope != Scope::Full {
            left -= share - walk.budget;
        }
    }
    Ok(walk.report)
}

/// Which of LMDB's trees: they differ in what keys and values may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Keys are transaction numbers, values lists of page numbers.
    Free,
    /// Keys are names, values trees.
    Main,
    /// A database of the engine.
    Named,
}

/// What one tree was found to hold.
#[derive(Debug, Default)]
struct Counts {
    branch_pages: u64,
    leaf_pages: u64,
    overflow_pages: u64,
    entries: u64,
    skipped: u64,
}

/// Where a page hangs: its level (root 0) and the separators around it.
#[derive(Clone, Copy)]
struct Place<'k> {
    level: u16,
    depth: u16,
    low: Option<&'k [u8]>,
    high: Option<&'k [u8]>,
}

struct Walk<'f> {
    file: &'f File,
    path: &'f Path,
    page_bytes: usize,
    last_page: u64,
    txnid: u64,
    /// One bit per page: already referred to.
    seen: Vec<u64>,
    /// Bytes of leaf and overflow pages that may still be read.
    budget: u64,
    counts: Counts,
    named: Vec<Tree>,
    /// Names of databases that are looked for.
    names: &'f [String],
    /// Pages that name a database otherwise, one for each.
    strangers: Vec<u64>,
    report: Report,
}

impl Walk<'_> {
    fn damaged<T>(&self, page: u64, what: impl Into<String>) -> Result<T, StoreError> {
        Err(StoreError::damaged(self.path, page, what))
    }

    /// A name with a wrong bit is a database that is missing, and would be made anew, empty.
    fn check_names(&self, found: usize) -> Result<(), StoreError> {
        match self.strangers.first() {
            Some(page) if found - self.strangers.len() < self.names.len() => self.damaged(
                *page,
                "a database of another name, while one that is looked for is missing",
            ),
            _ => Ok(()),
        }
    }

    fn tree(&mut self, kind: Kind, tree: &Tree) -> Result<(), StoreError> {
        self.counts = Counts::default();
        let at = if tree.root == NO_PAGE { 0 } else { tree.root };
        if tree.depth > DEPTH_MAX {
            return self.damaged(at, format!("a tree of {} levels", tree.depth));
        }
        if (tree.root == NO_PAGE) != (tree.depth == 0) {
            return self.damaged(at, "a tree's root and depth contradict each other");
        }
        if tree.root != NO_PAGE {
            let place = Place {
                level: 0,
                depth: tree.depth,
                low: None,
                high: None,
            };
            self.page(kind, tree.root, place)?;
        }
        let found = &self.counts;
        let branches_differ = found.branch_pages != tree.branch_pages;
        let is_complete = found.skipped == 0;
        let leaves_differ = found.leaf_pages != tree.leaf_pages
            || found.overflow_pages != tree.overflow_pages
            || found.entries != tree.entries;
        if branches_differ || is_complete && leaves_differ {
            return self.damaged(at, format!("a tree of {tree:?} holds {found:?}"));
        }
        Ok(())
    }

    /// Marks pages as used; each may be used once.
    fn mark(&mut self, first: u64, count: u64, by: u64) -> Result<(), StoreError> {
        let end = first.checked_add(count);
        if first < 2 || end.is_none_or(|end| end > self.last_page + 1) {
            return self.damaged(
                by,
                format!("refers to pages {first}+{count} outside the file"),
            );
        }
        for number in first..first + count {
            let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
            if self.seen[word] & bit != 0 {
                return self.damaged(by, format!("refers to page {number}, which is in use"));
            }
            self.seen[word] |= bit;
        }
        Ok(())
    }

    fn read(&mut self, number: u64, bytes: &mut [u8]) -> Result<(), StoreError> {
        let at = number * self.page_bytes as u64;
        self.report.pages_read += 1;
        self.file
            .read_exact_at(bytes, at)
            .map_err(|e| StoreError::io(self.path, "reading", e))
    }

    /// Takes a page's bytes from the budget; `false` when there is none left for it.
    fn afford(&mut self) -> bool {
        let page = self.page_bytes as u64;
        let can = self.budget >= page;
        if can && self.budget != u64::MAX {
            self.budget -= page;
        }
        can
    }

    /// Checks page `number` and, for a branch, everything below it.
    fn page(&mut self, kind: Kind, number: u64, place: Place<'_>) -> Result<(), StoreError> {
        // The page above, or 0, is not known here: the page itself is named.
        self.mark(number, 1, number)?;
        let is_leaf = place.level + 1 == place.depth;
        if is_leaf && !self.afford() {
            self.counts.skipped += 1;
            self.report.leaves_skipped += 1;
            return Ok(());
        }
        let mut bytes = vec![0; self.page_bytes];
        self.read(number, &mut bytes)?;
        let nodes = match self.nodes(kind, number, &bytes, is_leaf) {
            Ok(nodes) => nodes,
            Err(what) => return self.damaged(number, what),
        };
        if let Err(what) = check_keys(kind, &nodes, is_leaf, place) {
            return self.damaged(number, what);
        }
        if is_leaf {
            self.counts.leaf_pages += 1;
            self.counts.entries += nodes.len() as u64;
            return nodes
                .iter()
                .try_for_each(|node| self.leaf_node(kind, number, node));
        }
        self.counts.branch_pages += 1;
        // From the right: the newest keys of an appended table are there.
        for index in (0..nodes.len()).rev() {
            let low = if index == 0 {
                place.low
            } else {
                Some(nodes[index].key)
            };
            let high = nodes
                .get(index + 1)
                .map_or(place.high, |next| Some(next.key));
            let below = Place {
                level: place.level + 1,
                depth: place.depth,
                low,
                high,
            };
            self.page(kind, nodes[index].word, below)?;
        }
        Ok(())
    }

    /// The nodes of a page, after checking its header and that they fill it exactly.
    fn nodes<'p>(
        &self,
        kind: Kind,
        number: u64,
        bytes: &'p [u8],
        is_leaf: bool,
    ) -> Result<Vec<Node<'p>>, String> {
        let header = Header::parse(bytes).ok_or("page too short")?;
        if header.number != number {
            return Err(format!("says that it is page {}", header.number));
        }
        let flags = if is_leaf { FLAG_LEAF } else { FLAG_BRANCH };
        if header.flags != flags {
            return Err(format!("kind {:#x}, not {flags:#x}", header.flags));
        }
        let (lower, upper) = (usize::from(header.lower), usize::from(header.upper));
        if lower < HEADER_BYTES || lower % 2 != 0 || lower > upper || upper > self.page_bytes {
            return Err(format!("free space from {lower} to {upper}"));
        }
        let count = (lower - HEADER_BYTES) / 2;
        // LMDB asserts this; only its own free tree may have a branch with one child.
        let least = if is_leaf || kind == Kind::Free { 1 } else { 2 };
        if count < least {
            return Err(format!("{count} entries"));
        }
        let mut nodes = Vec::with_capacity(count);
        let mut used = 0;
        for index in 0..count {
            let node = page::node(bytes, index, upper, is_leaf)?;
            used += node.bytes;
            nodes.push(node);
        }
        if used != self.page_bytes - upper {
            return Err(format!(
                "nodes of {used} bytes in {} bytes",
                self.page_bytes - upper
            ));
        }
        Ok(nodes)
    }
}
