//! What drills found.

use super::Ledger;
use crate::archive::proof::{Against, Proof};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A drill of one archive at one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Drill {
    /// The target's name or URL.
    pub target: String,
    /// The machine that the archive is of.
    pub machine: String,
    /// The archive's id.
    pub id: String,
    /// The digest of its data as stored, in hexadecimal digits.
    pub data_sha256: String,
    /// When the drill began.
    pub at: DateTime<Utc>,
    /// How many entries were restored.
    pub entries: u64,
    /// The size of their content.
    pub bytes: u64,
    /// What they were compared with.
    pub against: Against,
    /// What was wrong. Nothing: it is a proof.
    pub found: Option<String>,
}

impl Drill {
    /// What a proof says of an archive at `target`.
    pub fn of(target: &str, proof: &Proof, found: Option<String>) -> Self {
        Self {
            target: target.to_owned(),
            machine: proof.machine.clone(),
            id: proof.id.to_string(),
            data_sha256: proof.data_sha256.to_string(),
            at: proof.time,
            entries: proof.entries,
            bytes: proof.bytes,
            against: proof.against,
            found,
        }
    }

    /// Whether a restore was proven.
    pub fn is_proof(&self) -> bool {
        self.found.is_none()
    }

    fn is_of(&self, other: &Self) -> bool {
        (&self.target, &self.machine) == (&other.target, &other.machine)
    }
}

impl Ledger {
    /// Notes a drill. A proof ends what was remembered of its target; a failure leaves the last
    /// proof, which still says when a restore worked.
    pub fn drilled(&mut self, drill: Drill) {
        self.drills
            .retain(|old| !old.is_of(&drill) || (old.is_proof() && !drill.is_proof()));
        self.drills.push(drill);
    }

    /// The last proof of `machine`'s archives at a target.
    pub fn proof(&self, target: &str, machine: &str) -> Option<&Drill> {
        let mut drills = self.drills.iter();
        drills.find(|drill| drill.is_proof() && drill.target == target && drill.machine == machine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_proof_is_remembered_and_what_failed_since() {
        let drill = |target: &str, at: i64, found: Option<&str>| Drill {
            target: target.into(),
            machine: "blitzar".into(),
            id: "20261121T113705Z-3f6a90c1".into(),
            data_sha256: String::new(),
            at: DateTime::from_timestamp(at, 0).unwrap(),
            entries: 3,
            bytes: 33,
            against: Against::Manifest,
            found: found.map(str::to_owned),
        };
        let mut ledger = Ledger::default();
        for (at, found) in [(1, Some("x")), (2, None), (3, Some("y")), (4, Some("z"))] {
            ledger.drilled(drill("usb", at, found));
        }
        ledger.drilled(drill("nas", 5, None));
        assert_eq!(
            ledger.drills,
            [
                drill("usb", 2, None),
                drill("usb", 4, Some("z")),
                drill("nas", 5, None)
            ]
        );
        assert_eq!(ledger.proof("usb", "blitzar"), Some(&drill("usb", 2, None)));
        assert_eq!(ledger.proof("usb", "kiosk"), None);
        ledger.drilled(drill("usb", 6, None));
        assert_eq!(
            ledger.drills,
            [drill("nas", 5, None), drill("usb", 6, None)]
        );
    }
}
