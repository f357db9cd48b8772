//! `"512 MiB"`: so many bytes; `"5 MiB/s"`: so many in a second.

use super::node::{Node, Problem, Value};
use super::read::{Read, Reader};
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// So many bytes; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

/// So many bytes in a second; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(pub u64);

const UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// Reads `5 MiB`; `None`: it is written otherwise.
fn parse(text: &str) -> Option<Result<u64, &'static str>> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = (&text[..split], text[split..].trim_start());
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let number: u64 = number.parse().ok()?;
    Some(number.checked_mul(*factor).ok_or("is too large"))
}

fn write(bytes: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let whole = UNITS
        .iter()
        .find(|(_, factor)| bytes.is_multiple_of(*factor));
    let (unit, factor) = whole.expect("everything is a number of bytes");
    write!(f, "{} {unit}", bytes / factor)
}

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match parse(text).ok_or("is written like \"512 MiB\" or \"2 GiB\"")?? {
            0 => Err("would leave no room for anything"),
            bytes => Ok(Self(bytes)),
        }
    }
}

impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.strip_suffix("/s").and_then(parse);
        match bytes.ok_or("is written like \"5 MiB/s\" or \"500 KiB/s\"")?? {
            0 => Err("would never let anything through; leave it out for no limit"),
            bytes => Ok(Self(bytes)),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(self.0, f)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(self.0, f)?;
        f.write_str("/s")
    }
}

/// Written and read as text.
macro_rules! as_text {
    ($type:ident, $kind:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl Read for $type {
            fn kind() -> String {
                $kind.into()
            }

            fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
                let Value::Text(text) = &node.value else {
                    reader.mismatch(node, "text");
                    return None;
                };
                match text.parse() {
                    Ok(number) => Some(number),
                    Err(why) => {
                        let fact = format!("{} {why}", reader.name());
                        reader.problem(Problem::new(Some(node.at), fact));
                        None
                    }
                }
            }
        }
    };
}

as_text!(Size, "bytes, with `KiB`, `MiB` or `GiB`");
as_text!(Rate, "bytes in a second, with `KiB/s`, `MiB/s` or `GiB/s`");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_alike() {
        for (text, bytes) in [("512 MiB", 512 << 20), ("1500 B", 1500)] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
            assert_eq!(Size(bytes).to_string(), text);
        }
        for bad in ["", "5", "5 MB", "5 MiB/s", "0 MiB"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

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
            "5 MiB",
            "-5 MiB/s",
            "0 MiB/s",
            "99999999999 GiB/s",
        ] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }
}
