//! `[drill]`: proofs that a restore works.

use super::node::{Node, Problem, Value};
use super::read::{Read, Reader};
use super::table::{defaults, table};
use chrono::TimeDelta;
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

table! {
    /// `[drill]`
    pub struct Drill {
        /// How old the last proven restore may be before `state status` wants attention. With it,
        /// `state init --install-boot` installs a timer that runs `state drill` often enough.
        max_age: Option<Age> = (None) "no age wants attention, and no timer is installed", example "\"14 d\"";
        /// Encrypt archives to one more key, which the machine makes for each full archive and
        /// keeps in its store, so that a drill can read what is encrypted without a key of yours.
        /// Whoever takes the machine can read the archives of the last chain.
        recipient: bool = (false), example "true";
    }
    later []
}

defaults! { Drill }

/// So long, in whole hours; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age {
    hours: u32,
}

const UNITS: [(&str, u32); 3] = [("w", 7 * 24), ("d", 24), ("h", 1)];

impl Age {
    /// The same as a span of time.
    pub fn span(self) -> TimeDelta {
        TimeDelta::hours(self.hours.into())
    }

    /// Whole days in it.
    pub fn days(self) -> u32 {
        self.hours / 24
    }
}

impl FromStr for Age {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = "is written like \"14 d\", \"2 w\" or \"36 h\"";
        let split = text.find(|c: char| !c.is_ascii_digit()).ok_or(bad)?;
        let (number, unit) = (&text[..split], text[split..].trim_start());
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(bad)?;
        let number: u32 = number.parse().map_err(|_| bad)?;
        match number.checked_mul(*factor) {
            None => Err("is too large"),
            Some(0) => Err("would never be reached; leave it out for no limit"),
            Some(hours) => Ok(Self { hours }),
        }
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = match self.hours {
            hours if hours.is_multiple_of(24) => ("d", 24),
            _ => ("h", 1),
        };
        write!(f, "{} {unit}", self.hours / factor)
    }
}

impl Serialize for Age {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Read for Age {
    fn kind() -> String {
        "a time, in hours (`h`), days (`d`) or weeks (`w`)".into()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let Value::Text(text) = &node.value else {
            reader.mismatch(node, "text");
            return None;
        };
        match text.parse() {
            Ok(age) => Some(age),
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
    fn ages_are_read_and_written_alike() {
        for (text, hours) in [("14 d", 336), ("36 h", 36), ("1 d", 24), ("1 h", 1)] {
            assert_eq!(text.parse(), Ok(Age { hours }), "{text}");
            assert_eq!(Age { hours }.to_string(), text);
        }
        assert_eq!("2w".parse(), Ok(Age { hours: 336 }));
        for bad in [
            "",
            "14",
            "d",
            "14 days",
            "-1 d",
            "0 d",
            "99999999999 d",
            "999999999 w",
        ] {
            assert!(bad.parse::<Age>().is_err(), "{bad}");
        }
    }
}
