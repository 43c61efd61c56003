//! Tokens that leave the process: signed on the way out, checked on the way in.
//!
//! Place: [`TokenSeal`] does the work; here is whose key it is, and how far the log reaches.
//! The key is what the builder was given, else the one in `token.key` in the data folder, readable by its owner alone and made
//! from the operating system's random numbers when the folder has none. A copy of the folder takes tokens of the original
//! as long as it has that file and the log reaches as far.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use millstream_engine::event::{Token, TokenKey, UnsealError};

use super::{Engine, OpenError};

const FILE_NAME: &str = "token.key";
const KEY_BYTES: usize = 32;

impl Engine {
    /// The token as a short text for whoever is outside: signed, and bound to this store. The same token gives the same
    /// text. It says how far the log had come and nothing of what is in it.
    #[must_use]
    pub fn seal(&self, token: &Token) -> String {
        self.inner.seal.seal(token)
    }

    /// The token of a text that this store, or an earlier run of it with the same key, has sealed. Tokens of several texts
    /// are put together with [`Token::merge`].
    ///
    /// # Errors
    /// [`UnsealError`]: malformed, of another store, forged, or ahead of the log.
    pub fn unseal(&self, text: &str) -> Result<Token, UnsealError> {
        let token = self.inner.seal.unseal(text)?;
        for position in token.positions() {
            if position.partition.0 >= self.partitions() {
                let what = "it names a partition that this store does not have";
                return Err(UnsealError::Malformed { what });
            }
            let next = self.inner.feed.durable(position.partition);
            if position.offset >= next {
                return Err(UnsealError::Ahead {
                    position: *position,
                    next,
                });
            }
        }
        Ok(token)
    }
}

/// The key in a data folder that this process holds, made if there is none.
pub(super) fn key_in(folder: &Path) -> Result<TokenKey, OpenError> {
    let file = folder.join(FILE_NAME);
    let failed = |cause: std::io::Error| OpenError::TokenKey {
        file: folder.join(FILE_NAME),
        cause: cause.to_string(),
    };
    let bytes = match std::fs::read(&file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return make(folder, &file).map_err(failed);
        }
        Err(error) => return Err(failed(error)),
    };
    let bytes: [u8; KEY_BYTES] =
        bytes
            .try_into()
            .map_err(|bytes: Vec<u8>| OpenError::TokenKey {
                file: folder.join(FILE_NAME),
                cause: format!("it has {} bytes, not {KEY_BYTES}", bytes.len()),
            })?;
    Ok(TokenKey::new(bytes))
}

fn make(folder: &Path, file: &Path) -> std::io::Result<TokenKey> {
    let mut bytes = [0; KEY_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    // Whole or not at all: made beside, readable by its owner alone, synced, and then given its name.
    let mut beside = tempfile::NamedTempFile::new_in(folder)?;
    beside.write_all(&bytes)?;
    beside.as_file().sync_all()?;
    beside
        .persist_noclobber(file)
        .map_err(|error| error.error)?;
    File::open(folder)?.sync_all()?;
    Ok(TokenKey::new(bytes))
}
