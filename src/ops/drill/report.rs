//! What drills found.

use crate::archive::label::Label;
use crate::archive::proof::{Against, Proof};
use crate::ledger;
use crate::ops::restore::Lost;
use crate::ops::seal::Signature;
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::path::PathBuf;

/// So many differences are kept; all are counted.
const MOST: usize = 100;

/// What drills found, or would look at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The machine whose archives they are.
    pub machine: String,
    /// Where was restored to.
    #[serde(serialize_with = "crate::paths::serialize")]
    pub scratch: PathBuf,
    /// Whether it was done; a dry run stops before.
    pub executed: bool,
    /// Target by target.
    pub drills: Vec<Drilled>,
    /// What else there is to say.
    pub notes: Vec<String>,
}

/// The drill at one target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drilled {
    /// The target's name or URL.
    pub target: String,
    /// The archive; none if there is none that can be looked at.
    pub archive: Option<Chosen>,
    /// What it was compared with, beside its manifest; none: it did not come that far.
    pub against: Option<Against>,
    /// The first of what is not as it was.
    pub differences: Vec<Lost>,
    /// How many there are.
    pub different: usize,
    /// What scratch could not hold. Not empty: nothing was proven, and nothing was found.
    pub losses: Vec<Lost>,
    /// What is wrong with the archive.
    pub found: Option<String>,
    /// Why the drill could not be done, which says nothing of the archive.
    pub failed: Option<String>,
    /// Whether the proof is at the target.
    pub is_published: bool,
    /// What else there is to say.
    pub notes: Vec<String>,
}

/// The archive of a drill.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Chosen {
    /// The drill's proof, if it comes to be one.
    #[serde(flatten)]
    pub proof: Proof,
    /// When the archive was made.
    pub made: DateTime<Utc>,
    /// Who vouches for it.
    pub signature: Signature,
}

impl Drilled {
    pub(super) fn of(target: &str) -> Self {
        Self {
            target: target.to_owned(),
            archive: None,
            against: None,
            differences: Vec::new(),
            different: 0,
            losses: Vec::new(),
            found: None,
            failed: None,
            is_published: false,
            notes: Vec::new(),
        }
    }

    pub(super) fn begin(
        target: &str,
        label: &Label,
        signature: Signature,
        time: DateTime<Utc>,
    ) -> Self {
        let proof = Proof {
            machine: label.machine.clone(),
            id: label.id.clone(),
            time,
            data_sha256: label.data_sha256,
            entries: label.totals.entries,
            bytes: label.totals.bytes,
            against: Against::Manifest,
        };
        Self {
            archive: Some(Chosen {
                proof,
                made: label.time,
                signature,
            }),
            ..Self::of(target)
        }
    }

    /// Takes up how much data the whole tree has.
    pub(super) fn weighs(&mut self, bytes: u64) {
        if let Some(chosen) = &mut self.archive {
            chosen.proof.bytes = bytes;
        }
    }

    /// Takes up what is not as it was.
    pub(super) fn differ(&mut self, differences: Vec<Lost>) {
        self.different += differences.len();
        let room = MOST - self.differences.len().min(MOST);
        self.differences.extend(differences.into_iter().take(room));
    }

    /// Whether the archive is not what was saved.
    pub fn found_something(&self) -> bool {
        self.found.is_some() || self.different > 0
    }

    /// The proof, if a restore was proven.
    pub fn proof(&self) -> Option<Proof> {
        let is_whole = self.losses.is_empty() && !self.found_something();
        let against = self.against.filter(|_| is_whole)?;
        Some(Proof {
            against,
            ..self.archive.as_ref()?.proof.clone()
        })
    }

    /// For the ledger: what was proven, or found.
    pub(super) fn to_ledger(&self) -> Option<ledger::Drill> {
        let chosen = self.archive.as_ref()?;
        let found = match (&self.found, self.different) {
            (Some(why), _) => Some(why.clone()),
            (None, 0) => None,
            (None, n) => {
                let first = self.differences.first()?;
                let path = String::from_utf8_lossy(&first.path.0);
                Some(match n {
                    1 => format!("{path}: {}", first.what),
                    n => format!("{path}: {}, and {} more", first.what, n - 1),
                })
            }
        };
        match (found, self.proof()) {
            (None, None) => None,
            (found, proof) => {
                let said = proof.unwrap_or_else(|| chosen.proof.clone());
                Some(ledger::Drill::of(&self.target, &said, found))
            }
        }
    }
}

impl Report {
    /// Whether an archive is not what was saved.
    pub fn found_something(&self) -> bool {
        self.drills.iter().any(Drilled::found_something)
    }

    /// Whether a drill could not be done, or not in full.
    pub fn is_partial(&self) -> bool {
        let mut drills = self.drills.iter();
        drills.any(|drilled| drilled.failed.is_some() || !drilled.losses.is_empty())
    }
}
