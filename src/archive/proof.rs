//! A proof: the small text beside an archive that says that a drill restored it.
//!
//! It is written once like everything at a target, and signed as labels are. Text and signature
//! are one object, so that whoever lists a fleet reads one object for each machine. Pure.

use super::label::{Id, check_machine};
use super::manifest::Digest;
use super::{Error, FORMAT, Result};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Write};
use std::str::FromStr;

/// The largest that is read.
pub const MOST_BYTES: u64 = 16 << 10;

/// The end of a proof's name.
pub const PROOF: &str = ".proof";
/// How the time stands in a proof's name: it sorts.
const TIME: &str = "%Y%m%dT%H%M%SZ";
/// Where the signature begins.
const ARMOR: &str = "-----BEGIN SSH SIGNATURE-----\n";

/// What a restored tree was compared with, beside the archive's manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Against {
    /// The snapshots that the archive was made from, byte for byte.
    Snapshot,
    /// Nothing else: none stands any more, or the filesystem has none.
    Manifest,
}

impl Against {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Manifest => "manifest",
        }
    }
}

/// What a drill found: an archive came back whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Proof {
    /// The machine that the archive is of.
    pub machine: String,
    /// The archive.
    pub id: Id,
    /// When the drill began, by the clock of who did it.
    pub time: DateTime<Utc>,
    /// The digest of the archive's data as stored, from its label.
    pub data_sha256: Digest,
    /// How many entries were restored.
    pub entries: u64,
    /// The size of their content, that of the archive's parents included.
    pub bytes: u64,
    /// What they were compared with.
    pub against: Against,
}

/// What a proof's name says, before anything is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The archive.
    pub id: Id,
    /// When the drill began.
    pub time: DateTime<Utc>,
}

impl Named {
    /// Takes the name of an object apart; nothing if it is not a proof's.
    pub fn of(object: &str) -> Option<Self> {
        let (machine, file) = object.split_once('/')?;
        let (id, time) = file.strip_suffix(PROOF)?.split_once('.')?;
        let parsed = chrono::NaiveDateTime::parse_from_str(time, TIME).ok()?;
        let named = Self {
            id: id.parse().ok()?,
            time: parsed.and_utc(),
        };
        // One name for one proof.
        (named.name(machine) == object).then_some(named)
    }

    fn name(&self, machine: &str) -> String {
        format!("{machine}/{}.{}{PROOF}", self.id, self.time.format(TIME))
    }
}

impl Proof {
    /// The name of its object.
    pub fn name(&self) -> String {
        let named = Named {
            id: self.id.clone(),
            time: self.time,
        };
        named.name(&self.machine)
    }

    /// The text, which is what is signed.
    pub fn to_text(&self) -> String {
        let mut text = format!("state proof {FORMAT}\n");
        let mut line = |key: &str, value: &dyn fmt::Display| {
            writeln!(text, "{key}: {value}").expect("a string can be written to");
        };
        line("machine", &self.machine);
        line("id", &self.id);
        line(
            "time",
            &self.time.to_rfc3339_opts(SecondsFormat::Secs, true),
        );
        line("data-sha256", &self.data_sha256);
        line("entries", &self.entries);
        line("bytes", &self.bytes);
        line("compared-with", &self.against.word());
        text
    }

    /// Reads an object back: the proof, and the signature behind it, if there is one. `name` is
    /// the object's.
    ///
    /// # Errors
    /// A newer format, not what [`Proof::to_text`] writes, or another object's.
    pub fn from_object(name: &str, object: &[u8]) -> Result<(Self, Option<String>)> {
        let damaged = |why: &str| Error::damaged(name, why);
        let text = std::str::from_utf8(object).map_err(|_| damaged("a proof that is no text"))?;
        let (text, signature) = match text.find(ARMOR) {
            Some(at) => (&text[..at], Some(text[at..].to_owned())),
            None => (text, None),
        };
        let proof = Self::from_text(name, text)?;
        match proof.name() == name {
            true => Ok((proof, signature)),
            false => Err(damaged("the proof of another drill")),
        }
    }

    fn from_text(name: &str, text: &str) -> Result<Self> {
        let damaged = |why: &str| Error::damaged(name, why);
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let format = first
            .strip_prefix("state proof ")
            .and_then(|n| n.parse().ok());
        match format {
            Some(FORMAT) => {}
            Some(found) if found > FORMAT => {
                return Err(Error::Newer {
                    what: name.to_owned(),
                    found,
                    known: FORMAT,
                });
            }
            _ => return Err(damaged("not the proof of a restore")),
        }
        let mut value = |key: &str| {
            let line = lines.next().and_then(|line| line.strip_prefix(key));
            let value = line.and_then(|line| line.strip_prefix(": "));
            value.ok_or_else(|| damaged(&format!("a proof without `{key}` in its place")))
        };
        fn parsed<T: FromStr>(text: &str) -> Option<T> {
            text.parse().ok()
        }
        let wrong = || damaged("a proof with an impossible value");
        let proof = Self {
            machine: value("machine")?.to_owned(),
            id: parsed(value("id")?).ok_or_else(wrong)?,
            time: parsed(value("time")?).ok_or_else(wrong)?,
            data_sha256: parsed(value("data-sha256")?).ok_or_else(wrong)?,
            entries: parsed(value("entries")?).ok_or_else(wrong)?,
            bytes: parsed(value("bytes")?).ok_or_else(wrong)?,
            against: match value("compared-with")? {
                "snapshot" => Against::Snapshot,
                "manifest" => Against::Manifest,
                _ => return Err(wrong()),
            },
        };
        match check_machine(&proof.machine).is_ok() && proof.to_text() == text {
            true => Ok(proof),
            false => Err(damaged(
                "a proof in another form than the one of this format",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof() -> Proof {
        Proof {
            machine: "blitzar".into(),
            id: "20261121T113705Z-3f6a90c1".parse().unwrap(),
            time: DateTime::from_timestamp(1_795_320_000, 0).unwrap(),
            data_sha256: Digest([1; 32]),
            entries: 3,
            bytes: 33,
            against: Against::Snapshot,
        }
    }

    const NAME: &str = "blitzar/20261121T113705Z-3f6a90c1.20261122T040000Z.proof";

    #[test]
    fn a_proof_is_a_short_text_with_its_signature_behind_it() {
        let text = proof().to_text();
        assert_eq!(
            text,
            format!(
                "state proof 1\nmachine: blitzar\nid: 20261121T113705Z-3f6a90c1\n\
                 time: 2026-11-22T04:00:00Z\ndata-sha256: {}\nentries: 3\nbytes: 33\n\
                 compared-with: snapshot\n",
                "01".repeat(32)
            )
        );
        assert_eq!(proof().name(), NAME);
        let read = |object: &str| Proof::from_object(NAME, object.as_bytes());
        assert_eq!(read(&text).unwrap(), (proof(), None));
        let signed = format!("{text}{ARMOR}x\n");
        let signature = Some(format!("{ARMOR}x\n"));
        assert_eq!(read(&signed).unwrap(), (proof(), signature));
        let newer = read("state proof 2\n").unwrap_err().to_string();
        assert_eq!(
            newer,
            format!("{NAME} has format 2; this version of state reads format 1")
        );
        // The object of another drill, and another machine's.
        let other = NAME.replace("0400", "0500");
        assert!(Proof::from_object(&other, text.as_bytes()).is_err());
        let other = NAME.replace("blitzar", "kiosk");
        assert!(Proof::from_object(&other, text.as_bytes()).is_err());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let text = proof().to_text().into_bytes();
        for n in 0..text.len() {
            assert!(Proof::from_object(NAME, &text[..n]).is_err(), "cut at {n}");
            for bit in 0..8 {
                let mut flipped = text.clone();
                flipped[n] ^= 1 << bit;
                if let Ok((found, _)) = Proof::from_object(NAME, &flipped) {
                    assert_ne!(found, proof(), "byte {n}, bit {bit}");
                }
            }
        }
    }

    #[test]
    fn only_the_names_of_proofs_are() {
        let named = Named::of(NAME).unwrap();
        assert_eq!((named.id, named.time), (proof().id, proof().time));
        for other in [
            "blitzar/20261121T113705Z-3f6a90c1.proof",
            "blitzar/20261121T113705Z-3f6a90c1.txt",
            "blitzar/20261121T113705Z-3f6a90c1.20261122T0400Z.proof",
            "blitzar/20261121T113705Z-3f6a90c1.20261122T040000Z.x.proof",
            "20261121T113705Z-3f6a90c1.20261122T040000Z.proof",
            "blitzar/x.20261122T040000Z.proof",
        ] {
            assert_eq!(Named::of(other), None, "{other}");
        }
    }
}
