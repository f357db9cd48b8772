//! The acts of a plan.

use crate::shown::{Shown, lossy};
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// One act on the filesystem; paths are from its top level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// Makes a directory for our own things.
    MakeDirectory {
        /// Where.
        #[serde(serialize_with = "lossy")]
        at: PathBuf,
    },
    /// Makes a directory with owner and mode of another.
    MakeDirectoryLike {
        /// Where.
        #[serde(serialize_with = "lossy")]
        at: PathBuf,
        /// The other.
        #[serde(serialize_with = "lossy")]
        like: PathBuf,
    },
    /// Makes a snapshot.
    Snapshot {
        /// The subvolume.
        #[serde(serialize_with = "lossy")]
        from: PathBuf,
        /// The snapshot's name.
        #[serde(serialize_with = "lossy")]
        to: PathBuf,
        /// Whether nobody can write to it.
        read_only: bool,
    },
    /// Removes the empty directory that a snapshot has in place of a nested subvolume.
    RemoveDirectory {
        /// Where.
        #[serde(serialize_with = "lossy")]
        at: PathBuf,
    },
    /// Gives a subvolume another name, which nothing has yet.
    Rename {
        /// Its name.
        #[serde(serialize_with = "lossy")]
        from: PathBuf,
        /// Its new name.
        #[serde(serialize_with = "lossy")]
        to: PathBuf,
        /// Its id, where it is known: nothing else is renamed in its place.
        id: Option<u64>,
    },
    /// Exchanges two subvolumes: there is no moment in which one of the names is missing.
    Exchange {
        /// The name that must never be missing.
        #[serde(serialize_with = "lossy")]
        name: PathBuf,
        /// The name that what is there gets.
        #[serde(serialize_with = "lossy")]
        with: PathBuf,
        /// The id of what has the first name before: without it, doing it twice undoes it.
        outgoing: u64,
    },
    /// Makes a subvolume the one that is mounted when none is named.
    SetDefault {
        /// The subvolume.
        #[serde(serialize_with = "lossy")]
        at: PathBuf,
    },
    /// Sets or clears a subvolume's read-only flag.
    SetReadOnly {
        /// The subvolume.
        #[serde(serialize_with = "lossy")]
        at: PathBuf,
        /// Set or cleared.
        read_only: bool,
    },
    /// Deletes a subvolume in which no others lie.
    Delete {
        /// Where it is.
        #[serde(serialize_with = "lossy")]
        at: PathBuf,
        /// Its id, where it is known: nothing else is deleted in its place.
        id: Option<u64>,
    },
    /// Has everything before it on the disk before anything after it.
    Commit,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeDirectory { at } => write!(f, "make the directory {}", Shown(at)),
            Self::MakeDirectoryLike { at, like } => {
                write!(f, "make the directory {} like {}", Shown(at), Shown(like))
            }
            Self::Snapshot {
                from,
                to,
                read_only,
            } => {
                let how = if *read_only { ", read-only" } else { "" };
                write!(f, "snapshot {} as {}{how}", Shown(from), Shown(to))
            }
            Self::RemoveDirectory { at } => {
                write!(f, "remove the empty directory {}", Shown(at))
            }
            Self::Rename { from, to, .. } => write!(f, "rename {} to {}", Shown(from), Shown(to)),
            Self::Exchange { name, with, .. } => {
                write!(f, "exchange {} and {}", Shown(name), Shown(with))
            }
            Self::SetDefault { at } => write!(f, "make {} the default subvolume", Shown(at)),
            Self::SetReadOnly { at, read_only } => {
                let how = if *read_only { "read-only" } else { "writable" };
                write!(f, "make {} {how}", Shown(at))
            }
            Self::Delete { at, id } => {
                write!(f, "delete subvolume {}", Shown(at))?;
                match id {
                    Some(id) => write!(f, " (id {id})"),
                    None => Ok(()),
                }
            }
            Self::Commit => f.write_str("commit"),
        }
    }
}
