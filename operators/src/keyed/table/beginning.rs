//! Whether a state is as it begins, of types that cannot be compared: by how they would be stored.
//!
//! Cost: what is stored of a default, twice. A state that differs is written up to the first byte that does.

use std::io::{self, Write};

use serde::Serialize;

/// Takes nothing but these bytes.
struct Only<'a>(&'a [u8]);

impl Write for Only<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.strip_prefix(bytes) {
            Some(rest) => self.0 = rest,
            None => return Err(io::ErrorKind::InvalidData.into()),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether `state` would be stored as its default. Not if one of them cannot be stored.
pub(super) fn is_at<S: Default + Serialize>(state: &S) -> bool {
    let Ok(default) = rmp_serde::to_vec_named(&S::default()) else {
        return false;
    };
    let mut only = Only(&default);
    rmp_serde::encode::write_named(&mut only, state).is_ok() && only.0.is_empty()
}

#[cfg(test)]
mod tests {
    use super::is_at;

    #[test]
    fn only_a_beginning_is_one() {
        assert!(is_at(&(0_i64, String::new(), Vec::<u8>::new())));
        assert!(!is_at(&(0_i64, String::new(), vec![0_u8])));
        assert!(!is_at(&1_u8));
        // More, and less, than the default has.
        #[derive(serde::Serialize)]
        struct Letters(String);
        impl Default for Letters {
            fn default() -> Self {
                Self("abc".to_owned())
            }
        }
        assert!(is_at(&Letters::default()));
        assert!(!is_at(&Letters("abcd".to_owned())));
        assert!(!is_at(&Letters("ab".to_owned())));
    }
}
