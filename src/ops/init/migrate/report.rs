//! The plan of a migration, and how far it came.

use crate::boot::maker::Maker;
use crate::ops::init::Todo;
use crate::paths;
use serde::Serialize;
use std::path::PathBuf;

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// Write the configuration.
    Configure {
        /// Where.
        #[serde(serialize_with = "paths::serialize")]
        file: PathBuf,
    },
    /// Copy an entry into its store.
    Fill {
        /// Where it is.
        #[serde(serialize_with = "paths::serialize")]
        path: PathBuf,
        /// Where its copy will be.
        #[serde(serialize_with = "paths::serialize")]
        source: PathBuf,
        /// The space it takes.
        bytes: u64,
        /// Whether it brings an older copy of ours up to date.
        is_anew: bool,
    },
    /// Install what starts `state` at boot, and make the initrds anew.
    InstallBoot {
        /// By what.
        maker: Option<Maker>,
        /// How many files are new.
        files: usize,
    },
    /// Take the line for root out of fstab: the initrd mounts what is installed, and it stays
    /// read-only.
    ReleaseRoot {
        /// The file.
        #[serde(serialize_with = "paths::serialize")]
        file: PathBuf,
    },
    /// Take blank.
    TakeBlank {
        /// Of which volume.
        root: String,
    },
}

/// What is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// The entry.
    #[serde(serialize_with = "paths::serialize")]
    pub path: PathBuf,
    /// Why.
    pub why: &'static str,
}

/// The plan, and how far it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was found, a sentence each.
    pub found: Vec<String>,
    /// The configuration, if it is a new one.
    pub configuration: Option<String>,
    /// What is to be done.
    pub steps: Vec<Step>,
    /// Entries of which nothing is to be done.
    pub left: Vec<Left>,
    /// What stands in the way: nothing is done as long as there is any of it.
    pub obstacles: Vec<Todo>,
    /// What is left to do for somebody else.
    pub todo: Vec<Todo>,
    /// What changed while it was copied.
    #[serde(serialize_with = "paths::serialize_all")]
    pub moved: Vec<PathBuf>,
    /// How many of the steps are done.
    pub done: usize,
    /// Whether it was carried out (false: a plan).
    pub executed: bool,
}
