//! The ledger: what this machine knows of its archives beyond what their labels say: where each
//! was published, and when it was read back and found to be what was written.
//!
//! It lies in the first store that is archived, as `.state/ledger.json`: root is erased. Losing it
//! loses no archive: what it does not know counts as not proven, and `state archives verify`
//! proves it anew. Documented in docs/targets.md.

mod drill;

pub use drill::Drill;

use crate::archive::label::Label;
use crate::archive::manifest::Digest;
use crate::context::Context;
use crate::settings::Settings;
use crate::whole;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use state_api::{Error, Result};
use state_linux::lock::Lock;
use std::io;
use std::path::{Path, PathBuf};

/// The version that this program writes.
const VERSION: u32 = 1;
/// So many of one target are remembered; the oldest go first.
const MOST: usize = 1000;

/// What is known of the archives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    version: u32,
    /// In the order of their ids, which is the order they were published in.
    pub archives: Vec<Entry>,
    /// The last run of `state backup`.
    pub last_run: Option<Run>,
    /// The drills that say something still: of each target the last proof, and a failure since.
    #[serde(default)]
    pub drills: Vec<Drill>,
}

/// One archive at one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry {
    /// The target's name or URL.
    pub target: String,
    /// The machine.
    pub machine: String,
    /// The archive's id.
    pub id: String,
    /// The digest of its data as stored, in hexadecimal digits.
    pub data_sha256: String,
    /// Its size as stored.
    pub data_bytes: u64,
    /// The size of its content.
    pub bytes: u64,
    /// Whether everything that should be in it is.
    pub is_complete: bool,
    /// When it was published.
    pub published: DateTime<Utc>,
    /// When it was last read back from the target and was what had been written.
    pub read_back: Option<DateTime<Utc>>,
    /// When it was last known to hold what the machine holds: when it was made, or when a later
    /// run found that nothing had changed.
    #[serde(default)]
    pub current: Option<DateTime<Utc>>,
    /// When it was last read back and was *not* what had been written, if that was the last time.
    #[serde(default)]
    pub damaged: Option<DateTime<Utc>>,
}

/// How a run of `state backup` ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Run {
    /// When it began.
    pub at: DateTime<Utc>,
    /// How long it took, in seconds.
    pub seconds: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Each target, and whether the archive got there.
    pub targets: Vec<(String, bool)>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All of it was done.
    Done,
    /// A part was done.
    Partial,
    /// Nothing was published.
    Failed,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            version: VERSION,
            archives: Vec::new(),
            last_run: None,
            drills: Vec::new(),
        }
    }
}

/// Where it lies; nowhere if no store is archived.
fn path(cx: &Context, settings: &Settings) -> Option<PathBuf> {
    let store = settings.first_archived()?;
    Some(cx.rooted(store).join(".state/ledger.json"))
}

impl Ledger {
    /// Reads it; an empty one if there is none yet.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or a newer version wrote it.
    pub fn read(cx: &Context, settings: &Settings) -> Result<Self> {
        match path(cx, settings) {
            Some(path) => Self::read_at(&path),
            None => Ok(Self::default()),
        }
    }

    fn read_at(path: &Path) -> Result<Self> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Error::os(format!("reading {}", path.display()), error)),
        };
        let malformed = |why: String| Error::Malformed {
            what: path.display().to_string(),
            why,
        };
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } =
            serde_json::from_slice(&text).map_err(|error| malformed(error.to_string()))?;
        if version > VERSION {
            return Err(malformed(format!(
                "a newer state wrote it (version {version})"
            )));
        }
        serde_json::from_slice(&text).map_err(|error| malformed(error.to_string()))
    }

    /// Reads it, changes it and writes it.
    ///
    /// # Errors
    /// It cannot be read or written. What cannot be read is never written over.
    pub fn change(
        cx: &Context,
        settings: &Settings,
        change: impl FnOnce(&mut Self),
    ) -> Result<Self> {
        let Some(path) = path(cx, settings) else {
            return Ok(Self::default());
        };
        let failed = |error| Error::os(format!("writing {}", path.display()), error);
        let dir = whole::make_parent(&path).map_err(failed)?;
        // A drill or a verification goes on beside a backup: neither forgets what the other noted.
        let _lock = Lock::wait_for_directory(dir).map_err(failed)?;
        let mut ledger = Self::read_at(&path)?;
        change(&mut ledger);
        let mut text = serde_json::to_vec_pretty(&ledger).map_err(|e| failed(e.into()))?;
        text.push(b'\n');
        whole::replace(&path, 0o600, &text).map_err(failed)?;
        Ok(ledger)
    }

    /// Notes that an archive is there.
    pub fn published(&mut self, entry: Entry) {
        self.archives
            .retain(|old| (&old.target, &old.id) != (&entry.target, &entry.id));
        let target = entry.target.clone();
        self.archives.push(entry);
        self.archives.sort_by(|a, b| a.id.cmp(&b.id));
        let of_target = |entry: &&Entry| entry.target == target;
        let surplus = self
            .archives
            .iter()
            .filter(of_target)
            .count()
            .saturating_sub(MOST);
        let mut left = surplus;
        self.archives.retain(|entry| {
            let goes = left > 0 && entry.target == target;
            left -= usize::from(goes);
            !goes
        });
    }

    /// Notes that an archive was read to its end and is what its label says.
    pub fn read_back(&mut self, target: &str, label: &Label, at: DateTime<Utc>) {
        let entry = self.entry(target, label);
        self.published(Entry {
            read_back: Some(at),
            damaged: None,
            ..entry
        });
    }

    /// Notes that an archive was read and is not what its label says.
    pub fn damaged(&mut self, target: &str, label: &Label, at: DateTime<Utc>) {
        let entry = self.entry(target, label);
        self.published(Entry {
            read_back: None,
            damaged: Some(at),
            ..entry
        });
    }

    /// Notes that the full archive `label` was made of the archive `of` and read back.
    pub fn consolidated(&mut self, target: &str, label: &Label, of: &str, at: DateTime<Utc>) {
        let entry = self.entry(target, label);
        let current = self.find(target, of).and_then(|of| of.current);
        self.published(Entry {
            published: at,
            read_back: Some(at),
            current: current.or(Some(label.time)),
            ..entry
        });
    }

    /// What is known of an archive at a target.
    fn find(&self, target: &str, id: &str) -> Option<&Entry> {
        let is_it = |entry: &&Entry| entry.target == target && entry.id == id;
        self.archives.iter().find(is_it)
    }

    /// What its label says of an archive, with what was known of it before.
    fn entry(&self, target: &str, label: &Label) -> Entry {
        let known = self.find(target, label.id.as_str());
        Entry {
            target: target.to_owned(),
            machine: label.machine.clone(),
            id: label.id.to_string(),
            data_sha256: label.data_sha256.to_string(),
            data_bytes: label.data_bytes,
            bytes: label.totals.bytes,
            is_complete: label.is_complete,
            published: known.map_or(label.time, |known| known.published),
            read_back: known.and_then(|known| known.read_back),
            current: known.and_then(|known| known.current),
            damaged: known.and_then(|known| known.damaged),
        }
    }

    /// Notes that nothing has changed since an archive was made.
    pub fn still_current(&mut self, target: &str, id: &str, at: DateTime<Utc>) {
        let is_it = |entry: &&mut Entry| entry.target == target && entry.id == id;
        if let Some(entry) = self.archives.iter_mut().find(is_it) {
            entry.current = Some(at);
        }
    }

    /// Notes that an archive is no longer there.
    pub fn gone(&mut self, target: &str, id: &str) {
        self.archives
            .retain(|entry| entry.target != target || entry.id != id);
    }

    /// Whether this very data was read back from the target.
    pub fn is_proven(&self, target: &str, id: &str, data: &Digest) -> bool {
        let entry = self.find(target, id);
        entry
            .is_some_and(|entry| entry.read_back.is_some() && entry.data_sha256 == data.to_string())
    }

    /// Whether it was damaged when it was last read back from the target.
    pub fn is_damaged(&self, target: &str, id: &str) -> bool {
        let entry = self.find(target, id);
        entry.is_some_and(|entry| entry.damaged.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(target: &str, id: &str) -> Entry {
        Entry {
            target: target.into(),
            machine: "blitzar".into(),
            id: id.into(),
            data_sha256: Digest([7; 32]).to_string(),
            data_bytes: 10,
            bytes: 20,
            is_complete: true,
            published: DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
            read_back: None,
            current: None,
            damaged: None,
        }
    }

    #[test]
    fn only_what_was_read_back_is_proven() {
        let mut ledger = Ledger::default();
        ledger.published(entry("usb", "a"));
        ledger.published(entry("nas", "a"));
        let digest = Digest([7; 32]);
        assert!(!ledger.is_proven("usb", "a", &digest));
        ledger.published(Entry {
            read_back: Some(DateTime::from_timestamp(1, 0).unwrap()),
            ..entry("usb", "a")
        });
        assert!(ledger.is_proven("usb", "a", &digest));
        assert!(!ledger.is_proven("usb", "a", &Digest([8; 32])));
        assert!(!ledger.is_proven("nas", "a", &digest));
        ledger.gone("usb", "a");
        assert_eq!(ledger.archives, [entry("nas", "a")]);
        for n in 0..MOST + 5 {
            ledger.published(entry("usb", &format!("{n:05}")));
        }
        assert_eq!(ledger.archives.len(), MOST + 1);
        assert_eq!(ledger.archives[0].id, "00005");
    }

    #[test]
    fn what_cannot_be_read_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.json");
        assert_eq!(Ledger::read_at(&path).unwrap(), Ledger::default());
        for (text, why) in [
            ("{}", "missing field `version`"),
            ("{\"version\":2}", "a newer state wrote it (version 2)"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Ledger::read_at(&path).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
