//! `"5 MiB/s"`: so many bytes in a second.

use super::node::{Node, Problem, Value};
use super::read::{Read, Reader};
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// So many bytes in a second; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(pub u64);

const UNITS: [(&str, u64); 4] = [
    ("GiB/s", 1 << 30),
    ("MiB/s", 1 << 20),
    ("KiB/s", 1 << 10),
    ("B/s", 1),
];

impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = "is written like \"5 MiB/s\" or \"500 KiB/s\"";
        let split = text.find(|c: char| !c.is_ascii_digit()).ok_or(bad)?;
        let (number, unit) = (&text[..split], text[split..].trim_start());
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(bad)?;
        let number: u64 = number.parse().map_err(|_| bad)?;
        match number.checked_mul(*factor) {
            None => Err("is too large"),
            Some(0) => Err("would never let anything through; leave it out for no limit"),
            Some(bytes) => Ok(Self(bytes)),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS
            .iter()
            .find(|(_, factor)| self.0.is_multiple_of(*factor));
        let (unit, factor) = whole.expect("everything is a number of bytes");
        write!(f, "{} {unit}", self.0 / factor)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Read for Rate {
    fn kind() -> String {
        "bytes in a second, with `KiB/s`, `MiB/s` or `GiB/s`".into()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let Value::Text(text) = &node.value else {
            reader.mismatch(node, "text");
            return None;
        };
        match text.parse() {
            Ok(rate) => Some(rate),
            Err(why) => {
                let fact = format!("{} {why}", reader.name());
                reader.problem(Problem::new(Some(node.at), fact));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written_alike() {
        for (text, bytes) in [
            ("5 MiB/s", 5 << 20),
            ("500 KiB/s", 500 << 10),
            ("1 GiB/s", 1 << 30),
            ("1500 B/s", 1500),
        ] {
            assert_eq!(text.parse(), Ok(Rate(bytes)), "{text}");
            assert_eq!(Rate(bytes).to_string(), text);
        }
        assert_eq!("5MiB/s".parse(), Ok(Rate(5 << 20)));
        for bad in [
            "",
            "5",
            "MiB/s",
            "5 MB/s",
            "-5 MiB/s",
            "0 MiB/s",
            "99999999999 GiB/s",
        ] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }
}
