//! The acts a plan is made of.

use crate::Origin;
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// One act on the directory that holds the upper layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// Makes a directory of ours.
    MakeDirectory {
        /// Where.
        at: PathBuf,
    },
    /// Makes an empty root.
    MakeRoot {
        /// Where.
        at: PathBuf,
        /// What it begins with.
        origin: Origin,
    },
    /// Renames a root.
    Rename {
        /// Its name now.
        from: PathBuf,
        /// Its name then.
        to: PathBuf,
        /// Its number: nothing else is renamed in its place.
        sequence: u64,
    },
    /// Exchanges root and the staged root.
    Exchange {
        /// The root's name.
        name: PathBuf,
        /// The staged root's name.
        with: PathBuf,
        /// The number of the outgoing root, which is under `with` when it is done.
        outgoing: u64,
    },
    /// Deletes what nobody wants.
    Remove {
        /// Where it is, among the scratch.
        at: PathBuf,
    },
    /// Has everything before it on the disk before anything after it.
    Commit,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeDirectory { at } if at.as_os_str().is_empty() => {
                f.write_str("make the directory of the upper layers")
            }
            Self::MakeDirectory { at } => write!(f, "make the directory {}", at.display()),
            Self::MakeRoot { at, origin } => {
                write!(f, "make an empty upper layer {}", at.display())?;
                match &origin.over {
                    Some(past) => write!(f, " above past root {past}"),
                    None => Ok(()),
                }
            }
            Self::Rename { from, to, .. } => {
                write!(f, "rename {} to {}", from.display(), to.display())
            }
            Self::Exchange { name, with, .. } => {
                write!(f, "exchange {} and {}", name.display(), with.display())
            }
            Self::Remove { at } => write!(f, "delete {}", at.display()),
            Self::Commit => f.write_str("commit"),
        }
    }
}
