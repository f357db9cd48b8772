//! What became of the persist tree.

use crate::ops::waiting::Swap;
use crate::paths;
use crate::persist::{Method, Step};
use serde::Serialize;
use std::path::PathBuf;

/// What became of the persist tree.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether anything was done, or only planned.
    pub executed: bool,
    /// The trees that waited for this boot, which took the place of their stores.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub swaps: Vec<Swap>,
    /// The entries, parents first.
    pub entries: Vec<EntryReport>,
    /// What somebody should know beside that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What went wrong beside the entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// What became of one entry.
#[derive(Debug, Serialize)]
pub struct EntryReport {
    /// Where it is on the machine.
    #[serde(serialize_with = "paths::serialize")]
    pub path: PathBuf,
    /// Where it is in its store.
    #[serde(serialize_with = "paths::serialize")]
    pub source: PathBuf,
    /// How it is put in place.
    pub method: Method,
    /// What became of it.
    #[serde(flatten)]
    pub status: Status,
}

/// What became of one entry.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "status")]
pub enum Status {
    /// Nothing was to be done.
    InPlace,
    /// It was put in place now.
    Done {
        /// By these steps.
        steps: Vec<Step>,
    },
    /// It would be put in place.
    Planned {
        /// By these steps.
        steps: Vec<Step>,
    },
    /// It was left out, as declared or for now.
    LeftOut {
        /// Why.
        why: String,
    },
    /// It could not be put in place.
    Failed {
        /// Why.
        error: String,
        /// The cure.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
}

impl Report {
    /// How many entries could not be put in place.
    pub fn failed(&self) -> usize {
        self.entries
            .iter()
            .filter(|entry| matches!(entry.status, Status::Failed { .. }))
            .count()
    }

    /// The trees that could not take the place of their stores.
    pub fn unswapped(&self) -> impl Iterator<Item = &Swap> {
        self.swaps.iter().filter(|swap| swap.failure.is_some())
    }

    /// Whether at least one entry is in place, or would be.
    pub fn has_worked(&self) -> bool {
        self.entries.iter().any(|entry| {
            matches!(
                entry.status,
                Status::InPlace | Status::Done { .. } | Status::Planned { .. }
            )
        })
    }
}
