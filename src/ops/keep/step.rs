//! The steps of keeping something. Pure.

use crate::paths::{self, Shown};
use crate::persist::{Method, Ownership};
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// One step. Paths are as on the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
#[allow(missing_docs)]
pub enum Step {
    /// Moves what the store holds there, and no entry declares, into its quarantine.
    Quarantine {
        #[serde(serialize_with = "paths::serialize")]
        source: PathBuf,
    },
    /// Makes a directory that leads there in the store, as it is on the machine.
    MakeDirectory(MakeDirectory),
    /// Copies it into the store with everything that belongs to it, and compares the two.
    Copy {
        #[serde(serialize_with = "paths::serialize")]
        path: PathBuf,
        #[serde(serialize_with = "paths::serialize")]
        source: PathBuf,
    },
    /// The same in the place of the store's older file, which goes to the quarantine.
    Replace {
        #[serde(serialize_with = "paths::serialize")]
        path: PathBuf,
        #[serde(serialize_with = "paths::serialize")]
        source: PathBuf,
    },
    /// Adds it to the configuration.
    Declare {
        #[serde(serialize_with = "paths::serialize")]
        path: PathBuf,
        #[serde(serialize_with = "paths::serialize")]
        file: PathBuf,
    },
    /// Puts the entry in place.
    Place {
        #[serde(serialize_with = "paths::serialize")]
        path: PathBuf,
        #[serde(serialize_with = "paths::serialize")]
        source: PathBuf,
        method: Method,
    },
}

/// A directory to be made in a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MakeDirectory {
    /// Where.
    #[serde(serialize_with = "paths::serialize")]
    pub path: PathBuf,
    /// Whose, and how closed.
    #[serde(flatten)]
    pub ownership: Ownership,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quarantine { source } => {
                write!(f, "move {} into quarantine", Shown(source))
            }
            Self::MakeDirectory(MakeDirectory { path, ownership }) => {
                write!(f, "make directory {} ({ownership})", Shown(path))
            }
            Self::Copy { path, source } => {
                write!(f, "copy {} to {}", Shown(path), Shown(source))
            }
            Self::Replace { path, source } => write!(
                f,
                "copy {} to {}, and keep what was there in quarantine",
                Shown(path),
                Shown(source)
            ),
            Self::Declare { path, file } => {
                write!(f, "add {} to {}", Shown(path), Shown(file))
            }
            Self::Place {
                path,
                source,
                method,
            } => {
                let (path, source) = (Shown(path), Shown(source));
                match method {
                    Method::Bind => write!(f, "mount {source} at {path}"),
                    Method::Symlink => write!(f, "link {path} to {source}"),
                    Method::Copy | Method::MachineId => write!(f, "save {path} from now on"),
                }
            }
        }
    }
}
