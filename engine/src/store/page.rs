//! LMDB's page format as bytes: reads that cannot leave the page.
//!
//! Format: `mdb.c` of LMDB 0.9.70 (data version 1): `MDB_page`, `MDB_node`, `MDB_db`. Words are in the
//! machine's own byte order. Nothing here trusts a length or an offset.

/// Bytes of a page header; nodes' pointers follow.
pub(super) const HEADER_BYTES: usize = 16;
/// Bytes of a node header; its key follows.
pub(super) const NODE_HEADER_BYTES: usize = 8;
/// Bytes of a tree's description, in a meta page or under a database's name.
pub(super) const TREE_BYTES: usize = 48;
/// The root of an empty tree.
pub(super) const NO_PAGE: u64 = u64::MAX;

pub(super) const FLAG_BRANCH: u16 = 0x01;
pub(super) const FLAG_LEAF: u16 = 0x02;
pub(super) const FLAG_OVERFLOW: u16 = 0x04;
pub(super) const FLAG_META: u16 = 0x08;

pub(super) const NODE_OVERFLOW: u16 = 0x01;
pub(super) const NODE_TREE: u16 = 0x02;

pub(super) fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(
        bytes.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

pub(super) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

pub(super) fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(
        bytes.get(at..at.checked_add(8)?)?.try_into().ok()?,
    ))
}

/// A tree's description (`MDB_db`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tree {
    pub pad: u32,
    pub flags: u16,
    pub depth: u16,
    pub branch_pages: u64,
    pub leaf_pages: u64,
    pub overflow_pages: u64,
    pub entries: u64,
    pub root: u64,
}

impl Tree {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            pad: read_u32(bytes, 0)?,
            flags: read_u16(bytes, 4)?,
            depth: read_u16(bytes, 6)?,
            branch_pages: read_u64(bytes, 8)?,
            leaf_pages: read_u64(bytes, 16)?,
            overflow_pages: read_u64(bytes, 24)?,
            entries: read_u64(bytes, 32)?,
            root: read_u64(bytes, 40)?,
        })
    }
}

/// What a page says of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub number: u64,
    pub flags: u16,
    pub lower: u16,
    pub upper: u16,
    /// Count of pages of an overflow run; lies over `lower` and `upper`.
    pub overflow_pages: u32,
}

impl Header {
    pub(super) fn parse(page: &[u8]) -> Option<Self> {
        Some(Self {
            number: read_u64(page, 0)?,
            flags: read_u16(page, 10)?,
            lower: read_u16(page, 12)?,
            upper: read_u16(page, 14)?,
            overflow_pages: read_u32(page, 12)?,
        })
    }
}

/// One entry of a branch or leaf page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node<'p> {
    /// Branch: the child's page number. Leaf: the value's length in bytes.
    pub word: u64,
    /// Leaf only: where the value is.
    pub flags: u16,
    pub key: &'p [u8],
    /// Leaf only: the value, or the 8 bytes that name its overflow page.
    pub value: &'p [u8],
    /// Bytes that the node takes in its page, rounded as LMDB does.
    pub bytes: usize,
}

/// Reads node `index` of a branch or leaf page whose nodes start at `upper` or above.
///
/// Says in words what is wrong when the node would leave the page.
pub(super) fn node(
    page: &[u8],
    index: usize,
    upper: usize,
    is_leaf: bool,
) -> Result<Node<'_>, &'static str> {
    let at = read_u16(page, HEADER_BYTES + 2 * index).ok_or("node pointer outside the page")?;
    let at = usize::from(at);
    if at < upper || at % 2 != 0 {
        return Err("node pointer outside the page's node area");
    }
    let outside = "node outside the page";
    let low = read_u16(page, at).ok_or(outside)?;
    let high = read_u16(page, at + 2).ok_or(outside)?;
    let flags = read_u16(page, at + 4).ok_or(outside)?;
    let key_bytes = usize::from(read_u16(page, at + 6).ok_or(outside)?);
    let word = u64::from(low) | u64::from(high) << 16;
    let key_at = at + NODE_HEADER_BYTES;
    let key = page
        .get(key_at..key_at + key_bytes)
        .ok_or("key outside the page")?;
    if !is_leaf {
        let word = word | u64::from(flags) << 32;
        let bytes = even(NODE_HEADER_BYTES + key_bytes);
        return Ok(Node {
            word,
            flags: 0,
            key,
            value: &[],
            bytes,
        });
    }
    let value_bytes = if flags & NODE_OVERFLOW == 0 {
        word as usize
    } else {
        8
    };
    let value_at = key_at + key_bytes;
    let value = page
        .get(value_at..value_at + value_bytes)
        .ok_or("value outside the page")?;
    Ok(Node {
        word,
        flags,
        key,
        value,
        bytes: even(NODE_HEADER_BYTES + key_bytes + value_bytes),
    })
}

fn even(bytes: usize) -> usize {
    (bytes + 1) & !1
}
