//! What a restore did, or would do.

use super::{Opened, Task};
use crate::archive::extract::Loss;
use crate::archive::machine::Machine;
use crate::archive::manifest::Bytes;
use crate::archive::read::Archive;
use crate::ops::seal::Signature;
use chrono::{DateTime, Utc};
use serde::Serialize;
use state_linux::confine::Confinement;
use std::path::PathBuf;

/// What a restore did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The target's name or URL.
    pub target: String,
    /// The machine that the archive is of.
    pub machine: String,
    /// The archive's id.
    pub id: String,
    /// When it was made.
    pub time: DateTime<Utc>,
    /// Whether everything that should have been in it was.
    pub is_complete: bool,
    /// Who vouches for it.
    pub signature: Signature,
    /// Whether it was done; a dry run stops before.
    pub executed: bool,
    /// The stores, or the one of which a path was restored.
    pub stores: Vec<Restored>,
    /// The commit of the configuration that belongs to the archive.
    pub commit: Option<String>,
    /// What else there is to say.
    pub notes: Vec<String>,
    /// The directory that a new machine is mounted at, if it is restored into such.
    #[serde(skip)]
    pub machine_root: Option<PathBuf>,
    /// What the archive says of its machine.
    #[serde(skip)]
    pub archived: Option<Box<Machine>>,
}

/// A store that was restored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Restored {
    /// Where it was mounted when it was archived.
    #[serde(serialize_with = "crate::paths::serialize")]
    pub store: PathBuf,
    /// Where it is restored to.
    #[serde(serialize_with = "crate::paths::serialize")]
    pub into: PathBuf,
    /// How many entries.
    pub entries: u64,
    /// The size of their content.
    pub bytes: u64,
    /// Whether an interrupted run had staged a part.
    pub is_resumed: bool,
    /// When an earlier run of the same command restored it; then this one leaves it alone.
    pub earlier: Option<DateTime<Utc>>,
    /// Whether it is in place.
    pub is_swapped: bool,
    /// Who uses a store of this restore: then the next boot puts all of it in place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// What the destination could not hold.
    pub losses: Vec<Lost>,
    /// Whether the kernel kept the extraction in its directory.
    #[serde(serialize_with = "confinement")]
    pub confinement: Option<Confinement>,
    /// Where what was there before is kept.
    pub before: Option<Kept>,
}

impl Restored {
    /// Of which nothing is known yet but where it goes.
    pub(super) fn new(store: PathBuf, into: PathBuf) -> Self {
        Self {
            store,
            into,
            entries: 0,
            bytes: 0,
            is_resumed: false,
            earlier: None,
            is_swapped: false,
            waits_for: None,
            losses: Vec::new(),
            confinement: None,
            before: None,
        }
    }
}

/// Where what was replaced is kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kept {
    /// With the store; `state undo` puts it back.
    ForUndo,
    /// At this path; `state undo` puts it back.
    At(#[serde(serialize_with = "crate::paths::serialize")] PathBuf),
}

/// Written as whether it was confined.
fn confinement<S: serde::Serializer>(
    confinement: &Option<Confinement>,
    to: S,
) -> Result<S::Ok, S::Error> {
    let is_confined = confinement.as_ref().map(|c| *c == Confinement::Confined);
    is_confined.serialize(to)
}

/// Something that the destination could not hold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lost {
    /// The path on the machine.
    pub path: Bytes,
    /// What of it, and why.
    pub what: String,
}

impl From<Loss> for Lost {
    fn from(loss: Loss) -> Self {
        Self {
            path: Bytes([b"/", loss.path.as_slice()].concat()),
            what: loss.what,
        }
    }
}

impl Report {
    pub(super) fn of(target: &str, archive: &Archive<'_>, signature: Signature) -> Self {
        let label = archive.label();
        Self {
            target: target.to_owned(),
            machine: label.machine.clone(),
            id: label.id.to_string(),
            time: label.time,
            is_complete: label.is_complete,
            signature,
            executed: false,
            stores: Vec::new(),
            commit: label.commit.clone(),
            notes: Vec::new(),
            machine_root: None,
            archived: Some(Box::new(archive.machine().clone())),
        }
    }

    pub(super) fn planned(opened: &Opened<'_>, tasks: &[Task]) -> Self {
        let mut report = opened.report();
        report.stores = (tasks.iter())
            .map(|task| Restored {
                entries: task.entries,
                bytes: task.bytes,
                earlier: task.earlier,
                is_swapped: task.earlier.is_some(),
                before: Some(Kept::ForUndo),
                ..Restored::new(task.name.clone(), task.into.clone())
            })
            .collect();
        report
    }

    /// Whether an earlier run of the same command restored all of it.
    pub fn is_done(&self) -> bool {
        !self.stores.is_empty() && self.stores.iter().all(|store| store.earlier.is_some())
    }

    /// Whether something was lost on the way.
    pub fn is_partial(&self) -> bool {
        self.stores.iter().any(|store| !store.losses.is_empty())
    }
}
