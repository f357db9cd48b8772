//! What a renewal did, as a value.

use crate::ops::act::Act;
use crate::ops::snapshot::Created;
use crate::paths::{self, Shown};
use serde::Serialize;
use state_api::Blank;
use std::path::PathBuf;

/// What a renewal did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Whether it was carried out (false: a dry run).
    pub executed: bool,
    /// The root volume.
    pub root: String,
    /// The command, as text.
    pub command: Vec<String>,
    /// The snapshots of the stores, taken first.
    pub snapshots: Vec<Created>,
    /// The machine's filesystems that are in the draft as they are.
    #[serde(serialize_with = "paths::serialize_all")]
    pub shared: Vec<PathBuf>,
    /// How the draft is made.
    pub begin: Vec<Act>,
    /// What the command ended with; `None` in a dry run.
    pub status: Option<u8>,
    /// Whether the draft became the blank.
    pub renewed: bool,
    /// How it became the blank, or was given up.
    pub end: Vec<Act>,
    /// The blank afterwards.
    pub blank: Option<Blank>,
    /// The one before it, kept for an undo.
    pub previous: Option<Blank>,
    /// The copied entries that the command changed, saved in their stores.
    #[serde(serialize_with = "paths::serialize_all")]
    pub saved: Vec<PathBuf>,
    /// Stores that are not what their snapshots are, after a draft was given up.
    #[serde(serialize_with = "paths::serialize_all")]
    pub changed: Vec<PathBuf>,
    /// Those that are; their snapshots were deleted.
    #[serde(serialize_with = "paths::serialize_all")]
    pub unchanged: Vec<PathBuf>,
    /// What somebody should know beside that.
    pub notes: Vec<String>,
}

impl Report {
    /// What is to be done about stores that the command, or anything else, has changed.
    pub fn tell_stores(&self) -> Option<String> {
        let changed: Vec<String> = self
            .changed
            .iter()
            .map(|at| Shown(at).to_string())
            .collect();
        let created = self
            .snapshots
            .iter()
            .find(|created| self.changed.contains(&created.store))?;
        let name = &created.snapshot.as_ref()?.name;
        Some(format!(
            "blank is what it was; {} changed meanwhile, by the command or by what else runs \
             (`state snapshot diff {name}` shows it, `state snapshot rollback {name}` goes back)",
            changed.join(" and ")
        ))
    }
}
