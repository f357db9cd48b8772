//! What laying out a disk does, one act at a time. Pure.

use super::layout::{Filesystem, Place};
use crate::paths::{self, Shown};
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// One act. Each finds itself done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// Overwrite the marks of what the device holds.
    Erase {
        /// The device.
        #[serde(serialize_with = "paths::serialize")]
        device: PathBuf,
        /// The word that gave it up.
        word: String,
        /// What it is, in words.
        what: String,
    },
    /// Make the device a LUKS device.
    Encrypt {
        /// The device.
        #[serde(serialize_with = "paths::serialize")]
        device: PathBuf,
    },
    /// Open it.
    Open {
        /// The device.
        #[serde(serialize_with = "paths::serialize")]
        device: PathBuf,
        /// The name below `/dev/mapper`.
        mapper: String,
    },
    /// Make a filesystem.
    Format {
        /// Which.
        filesystem: Filesystem,
        /// Where.
        #[serde(serialize_with = "paths::serialize")]
        device: PathBuf,
    },
    /// Make a pool.
    MakePool {
        /// Its name.
        pool: String,
        /// Its one device.
        #[serde(serialize_with = "paths::serialize")]
        device: PathBuf,
    },
    /// Make a volume.
    Make {
        /// Which.
        place: Place,
    },
    /// Take blank of the empty root.
    TakeBlank,
    /// Mount a volume.
    Mount {
        /// Which.
        place: Place,
        /// Where, in the system that runs now.
        #[serde(serialize_with = "paths::serialize")]
        at: PathBuf,
    },
    /// Write a file that is not there yet.
    Write {
        /// Which.
        #[serde(serialize_with = "paths::serialize")]
        file: PathBuf,
        /// What it says.
        text: String,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("a tmpfs"),
            Self::Installed => f.write_str("the installed system"),
            Self::Top => f.write_str("the filesystem"),
            Self::Subvolume(name) => write!(f, "the subvolume {name}"),
            Self::Dataset(name) => write!(f, "the dataset {name}"),
            Self::Directory(at) => write!(f, "the directory {}", Shown(at)),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Erase { device, what, .. } => {
                write!(f, "give up what {} holds, for ever: {what}", Shown(device))
            }
            Self::Encrypt { device } => write!(f, "encrypt {} (LUKS)", Shown(device)),
            Self::Open { device, mapper } => {
                write!(f, "open {} as /dev/mapper/{mapper}", Shown(device))
            }
            Self::Format { filesystem, device } => {
                write!(
                    f,
                    "make a filesystem, {}, on {}",
                    filesystem.name(),
                    Shown(device)
                )
            }
            Self::MakePool { pool, device } => {
                write!(f, "make the pool {pool} on {}", Shown(device))
            }
            Self::Make { place } => write!(f, "make {place}"),
            Self::TakeBlank => f.write_str("take blank of the empty root"),
            Self::Mount { place, at } => write!(f, "mount {place} at {}", Shown(at)),
            Self::Write { file, .. } => write!(f, "write {}", Shown(file)),
        }
    }
}
