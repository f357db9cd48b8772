//! The acts that put an entry in place. Pure.

use super::entry::Ownership;
use super::seen::{Digest, Stamp};
use crate::paths::{self, Shown};
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// One act of putting an entry in place. Paths are as on the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
#[allow(missing_docs)]
pub enum Step {
    /// Makes a directory, on the machine or in a store. One that is there is never touched.
    MakeDirectory {
        #[serde(serialize_with = "paths::serialize")]
        path: PathBuf,
        #[serde(flatten)]
        ownership: Ownership,
    },
    /// Makes an empty file. One that is there is never touched.
    MakeFile {
        #[serde(serialize_with = "paths::serialize")]
        path: PathBuf,
        #[serde(flatten)]
        ownership: Ownership,
    },
    /// Copies what blank brought to this path into the store, which has nothing there yet.
    Seed {
        #[serde(serialize_with = "paths::serialize")]
        path: PathBuf,
        #[serde(serialize_with = "paths::serialize")]
        source: PathBuf,
    },
    /// Mounts what is in the store at the entry's path.
    Bind {
        #[serde(serialize_with = "paths::serialize")]
        path: PathBuf,
        #[serde(serialize_with = "paths::serialize")]
        source: PathBuf,
        /// What is hidden by it, if anything: it exists elsewhere and is still what was seen.
        #[serde(skip)]
        hides: Option<Stamp>,
    },
    /// Makes the entry's path a link into the store.
    Link {
        #[serde(serialize_with = "paths::serialize")]
        path: PathBuf,
        #[serde(serialize_with = "paths::serialize")]
        source: PathBuf,
        #[serde(skip)]
        replaces: Replaces,
    },
    /// Copies the store's file to the entry's path, whole, in the place of what is there.
    CopyIn {
        #[serde(serialize_with = "paths::serialize")]
        path: PathBuf,
        #[serde(serialize_with = "paths::serialize")]
        source: PathBuf,
        #[serde(skip)]
        replaces: Replaces,
        #[serde(skip)]
        digest: Digest,
    },
    /// Copies the machine's file into the store, whole, in the place of what is there.
    Save {
        #[serde(serialize_with = "paths::serialize")]
        path: PathBuf,
        #[serde(serialize_with = "paths::serialize")]
        source: PathBuf,
        #[serde(skip)]
        replaces: Replaces,
        #[serde(skip)]
        digest: Digest,
    },
    /// Gives the store's file a second name in the store's quarantine: it changed as well, and
    /// another takes its place.
    SetAside {
        #[serde(serialize_with = "paths::serialize")]
        source: PathBuf,
        #[serde(skip)]
        stamp: Stamp,
    },
    /// Writes a machine-id(5) file, on the machine or in the store.
    WriteMachineId {
        #[serde(serialize_with = "paths::serialize")]
        path: PathBuf,
        id: String,
    },
}

/// What a link takes the place of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replaces {
    /// Nothing.
    Nothing,
    /// An empty directory.
    EmptyDirectory,
    /// A file whose content exists elsewhere, while it is still what was seen.
    File(Stamp),
    /// A link of ours to another place in a store.
    Link(PathBuf),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeDirectory { path, ownership } => {
                write!(f, "make directory {} ({ownership})", Shown(path))
            }
            Self::MakeFile { path, ownership } => {
                write!(f, "make file {} ({ownership})", Shown(path))
            }
            Self::Seed { path, source } => {
                write!(f, "copy {} to {}", Shown(path), Shown(source))
            }
            Self::Bind { path, source, .. } => {
                write!(f, "mount {} at {}", Shown(source), Shown(path))
            }
            Self::Link { path, source, .. } => {
                write!(f, "link {} to {}", Shown(path), Shown(source))
            }
            Self::CopyIn { path, source, .. } => {
                write!(f, "copy {} to {}", Shown(source), Shown(path))
            }
            Self::Save { path, source, .. } => {
                write!(f, "save {} to {}", Shown(path), Shown(source))
            }
            Self::SetAside { source, .. } => write!(f, "keep {} in quarantine", Shown(source)),
            Self::WriteMachineId { path, id } => write!(f, "write {id} to {}", Shown(path)),
        }
    }
}
