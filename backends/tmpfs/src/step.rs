//! The acts a plan is made of.

use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// One act on root, its blank, or its past roots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// Makes a directory of ours.
    MakeDirectory {
        /// Where.
        at: PathBuf,
    },
    /// Fills the empty root from blank.
    Fill,
    /// Copies the present root, whole or not at all.
    CopyRoot {
        /// Where to.
        to: PathBuf,
    },
    /// Renames something.
    Rename {
        /// Its name now.
        from: PathBuf,
        /// Its name then.
        to: PathBuf,
    },
    /// Deletes what nobody wants.
    Remove {
        /// Where it is.
        at: PathBuf,
    },
    /// Has everything before it on the disk before anything after it.
    Commit,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeDirectory { at } => write!(f, "make the directory {}", at.display()),
            Self::Fill => f.write_str("fill root from blank"),
            Self::CopyRoot { to } => write!(f, "copy root to {}", to.display()),
            Self::Rename { from, to } => {
                write!(f, "rename {} to {}", from.display(), to.display())
            }
            Self::Remove { at } => write!(f, "delete {}", at.display()),
            Self::Commit => f.write_str("commit"),
        }
    }
}
