//! Keys of any length as parts of longer ones: zeros are escaped, two of them end a part.
//!
//! The order-preserving form that FoundationDB's tuple layer made known: a zero becomes 0 255, the end is 0 0, so a key
//! sorts before all that it is the beginning of.

const ZERO: [u8; 2] = [0, 255];
pub(super) const END: [u8; 2] = [0, 0];

/// Has what `out` holds from `from` on be a part.
pub(in crate::projection) fn escape(out: &mut Vec<u8>, from: usize) {
    if out[from..].contains(&0) {
        let plain = out.split_off(from);
        for byte in plain {
            match byte {
                0 => out.extend_from_slice(&ZERO),
                byte => out.push(byte),
            }
        }
    }
    out.extend_from_slice(&END);
}

/// Takes a part off the front of `bytes`.
pub(in crate::projection) fn unescape(bytes: &mut &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    loop {
        let zero = bytes.iter().position(|byte| *byte == 0)?;
        plain.extend_from_slice(&bytes[..zero]);
        let (mark, rest) = bytes[zero..].split_first_chunk::<2>()?;
        *bytes = rest;
        match *mark {
            ZERO => plain.push(0),
            END => return Some(plain),
            _ => return None,
        }
    }
}
