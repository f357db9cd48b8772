//! The boot record: what the reset of this boot did, for `status`, `doctor` and people.
//!
//! It lives in `/run` (see [`crate::context::RUN_DIR`]), which outlives the switch from the initrd
//! to the new root. "Root was silently never erased" must be seen at the next look, not months
//! later. Documented in `docs/boot.md`; every version ever released is a fixture of the tests.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use state_api::{Error, Identity, PastRootName, Result, Source};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The version that this program writes.
pub const VERSION: u32 = 1;

/// The record's file, in the run directory.
pub const FILE: &str = "reset.json";

/// What one run of `state reset` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The version of this form.
    pub version: u32,
    /// The version of the program that wrote it.
    pub program: String,
    /// The boot it belongs to (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// When the run began, by the clock of that moment.
    pub at: DateTime<Utc>,
    /// The engine; `None` if the configuration could not be read.
    pub backend: Option<String>,
    /// The root volume, in the engine's notation; `None` if nothing could be looked at.
    pub root: Option<String>,
    /// What came of it.
    pub outcome: Outcome,
    /// What the new root was made from; `None` if none was asked for.
    pub source: Option<Source>,
    /// The blank as the survey saw it.
    pub blank: Option<RecordedBlank>,
    /// The name the outgoing root is kept under; `None` if there was none or it was given up.
    pub past_root: Option<PastRootName>,
    /// The steps of the plan, as a dry run prints them.
    pub plan: Vec<String>,
    /// How many of them were carried out.
    pub steps_done: usize,
    /// How long the run took, in microseconds.
    pub took_us: u64,
    /// Why it failed or was refused.
    pub failure: Option<Failure>,
}

/// What came of a run of `state reset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Root is a fresh copy of what was asked for.
    Reset,
    /// `state.skip`: root was left as it is, what an earlier run left behind was finished.
    Skipped,
    /// There was nothing to erase (tmpfs), and what was checked is right.
    Checked,
    /// Root in memory was filled from blank; whether the rest of the machine fits it has to be
    /// checked when it is there.
    Filled,
    /// Refused; nothing was changed.
    Refused,
    /// Failed; what was done is in the record, nothing was deleted.
    Failed,
    /// Interrupted by a signal between two steps.
    Interrupted,
}

impl Outcome {
    /// Whether this boot's root is what it should be at every boot.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Reset | Self::Checked)
    }
}

/// A blank's name and identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedBlank {
    /// Its name in the engine's notation.
    pub name: String,
    /// What it was.
    pub identity: Identity,
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The whole message.
    pub error: String,
    /// The cure, where one is known.
    pub hint: Option<String>,
}

impl Record {
    /// Writes it whole or not at all, in the place of an earlier one.
    ///
    /// A run that did nothing does not hide what an earlier one of the same boot came to: a `state
    /// reset` typed on the running machine is refused, and this boot was reset all the same, or was
    /// not for the reason that was found then.
    ///
    /// # Errors
    /// The run directory cannot be written.
    pub fn write(&self, run_dir: &Path) -> Result<()> {
        if !self.outcome.is_success()
            && self.steps_done == 0
            && let Ok(Some(earlier)) = read(run_dir)
            && earlier.boot_id == self.boot_id
            && earlier.outcome != Outcome::Filled
        {
            return Ok(());
        }
        let path = path(run_dir);
        self.replace(&path)
            .map_err(|error| Error::os(format!("writing {}", path.display()), error))
    }

    fn replace(&self, path: &Path) -> io::Result<()> {
        let dir = path.parent().expect("it lies in the run directory");
        std::fs::create_dir_all(dir)?;
        let new = path.with_extension("json.new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(&new)?;
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        File::open(dir)?.sync_all()
    }

    /// Why this boot's root is not what it should be, and the cure.
    pub fn why_not(&self) -> (String, Option<String>) {
        match (&self.failure, self.outcome) {
            (Some(failure), _) => (failure.error.clone(), failure.hint.clone()),
            (None, Outcome::Skipped) => ("the kernel command line said state.skip".into(), None),
            (None, Outcome::Filled) => (
                "root was filled from blank, and nothing has looked since whether the stores are mounted".into(),
                Some("`state-reset.service` has to run after the stores are mounted: `state init --install-boot`".into()),
            ),
            (None, _) => ("the record does not say why".into(), None),
        }
    }

    /// A duration as the record has it.
    pub fn micros(took: Duration) -> u64 {
        u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
    }
}

fn path(run_dir: &Path) -> PathBuf {
    run_dir.join(FILE)
}

/// Reads the record of the last run, if there is one. Whether it is of *this* boot is for the
/// caller to compare.
///
/// # Errors
/// It cannot be read, is damaged, or is of a newer version than this program knows.
pub fn read(run_dir: &Path) -> Result<Option<Record>> {
    let path = path(run_dir);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::os(format!("reading {}", path.display()), error)),
    };
    parse(&text).map(Some).map_err(|why| Error::Malformed {
        what: path.display().to_string(),
        why,
    })
}

/// Reads a record out of its text.
///
/// # Errors
/// Why it is none, or none that this version understands.
pub fn parse(text: &[u8]) -> Result<Record, String> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Versioned { version } =
        serde_json::from_slice(text).map_err(|error| format!("not a boot record: {error}"))?;
    match version {
        1 => serde_json::from_slice(text).map_err(|error| error.to_string()),
        0 => Err("there never was a version 0".into()),
        newer => Err(format!(
            "a newer state wrote it (version {newer}; this one reads up to {VERSION})"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = include_str!("../tests/fixtures/boot-record/v1.json");
    const V1_REFUSED: &str = include_str!("../tests/fixtures/boot-record/v1-refused.json");

    fn v1() -> Record {
        Record {
            version: 1,
            program: "0.1.0".into(),
            boot_id: "6d3f20c1-96c1-4b53-a1de-3f6f8f7e0a11".into(),
            at: "2026-11-21T11:37:05Z".parse().unwrap(),
            backend: Some("btrfs".into()),
            root: Some("/dev/vda2[root]".into()),
            outcome: Outcome::Reset,
            source: Some(Source::Blank),
            blank: Some(RecordedBlank {
                name: "root-blank".into(),
                identity: Identity("9f1c…@17".into()),
            }),
            past_root: Some("20261121T113705Z-6d3f20c1".parse().unwrap()),
            plan: vec![
                "snapshot root-blank as root.new".into(),
                "exchange root.new and root".into(),
            ],
            steps_done: 2,
            took_us: 18_250,
            failure: None,
        }
    }

    fn v1_refused() -> Record {
        Record {
            root: None,
            outcome: Outcome::Refused,
            source: Some(Source::Past("20261120T070000Z-0a1b2c3d".parse().unwrap())),
            blank: None,
            past_root: None,
            plan: vec![],
            steps_done: 0,
            took_us: 900,
            failure: Some(Failure {
                error: "resetting root: root-blank does not exist".into(),
                hint: Some("run `state blank take`".into()),
            }),
            ..v1()
        }
    }

    #[test]
    fn every_version_ever_written_is_read() {
        assert_eq!(parse(V1.as_bytes()), Ok(v1()));
        assert_eq!(parse(V1_REFUSED.as_bytes()), Ok(v1_refused()));
    }

    #[test]
    fn what_is_written_is_the_fixture_byte_for_byte() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run/state");
        assert_eq!(read(&run).unwrap(), None);
        v1().write(&run).unwrap();
        assert_eq!(std::fs::read_to_string(run.join(FILE)).unwrap(), V1);
        assert_eq!(read(&run).unwrap(), Some(v1()));
        assert_eq!(
            std::fs::read_dir(&run).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }

    #[test]
    fn a_refusal_hides_nothing_of_the_same_boot() {
        let dir = tempfile::tempdir().unwrap();
        v1().write(dir.path()).unwrap();
        v1_refused().write(dir.path()).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Some(v1()));

        let half_way = Record {
            outcome: Outcome::Failed,
            steps_done: 1,
            ..v1()
        };
        half_way.write(dir.path()).unwrap();
        assert_eq!(
            read(dir.path()).unwrap(),
            Some(half_way),
            "it did something"
        );

        v1_refused().write(dir.path()).unwrap();
        let said = read(dir.path()).unwrap().unwrap();
        assert_eq!(said.outcome, Outcome::Failed, "why it was not reset");

        v1().write(dir.path()).unwrap();
        let next_boot = Record {
            boot_id: "00000000-0000-4000-8000-000000000000".into(),
            ..v1_refused()
        };
        next_boot.write(dir.path()).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Some(next_boot));
    }

    #[test]
    fn damaged_and_future_records_are_told_apart() {
        for (text, why) in [
            (
                "",
                "not a boot record: EOF while parsing a value at line 1 column 0",
            ),
            (
                "{}",
                "not a boot record: missing field `version` at line 1 column 2",
            ),
            (r#"{"version":0}"#, "there never was a version 0"),
            (
                r#"{"version":1}"#,
                "missing field `program` at line 1 column 13",
            ),
            (
                r#"{"version":2,"all":"new"}"#,
                "a newer state wrote it (version 2; this one reads up to 1)",
            ),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err(), why);
        }
    }
}
