//! Bytes and digests in JSON.

use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Bytes that mostly are text: a JSON string if they are UTF-8, else `{"hex":"…"}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub Vec<u8>);

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = Vec::with_capacity(2 * bytes.len());
    push_hex(&mut text, bytes);
    String::from_utf8(text).expect("digits are text")
}

/// Appends bytes in lower-case hexadecimal.
pub(super) fn push_hex(to: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let digit = |value: u8| DIGITS[usize::from(value)];
    let begin = to.len();
    to.resize(begin + 2 * bytes.len(), 0);
    let (pairs, _) = to[begin..].as_chunks_mut::<2>();
    for (pair, b) in pairs.iter_mut().zip(bytes) {
        *pair = [digit(b >> 4), digit(b & 15)];
    }
}

/// Appends two pieces joined as [`Bytes`] are written in JSON. Nearly all need no escapes.
pub(super) fn push_json(to: &mut Vec<u8>, front: &[u8], bytes: &[u8]) {
    let is_plain = |b: &u8| (b' '..=b'~').contains(b) && !b"\"\\".contains(b);
    if bytes.iter().all(is_plain) {
        to.push(b'"');
        to.extend_from_slice(front);
        to.extend_from_slice(bytes);
        to.push(b'"');
    } else {
        let bytes = Bytes([front, bytes].concat());
        serde_json::to_writer(to, &bytes).expect("bytes are JSON, and a vector takes them");
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|&pair| byte(pair));
    rest.is_empty().then(|| bytes.collect())?
}

/// What each byte stands for as a digit; of others the upper half is set.
const VALUES: [u8; 256] = {
    let mut values = [0xff; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    values
};

/// What two digits stand for.
fn byte([a, b]: [u8; 2]) -> Option<u8> {
    let [high, low] = [a, b].map(|digit| VALUES[usize::from(digit)]);
    ((high | low) < 16).then_some(high << 4 | low)
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => to.serialize_str(text),
            Err(_) => {
                let mut map = to.serialize_map(Some(1))?;
                map.serialize_entry("hex", &hex(&self.0))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or {\"hex\":\"…\"}")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Bytes, E> {
                Ok(Bytes(text.as_bytes().to_vec()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Bytes, A::Error> {
                let entry = map.next_entry::<String, String>()?;
                let bytes = entry
                    .filter(|(key, _)| key == "hex")
                    .and_then(|(_, v)| unhex(&v));
                let bytes = bytes.filter(|bytes| std::str::from_utf8(bytes).is_err());
                let end = map.next_entry::<String, String>()?;
                (bytes.filter(|_| end.is_none()).map(Bytes))
                    .ok_or_else(|| A::Error::custom("no bytes in hexadecimal"))
            }
        }
        from.deserialize_any(Either)
    }
}

/// A SHA-256 digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// That of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl From<Sha256> for Digest {
    fn from(hash: Sha256) -> Self {
        Self(hash.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl std::str::FromStr for Digest {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let none = "no SHA-256 digest in hexadecimal";
        let text: &[u8; 64] = text.as_bytes().try_into().map_err(|_| none)?;
        let (pairs, _) = text.as_chunks::<2>();
        let mut digest = [0; 32];
        let mut all = 0;
        for (to, pair) in digest.iter_mut().zip(pairs) {
            let [high, low] = pair.map(|digit| VALUES[usize::from(digit)]);
            // Looked at once, behind all of them: there are two in every file's record.
            all |= high | low;
            *to = high << 4 | low & 15;
        }
        (all < 16).then_some(Self(digest)).ok_or(none)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_one_spelling() {
        for (bytes, json) in [
            (&b"./a b"[..], r#""./a b""#),
            (b"a\nb\0", r#""a\nb\u0000""#),
            (b"\xff\x00", r#"{"hex":"ff00"}"#),
        ] {
            let bytes = Bytes(bytes.to_vec());
            assert_eq!(serde_json::to_string(&bytes).unwrap(), json);
            assert_eq!(serde_json::from_str::<Bytes>(json).unwrap(), bytes);
        }
        for json in [
            r#"{"hex":"61"}"#, // is text
            r#"{"hex":"FF"}"#,
            r#"{"hex":"f"}"#,
            r#"{"hex":"ff","hex":"ff"}"#,
            r#"{"oct":"ff"}"#,
            "{}",
            "[1]",
        ] {
            assert!(serde_json::from_str::<Bytes>(json).is_err(), "{json}");
        }
    }
}
