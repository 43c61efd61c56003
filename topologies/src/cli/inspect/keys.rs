//! Keys of stored tables: as they are printed, and as a person names one.

use anyhow::{Context, Result, bail, ensure};
use millstream_engine::time::Timestamp;
use millstream_operators::projection::{KeyPart, KeyValue, TableKey};
use serde_json::Value;

use crate::engine::version_requests::{bytes_text, key_text};

/// What the keys of a table are.
#[derive(Clone, Debug)]
pub(super) struct Keys(Vec<KeyPart>);

impl std::str::FromStr for Keys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text
            .split(',')
            .map(|part| part.trim().parse().map_err(|error| format!("{error}")));
        let parts: Vec<KeyPart> = parts.collect::<Result<_, _>>()?;
        if parts.len() > 1 && parts.contains(&KeyPart::Bytes) {
            return Err("bytes are a whole key, and no part of one".to_owned());
        }
        Ok(Self(parts))
    }
}

impl Keys {
    fn read(&self, mut bytes: &[u8]) -> Option<Vec<KeyValue>> {
        let last = self.0.len().checked_sub(1)?;
        let parts = self.0.iter().enumerate();
        let parts = parts.map(|(at, part)| part.read(&mut bytes, at == last));
        let parts = parts.collect::<Option<_>>()?;
        bytes.is_empty().then_some(parts)
    }

    /// The bytes of a key that is named part by part.
    fn write(&self, words: &[String]) -> Result<Vec<u8>> {
        ensure!(
            words.len() == self.0.len(),
            "a key has {} parts here: give each as a word of its own",
            self.0.len()
        );
        let mut out = Vec::new();
        for (at, (part, word)) in self.0.iter().zip(words).enumerate() {
            let is_last = at + 1 == words.len();
            write_part(*part, word, is_last, &mut out)
                .with_context(|| format!("{word:?} is no {part}"))?;
        }
        Ok(out)
    }
}

fn write_part(part: KeyPart, word: &str, is_last: bool, out: &mut Vec<u8>) -> Result<()> {
    let number: i128 = match part {
        KeyPart::Text => {
            KeyPart::write_text(word.as_bytes(), is_last, out);
            if !is_last {
                out.extend(KeyPart::TEXT_END);
            }
            return Ok(());
        }
        KeyPart::Bytes => {
            out.extend(bytes_of(word).context("bytes are given like 0x00ff")?);
            return Ok(());
        }
        KeyPart::Unsigned(16) => {
            word.parse::<u128>()?.write(out);
            return Ok(());
        }
        KeyPart::Bool => word.parse::<bool>()?.into(),
        KeyPart::Time => word.parse::<Timestamp>()?.as_micros().into(),
        _ => word.parse()?,
    };
    part.write_number(number, out).context("it is too large")
}

/// The bytes of a key that a person names: by its parts, or without them as it is printed.
pub(super) fn named(keys: Option<&Keys>, words: &[String]) -> Result<Vec<u8>> {
    match (keys, words) {
        (Some(keys), words) => keys.write(words),
        (None, [word]) => Ok(bytes_of(word).unwrap_or_else(|| word.as_bytes().to_vec())),
        (None, _) => bail!("a key of several parts needs --key, such as --key text,u64"),
    }
}

/// Whether a key that is named so without its parts is bytes, which a text may look like.
pub(super) fn is_bytes(words: &[String]) -> bool {
    matches!(words, [word] if bytes_of(word).is_some())
}

/// Those of a text such as `0x00ff`.
fn bytes_of(word: &str) -> Option<Vec<u8>> {
    let digits = word.strip_prefix("0x")?;
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let is_hex = rest.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex.then(|| pairs.iter().map(byte).collect())?
}

/// A key as it is printed: its parts, or without them as text if it is one, else its bytes.
pub(super) fn printed(keys: Option<&Keys>, bytes: &[u8]) -> Value {
    let Some(mut parts) = keys.and_then(|keys| keys.read(bytes)) else {
        return key_text(bytes).into();
    };
    if parts.len() == 1 {
        return value(parts.remove(0));
    }
    parts.into_iter().map(value).collect()
}

fn value(part: KeyValue) -> Value {
    match part {
        KeyValue::Text(text) => text.into(),
        // JSON has no larger numbers that all can read.
        KeyValue::Unsigned(number) => match u64::try_from(number) {
            Ok(number) => number.into(),
            Err(_) => number.to_string().into(),
        },
        KeyValue::Signed(number) => number.into(),
        KeyValue::Bool(is) => is.into(),
        KeyValue::Time(time) => time.to_string().into(),
        KeyValue::Bytes(bytes) => bytes_text(&bytes).into(),
        // Parts of later versions.
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn keys_are_named_by_their_parts_and_printed_again() {
        for (parts, of, expected) in [
            ("text", &["a b"][..], serde_json::json!("a b")),
            ("u64", &["70000"], serde_json::json!(70_000)),
            (
                "text,i64,bool",
                &["a\0", "-7", "true"],
                serde_json::json!(["a\0", -7, true]),
            ),
            (
                "u128,time",
                &[
                    "340282366920938463463374607431768211455",
                    "2024-02-29T12:00:00Z",
                ],
                serde_json::json!([
                    "340282366920938463463374607431768211455",
                    "2024-02-29T12:00:00Z"
                ]),
            ),
            ("bytes", &["0x00ff"], serde_json::json!("0x00ff")),
        ] {
            let keys: Keys = parts.parse().unwrap();
            let bytes = named(Some(&keys), &words(of)).unwrap();
            assert_eq!(printed(Some(&keys), &bytes), expected, "{parts}");
        }
        let plain = named(None, &words(&["0x0001"])).unwrap();
        assert_eq!(
            (&plain[..], printed(None, &plain)),
            (&[0, 1][..], "0x0001".into())
        );
        assert_eq!(named(None, &words(&["0x1"])).unwrap(), b"0x1");
        let text: Keys = "text".parse().unwrap();
        assert_eq!(named(Some(&text), &words(&["0x0001"])).unwrap(), b"0x0001");
        assert!(is_bytes(&words(&["0x0001"])) && !is_bytes(&words(&["0x1"])));
    }

    #[test]
    fn what_is_no_key_is_told() {
        let fault = |parts: &str, of: &[&str]| {
            let keys: Keys = parts.parse().unwrap();
            format!("{:#}", named(Some(&keys), &words(of)).unwrap_err())
        };
        assert!(fault("text,u32", &["a"]).contains("2 parts"));
        assert!(fault("u32", &["a"]).contains("\"a\" is no u32"));
        assert!(fault("u32", &["5000000000"]).contains("too large"));
        assert!("text,bytes".parse::<Keys>().is_err());
        let several = named(None, &words(&["a", "b"])).unwrap_err();
        assert!(several.to_string().contains("--key"));
    }
}
