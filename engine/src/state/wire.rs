//! Fixed-width big-endian numbers and length-prefixed bytes. Reading never panics; `None` means that the bytes
//! are not what a writer makes.

/// Version byte with which every value of this module begins.
pub(super) const FORMAT_VERSION: u8 = 1;

/// Appends a length (32 bits) and the bytes; what is over 4 GiB was refused before.
pub(super) fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("values over 4 GiB are refused at submission");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Ends a value that was begun with the version byte: LMDB has no checksums, so what must not be read wrong
/// carries its own.
pub(super) fn sealed(mut out: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

/// Walks over a stored value.
#[derive(Clone, Debug)]
pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// Begins behind the version byte, which must be ours.
    pub(super) fn versioned(bytes: &'a [u8]) -> Option<Self> {
        match bytes.split_first() {
            Some((&FORMAT_VERSION, rest)) => Some(Self { rest }),
            _ => None,
        }
    }

    /// As [`versioned`](Self::versioned), for what was [`sealed`].
    pub(super) fn unsealed(bytes: &'a [u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        (crc32c::crc32c(body) == u32::from_be_bytes(*crc)).then(|| Self::versioned(body))?
    }

    pub(super) fn bare(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (found, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(found)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    pub(super) fn sized(&mut self) -> Option<&'a [u8]> {
        let count = usize::try_from(self.u32()?).ok()?;
        self.take(count)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.sized()?).ok()
    }

    /// What is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// The value, if nothing is left.
    pub(super) fn finish<T>(self, value: T) -> Option<T> {
        self.rest.is_empty().then_some(value)
    }
}
