//! Tokens as texts that leave the process: short, and not to be made or changed by whoever holds one.
//!
//! Format, as base64 with the letters of URLs and no padding: version 1, four bytes that tell stores apart, number of
//! positions, then per position the partition's distance from the one before and the offset; then 16 bytes of
//! a BLAKE3 keyed hash over a context, the store's id and all that stands before. Numbers are LEB128 varints, in their
//! shortest form. A token of one partition has about 32 characters.
//! Invariants: (1) what [`TokenSeal::unseal`] gives was sealed with the same key for the same store; (2) nothing of
//! a text is believed before its hash was compared, in a time that does not depend on where it differs.
//! Not here: whether the log reaches that far, which only the engine knows; secrecy: positions can be read by whoever
//! knows this format, and are numbers of events, no content.

use std::fmt;

use uuid::Uuid;

use super::{Offset, PartitionId, Position, Token};

const VERSION: u8 = 1;
const TAG_BYTES: usize = 4;
const MAC_BYTES: usize = 16;
/// Keeps a hash made here from being one of anything else that is hashed under the same key.
const CONTEXT: &[u8] = b"millstream token 1";
/// Longest text that is looked at, in bytes: above what 1,024 partitions take.
const TEXT_BYTES_MAX: usize = 32 << 10;

/// Identity of a store, drawn when it is made and kept in its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoreId(pub Uuid);

/// The key that tokens are signed with. Whoever has it can make tokens; it is not shown by [`Debug`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenKey([u8; 32]);

/// Turns tokens into texts and back.
#[derive(Clone, Copy, Debug)]
pub struct TokenSeal {
    key: TokenKey,
    store: StoreId,
}

/// Why a text is not taken as a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsealError {
    /// Not a text that a program of this kind makes: cut off, or something else.
    #[error("not a token: {what}")]
    Malformed {
        /// What does not fit.
        what: &'static str,
    },
    /// Sealed for another store: its positions mean nothing here.
    #[error("the token is of another store")]
    Foreign,
    /// Changed, made by somebody without the key, or sealed with another key. Ask for a new one.
    #[error("the token's signature does not match: it was changed, or sealed with another key")]
    Forged,
    /// Sealed for this store when its log was longer: before a backup was restored. What it saw is lost.
    #[error("the token has seen {position}, and the log ends before {next} there")]
    Ahead {
        /// What it has seen.
        position: Position,
        /// The offset that the next event of that partition gets.
        next: Offset,
    },
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(…)")
    }
}

impl TokenKey {
    /// A key of 32 bytes, which should be random.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes: to be stored where only the engine reads them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TokenSeal {
    /// Seals tokens of `store` with `key`.
    #[must_use]
    pub const fn new(key: TokenKey, store: StoreId) -> Self {
        Self { key, store }
    }

    /// The token as a text. The same token gives the same text.
    #[must_use]
    pub fn seal(&self, token: &Token) -> String {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.tag());
        put_varint(&mut out, token.positions().len() as u64);
        let mut before = 0;
        for position in token.positions() {
            // Sorted by partition.
            put_varint(&mut out, u64::from(position.partition.0 - before));
            put_varint(&mut out, position.offset.0);
            before = position.partition.0;
        }
        let mac = self.mac(&out);
        out.extend_from_slice(&mac);
        encode(&out)
    }

    /// The token of a text that was sealed with the same key for the same store.
    ///
    /// # Errors
    /// [`UnsealError`], but not [`UnsealError::Ahead`], which is for who knows the log.
    pub fn unseal(&self, text: &str) -> Result<Token, UnsealError> {
        let malformed = |what| UnsealError::Malformed { what };
        if text.len() > TEXT_BYTES_MAX {
            return Err(malformed("it is too long"));
        }
        let bytes = decode(text).ok_or(malformed("it is not base64 as URLs have it"))?;
        let (body, mac) = bytes
            .split_last_chunk::<MAC_BYTES>()
            .ok_or(malformed("it is too short"))?;
        let (head, rest) = body
            .split_first_chunk::<{ 1 + TAG_BYTES }>()
            .ok_or(malformed("it is too short"))?;
        if head[0] != VERSION {
            return Err(malformed("it has another version"));
        }
        let differing = self.mac(body).into_iter().zip(mac);
        if differing.fold(0, |all, (own, other)| all | (own ^ other)) != 0 {
            let is_foreign = head[1..] != self.tag();
            return Err(if is_foreign {
                UnsealError::Foreign
            } else {
                UnsealError::Forged
            });
        }
        positions(rest).ok_or(malformed("its positions make no sense"))
    }

    fn tag(&self) -> [u8; TAG_BYTES] {
        let hash = blake3::hash(self.store.0.as_bytes());
        let tag = hash.as_bytes().first_chunk();
        *tag.expect("a hash has 32 bytes")
    }

    fn mac(&self, body: &[u8]) -> [u8; MAC_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key.0);
        hasher
            .update(CONTEXT)
            .update(self.store.0.as_bytes())
            .update(body);
        let hash = hasher.finalize();
        let mac = hash.as_bytes().first_chunk();
        *mac.expect("a hash has 32 bytes")
    }
}

fn positions(mut rest: &[u8]) -> Option<Token> {
    let mut token = Token::default();
    let (count, mut partition) = (varint(&mut rest)?, 0u16);
    for at in 0..count {
        let step = u16::try_from(varint(&mut rest)?).ok()?;
        if at > 0 && step == 0 {
            return None;
        }
        partition = partition.checked_add(step)?;
        token.observe(Position {
            partition: PartitionId(partition),
            offset: Offset(varint(&mut rest)?),
        });
    }
    rest.is_empty().then_some(token)
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let low = u64::from(byte & 0x7f);
        if shift == 63 && low > 1 {
            return None;
        }
        number |= low << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// The alphabet of base64 for URLs (RFC 4648, section 5).
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..=three.len() {
            let letter = bits >> (18 - 6 * place) & 63;
            text.push(char::from(LETTERS[letter as usize]));
        }
    }
    text
}

/// `None` for other letters, a length that no bytes have, or bits behind the last byte: each has one text.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for four in text.as_bytes().chunks(4) {
        let mut bits = 0;
        for letter in four {
            bits = bits << 6 | value(*letter)?;
        }
        bits <<= 6 * (4 - four.len());
        let count = four.len() - 1; // One letter alone holds no byte.
        let [_, three @ ..] = bits.to_be_bytes();
        if count == 0 || three[count..].iter().any(|byte| *byte != 0) {
            return None;
        }
        bytes.extend_from_slice(&three[..count]);
    }
    Some(bytes)
}

fn value(letter: u8) -> Option<u32> {
    Some(u32::from(match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seal() -> TokenSeal {
        TokenSeal::new(TokenKey::new([7; 32]), StoreId(Uuid::from_u128(42)))
    }

    fn token(seen: &[(u16, u64)]) -> Token {
        let mut token = Token::default();
        for (partition, offset) in seen {
            token.observe(Position {
                partition: PartitionId(*partition),
                offset: Offset(*offset),
            });
        }
        token
    }

    proptest! {
        #[test]
        fn a_text_gives_the_token_back(seen in prop::collection::vec((any::<u16>(), any::<u64>()), 0..20)) {
            let token = token(&seen);
            prop_assert_eq!(seal().unseal(&seal().seal(&token)), Ok(token));
        }

        #[test]
        fn bytes_of_any_length_are_told_by_one_text(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let text = encode(&bytes);
            prop_assert_eq!(decode(&text), Some(bytes));
            prop_assert!(text.bytes().all(|letter| LETTERS.contains(&letter)));
        }

        #[test]
        fn texts_that_nobody_sealed_are_no_tokens(text in ".{0,80}", letters in "[A-Za-z0-9_-]{0,80}") {
            prop_assert!(seal().unseal(&text).is_err());
            prop_assert!(seal().unseal(&letters).is_err());
        }
    }

    /// Every letter changed into every other one, every cut, and the letters in front that a base64 of the same bytes has.
    #[test]
    fn a_text_that_was_changed_is_refused() {
        let text = seal().seal(&token(&[(0, 12), (3, 400)]));
        for at in 0..text.len() {
            assert!(seal().unseal(&text[..at]).is_err(), "cut at {at}");
            for letter in LETTERS
                .iter()
                .filter(|letter| **letter != text.as_bytes()[at])
            {
                let mut changed = text.clone().into_bytes();
                changed[at] = *letter;
                let changed = String::from_utf8(changed).unwrap();
                assert!(seal().unseal(&changed).is_err(), "{changed}");
            }
        }
        for longer in [format!("{text}A"), format!("{text}="), format!(" {text}")] {
            assert!(seal().unseal(&longer).is_err(), "{longer}");
        }
    }

    #[test]
    fn other_stores_and_keys_are_told_apart() {
        let text = seal().seal(&token(&[(1, 5)]));
        let key = TokenKey::new([7; 32]);
        let elsewhere = TokenSeal::new(key, StoreId(Uuid::from_u128(43)));
        assert_eq!(elsewhere.unseal(&text), Err(UnsealError::Foreign));
        let other = TokenSeal::new(TokenKey::new([8; 32]), StoreId(Uuid::from_u128(42)));
        assert_eq!(other.unseal(&text), Err(UnsealError::Forged));
        let long = "A".repeat(TEXT_BYTES_MAX + 1);
        assert!(matches!(
            seal().unseal(&long),
            Err(UnsealError::Malformed { .. })
        ));
        assert_eq!(format!("{key:?}"), "TokenKey(…)");
    }

    /// Tokens that are out there must stay readable: neither the format nor the hash may change.
    #[test]
    fn the_text_stays_the_same() {
        assert_eq!(encode(b"Man"), "TWFu");
        assert_eq!(encode(&[0xfb, 0xff]), "-_8");
        let text = seal().seal(&token(&[(2, 1_000_000)]));
        assert_eq!(text, "Af6Eye4BAsCEPWheEsW1osQVJB2Z0Rj6FSM");
        assert!(text.len() <= 36, "{}", text.len());
    }
}
