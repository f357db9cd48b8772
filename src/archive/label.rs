//! The label: the small text beside the data, published last. No label, no archive.
//!
//! It is all that listing archives reads, and what a signature is made of. It holds no secret:
//! it is not encrypted when the data is.

use super::manifest::{Digest, Totals};
use super::{Error, FORMAT, Result};
use crate::paths::Shown;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use std::fmt::{self, Write};
use std::path::Path;
use std::str::FromStr;

/// The largest that is read.
pub const MOST_BYTES: u64 = 64 << 10;

/// The end of the name of a data object.
pub const DATA: &str = ".tar.zst";
/// The same of an encrypted one.
pub const ENCRYPTED: &str = ".tar.zst.age";
/// The end of a label's name.
pub const LABEL: &str = ".txt";
/// The end of the name of a label's signature.
pub const SIGNATURE: &str = ".txt.sig";

/// What a label says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Label {
    /// The machine's name.
    pub machine: String,
    /// The archive's id.
    pub id: Id,
    /// The archive it builds on.
    pub parent: Option<Id>,
    /// Its place in its chain: 0 is a full archive, which builds on nothing.
    pub position: u64,
    /// When it was made, by the machine's clock. (The id's time never goes backwards.)
    pub time: DateTime<Utc>,
    /// Whether everything that should be in it is.
    pub is_complete: bool,
    /// The commit of the machine's configuration.
    pub commit: Option<String>,
    /// Whether the configuration's work tree differed from the commit.
    pub is_dirty: bool,
    /// What it holds in all.
    pub totals: Totals,
    /// How the data object is called after the id: `.tar.zst`.
    pub suffix: String,
    /// The public keys that the data is encrypted to; none: it is not encrypted.
    pub recipients: Vec<String>,
    /// The data object's size as stored.
    pub data_bytes: u64,
    /// The data object's digest as stored.
    pub data_sha256: Digest,
    /// The digest of the whole manifest.
    pub manifest_sha256: Digest,
    /// The digest of the manifest's index, which has the digests of its blocks.
    pub index_sha256: Digest,
}

/// An archive's id: the time in a form that sorts, and something random.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Id(String);

impl Id {
    const TIME: &str = "%Y%m%dT%H%M%SZ";

    /// The id for an archive made `at`, later than that of every archive in `others`: the order
    /// of ids is the order of publication even when the clock goes backwards.
    pub fn new<'a>(
        at: DateTime<Utc>,
        random: u32,
        others: impl IntoIterator<Item = &'a Self>,
    ) -> Self {
        let newest = others.into_iter().map(Self::time).max();
        let second = chrono::TimeDelta::seconds(1);
        let time = newest.map_or(at, |newest| at.max(newest + second));
        Self(format!("{}-{random:08x}", time.format(Self::TIME)))
    }

    /// The time in it.
    pub fn time(&self) -> DateTime<Utc> {
        let time = &self.0[..self.0.len() - 9];
        chrono::NaiveDateTime::parse_from_str(time, Self::TIME)
            .expect("it was parsed when it was made")
            .and_utc()
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Id {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = "an archive's id looks like 20261121T113705Z-3f6a90c1";
        let (time, random) = text.split_once('-').ok_or(bad)?;
        let parsed = chrono::NaiveDateTime::parse_from_str(time, Self::TIME).map_err(|_| bad)?;
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let same = parsed.format(Self::TIME).to_string() == time && time.len() == 16;
        (same && random.len() == 8 && random.bytes().all(is_hex))
            .then(|| Self(text.to_owned()))
            .ok_or(bad)
    }
}

/// Whether `name` can be a machine's: it is a directory at every target.
///
/// # Errors
/// What is wrong with it.
pub fn check_machine(name: &str) -> Result<(), &'static str> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if name.is_empty() || name.len() > 64 {
        Err("a machine's name has 1 to 64 characters")
    } else if name.starts_with(['.', '-']) || !name.bytes().all(legal) {
        Err("a machine's name is made of letters, digits and - _ . and begins with none of - .")
    } else {
        Ok(())
    }
}

impl Label {
    /// The names of the data object and of the label, at a target.
    pub fn data_name(&self) -> String {
        format!("{}/{}{}", self.machine, self.id, self.suffix)
    }

    /// The label's own name.
    pub fn name(&self) -> String {
        format!("{}/{}{LABEL}", self.machine, self.id)
    }

    /// The text.
    pub fn to_text(&self) -> String {
        let mut text = format!("state archive {FORMAT}\n");
        let mut line = |key: &str, value: &dyn fmt::Display| {
            writeln!(text, "{key}: {value}").expect("a string can be written to");
        };
        let none = || "none".to_owned();
        line("machine", &self.machine);
        line("id", &self.id);
        line(
            "parent",
            &(self.parent.as_ref()).map_or_else(none, Id::to_string),
        );
        line("position", &self.position);
        line(
            "time",
            &self.time.to_rfc3339_opts(SecondsFormat::Secs, true),
        );
        line("complete", &if self.is_complete { "yes" } else { "no" });
        line("config-commit", &self.commit.clone().unwrap_or_else(none));
        line("config-dirty", &if self.is_dirty { "yes" } else { "no" });
        line("entries", &self.totals.entries);
        line("files", &self.totals.files);
        line("bytes", &self.totals.bytes);
        line("tar-bytes", &self.totals.tar_bytes);
        line("suffix", &self.suffix);
        line(
            "recipients",
            &match self.recipients.is_empty() {
                true => none(),
                false => self.recipients.join(" "),
            },
        );
        line("data-bytes", &self.data_bytes);
        line("data-sha256", &self.data_sha256);
        line("manifest-sha256", &self.manifest_sha256);
        line("index-sha256", &self.index_sha256);
        text
    }

    /// Reads the text back. `what` names the label in errors.
    ///
    /// # Errors
    /// A newer format, or not what [`Label::to_text`] writes.
    pub fn from_text(what: &str, text: &[u8]) -> Result<Self> {
        let damaged = |why: &str| Error::damaged(Shown(Path::new(what)).to_string(), why);
        let text = std::str::from_utf8(text).map_err(|_| damaged("a label that is no text"))?;
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let format = first
            .strip_prefix("state archive ")
            .and_then(|n| n.parse().ok());
        match format {
            Some(FORMAT) => {}
            Some(found) if found > FORMAT => {
                return Err(Error::Newer {
                    what: what.to_owned(),
                    found,
                    known: FORMAT,
                });
            }
            _ => return Err(damaged("not the label of an archive")),
        }
        let mut value = |key: &str| {
            let line = lines.next().and_then(|line| line.strip_prefix(key));
            let value = line.and_then(|line| line.strip_prefix(": "));
            value.ok_or_else(|| damaged(&format!("a label without `{key}` in its place")))
        };
        fn parsed<T: FromStr>(text: &str) -> Option<T> {
            text.parse().ok()
        }
        let some = |text: &str| (text != "none").then(|| text.to_owned());
        let wrong = || damaged("a label with an impossible value");
        let label = Self {
            machine: value("machine")?.to_owned(),
            id: parsed(value("id")?).ok_or_else(wrong)?,
            parent: match some(value("parent")?) {
                None => None,
                Some(id) => Some(parsed(&id).ok_or_else(wrong)?),
            },
            position: parsed(value("position")?).ok_or_else(wrong)?,
            time: parsed(value("time")?).ok_or_else(wrong)?,
            is_complete: value("complete")? == "yes",
            commit: some(value("config-commit")?),
            is_dirty: value("config-dirty")? == "yes",
            totals: Totals {
                entries: parsed(value("entries")?).ok_or_else(wrong)?,
                files: parsed(value("files")?).ok_or_else(wrong)?,
                bytes: parsed(value("bytes")?).ok_or_else(wrong)?,
                tar_bytes: parsed(value("tar-bytes")?).ok_or_else(wrong)?,
            },
            suffix: value("suffix")?.to_owned(),
            recipients: match some(value("recipients")?) {
                None => Vec::new(),
                Some(list) => list.split(' ').map(str::to_owned).collect(),
            },
            data_bytes: parsed(value("data-bytes")?).ok_or_else(wrong)?,
            data_sha256: parsed(value("data-sha256")?).ok_or_else(wrong)?,
            manifest_sha256: parsed(value("manifest-sha256")?).ok_or_else(wrong)?,
            index_sha256: parsed(value("index-sha256")?).ok_or_else(wrong)?,
        };
        if label.parent.is_some() != (label.position > 0)
            || label.position >= super::MOST_CHAIN as u64
            || (label.parent.as_ref()).is_some_and(|parent| *parent >= label.id)
        {
            return Err(damaged("a label with an impossible parent"));
        }
        let is_known = label.suffix
            == match label.recipients.is_empty() {
                true => DATA,
                false => ENCRYPTED,
            };
        if !is_known || check_machine(&label.machine).is_err() || label.to_text() != text {
            return Err(damaged(
                "a label in another form than the one of this format",
            ));
        }
        Ok(label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label() -> Label {
        Label {
            machine: "blitzar".into(),
            id: "20261121T113705Z-3f6a90c1".parse().unwrap(),
            parent: None,
            position: 0,
            time: DateTime::from_timestamp(7, 0).unwrap(),
            is_complete: true,
            commit: Some("0123abcd".into()),
            is_dirty: false,
            totals: Totals {
                entries: 3,
                files: 1,
                bytes: 33,
                tar_bytes: 4096,
            },
            suffix: ".tar.zst.age".into(),
            recipients: vec!["age1a".into(), "age1b".into()],
            data_bytes: 1234,
            data_sha256: Digest([1; 32]),
            manifest_sha256: Digest([2; 32]),
            index_sha256: Digest([3; 32]),
        }
    }

    #[test]
    fn a_label_is_a_short_text() {
        let text = label().to_text();
        assert_eq!(
            text,
            format!(
                "state archive 1\nmachine: blitzar\nid: 20261121T113705Z-3f6a90c1\nparent: none\n\
                 position: 0\ntime: 1970-01-01T00:00:07Z\ncomplete: yes\nconfig-commit: 0123abcd\n\
                 config-dirty: no\nentries: 3\nfiles: 1\nbytes: 33\ntar-bytes: 4096\n\
                 suffix: .tar.zst.age\nrecipients: age1a age1b\ndata-bytes: 1234\ndata-sha256: {}\nmanifest-sha256: {}\n\
                 index-sha256: {}\n",
                "01".repeat(32),
                "02".repeat(32),
                "03".repeat(32)
            )
        );
        assert_eq!(Label::from_text("x", text.as_bytes()).unwrap(), label());
    }

    #[test]
    fn every_flipped_bit_of_a_label_is_another_label_or_none() {
        let text = label().to_text().into_bytes();
        for n in 0..text.len() {
            for bit in 0..8 {
                let mut flipped = text.clone();
                flipped[n] ^= 1 << bit;
                if let Ok(found) = Label::from_text("x", &flipped) {
                    assert_ne!(found, label(), "byte {n}, bit {bit}");
                }
            }
        }
    }

    #[test]
    fn a_newer_format_is_named() {
        let error = Label::from_text("m/x.txt", b"state archive 2\nwhatever\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "m/x.txt has format 2; this version of state reads format 1"
        );
    }

    #[test]
    fn ids_grow_even_when_the_clock_does_not() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let first = Id::new(at(1_800_000_000), 7, []);
        assert_eq!(first.as_str(), "20270115T080000Z-00000007");
        let second = Id::new(at(0), 1, [&first]);
        assert_eq!(second.as_str(), "20270115T080001Z-00000001");
        assert!(second > first);
        for bad in [
            "",
            "20270115T080000Z",
            "20271315T080000Z-00000007",
            "20270115T080000Z-7",
            "20270115T080000Z-0000000G",
        ] {
            assert!(bad.parse::<Id>().is_err(), "{bad}");
        }
    }
}
