//! Records of a pax extended header: `LENGTH KEY=VALUE\n`, LENGTH counting the whole record.
//!
//! Taken apart by their lengths alone: a value may hold anything, line feeds and further
//! "records" included.

use super::Bad;
use std::fmt;
use std::str::FromStr;

/// The longest extended header that is written or read.
pub const MOST_BYTES: usize = 1 << 20;

/// Appends a record.
pub fn push(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = 1 + key.len() + 1 + value.len() + 1;
    let digits = |n: usize| n.ilog10() as usize + 1;
    let mut length = rest + 1;
    while digits(length) + rest != length {
        length = digits(length) + rest;
    }
    let mut unit = 10_usize.pow(length.ilog10());
    while unit > 0 {
        records.push(b'0' + (length / unit % 10) as u8);
        unit /= 10;
    }
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// The records of an extended header, in order.
#[derive(Debug, Clone)]
pub struct Records<'a>(&'a [u8]);

impl<'a> Records<'a> {
    /// Those in `bytes`.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self) -> Result<(&'a [u8], &'a [u8]), Bad> {
        let bad = || Bad::from("a pax record without a true length");
        let digits = self.0.iter().position(|b| *b == b' ').ok_or_else(bad)?;
        let length: usize = decimal(&self.0[..digits]).ok_or_else(bad)?;
        if length < digits + 3 || length > self.0.len() || self.0[length - 1] != b'\n' {
            return Err(bad());
        }
        let record = &self.0[digits + 1..length - 1];
        let key = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
        self.0 = &self.0[length..];
        Ok((&record[..key], &record[key + 1..]))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), Bad>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = self.take();
        if record.is_err() {
            self.0 = &[];
        }
        Some(record)
    }
}

/// A number in its only spelling: digits without a sign or a leading zero.
pub fn decimal<T: FromStr + ToString>(digits: &[u8]) -> Option<T> {
    let digits = std::str::from_utf8(digits).ok()?;
    let number: T = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

/// A point in time: whole seconds since 1970 rounded towards the past, and nanoseconds on top.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Seconds; negative before 1970.
    pub seconds: i64,
    /// 0 to 999 999 999.
    pub nanoseconds: u32,
}

/// A decimal fraction of seconds without needless zeros: `1700000000.5`, `-0.25`, `7`.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut seconds, mut fraction) = (self.seconds, self.nanoseconds);
        if seconds < 0 && fraction > 0 {
            seconds += 1;
            fraction = 1_000_000_000 - fraction;
            if seconds == 0 {
                f.write_str("-")?;
            }
        }
        write!(f, "{seconds}")?;
        if fraction > 0 {
            let mut digits = 9;
            while fraction % 10 == 0 {
                fraction /= 10;
                digits -= 1;
            }
            write!(f, ".{fraction:0digits$}")?;
        }
        Ok(())
    }
}

/// Reads back what `Display` writes, and nothing else.
impl FromStr for Time {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        let bad = || Bad(format!("{text:?} is no time"));
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let seconds: i64 = whole.parse().map_err(|_| bad())?;
        let is_digits = fraction.bytes().all(|b| b.is_ascii_digit());
        if fraction.len() > 9 || !is_digits {
            return Err(bad());
        }
        let nanoseconds: u32 = format!("{fraction:0<9}").parse().map_err(|_| bad())?;
        let time = if whole.starts_with('-') && nanoseconds > 0 {
            Self {
                seconds: seconds.checked_sub(1).ok_or_else(bad)?,
                nanoseconds: 1_000_000_000 - nanoseconds,
            }
        } else {
            Self {
                seconds,
                nanoseconds,
            }
        };
        (time.to_string() == text).then_some(time).ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_hold_anything() {
        let mut bytes = Vec::new();
        let wanted: &[(&[u8], &[u8])] = &[
            (b"path", b"./a\n25 linkpath=/etc/shadow\n"),
            (b"SCHILY.xattr.user.x", b"\x00\n=\xff"),
            (b"k", b""),
            (b"n", &[b'x'; 93]), // 99 becomes 100: the length has one digit more
        ];
        for (key, value) in wanted {
            push(&mut bytes, key, value);
        }
        let found: Result<Vec<_>, _> = Records::of(&bytes).collect();
        assert_eq!(found.unwrap(), wanted);
        let mut one = Vec::new();
        push(&mut one, b"mtime", b"1.5");
        assert_eq!(one, b"13 mtime=1.5\n");
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for bytes in [
            &b"13 mtime=1.5"[..],
            b"12 mtime=1.5\n",
            b"14 mtime=1.5\n",
            b"013 mtime=1.5\n",
            b"+13 mtime=1.5\n",
            b"99999999999999999999 mtime=1.5\n",
            b"4 x\n",
            b"3 \n",
            b"2 ",
            b" ",
            b"mtime=1.5\n",
        ] {
            let found: Result<Vec<_>, _> = Records::of(bytes).collect();
            assert!(found.is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn times_have_one_spelling() {
        for (seconds, nanoseconds, text) in [
            (0, 0, "0"),
            (1_700_000_000, 500_000_000, "1700000000.5"),
            (7, 1, "7.000000001"),
            (-1, 0, "-1"),
            (-1, 750_000_000, "-0.25"),
            (-2, 999_999_999, "-1.000000001"),
            (i64::MIN, 0, "-9223372036854775808"),
            (i64::MAX, 999_999_999, "9223372036854775807.999999999"),
        ] {
            let time = Time {
                seconds,
                nanoseconds,
            };
            assert_eq!(time.to_string(), text);
            assert_eq!(text.parse(), Ok(time));
        }
        for text in [
            "",
            "1.",
            "1.50",
            "01",
            "+1",
            "-0",
            ".5",
            "1.0000000001",
            "1e3",
            "1.5 ",
        ] {
            assert!(text.parse::<Time>().is_err(), "{text:?}");
        }
    }
}
