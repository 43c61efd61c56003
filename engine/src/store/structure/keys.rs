//! Keys of a page: their length, their order, and the separators around them.

use super::*;

/// Checks the length and order of a page's keys, and that they lie between the separators around it.
pub(super) fn check_keys(
    kind: Kind,
    nodes: &[Node<'_>],
    is_leaf: bool,
    place: Place<'_>,
) -> Result<(), &'static str> {
    // A branch's first key stands for everything below the second one; LMDB never compares it.
    let keys = if is_leaf {
        nodes
    } else {
        nodes.get(1..).unwrap_or_default()
    };
    let mut below: Option<&[u8]> = place.low;
    for (index, node) in keys.iter().enumerate() {
        let length = node.key.len();
        let is_long = if kind == Kind::Free {
            length != 8
        } else {
            length > crate::store::KEY_BYTES_MAX
        };
        if is_long || length == 0 {
            return Err("a key of impossible length");
        }
        if let Some(below) = below {
            match compare(kind, below, node.key) {
                std::cmp::Ordering::Less => {}
                // A separator equals the first key to its right.
                std::cmp::Ordering::Equal if index == 0 => {}
                _ => return Err("keys out of order"),
            }
        }
        below = Some(node.key);
    }
    match (below, place.high) {
        (Some(last), Some(high)) if !keys.is_empty() && compare(kind, last, high).is_ge() => {
            Err("a key beyond the page's separator")
        }
        _ => Ok(()),
    }
}

fn compare(kind: Kind, left: &[u8], right: &[u8]) -> std::cmp::Ordering {
    match kind {
        Kind::Free => read_u64(left, 0).cmp(&read_u64(right, 0)),
        Kind::Main | Kind::Named => left.cmp(right),
    }
}
