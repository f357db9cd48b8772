//! What a survey tells of one entry: its path on the machine, its source in the store. Pure.

use super::entry::{EntryKind, Ownership};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// All that was seen of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What is at its path on the machine.
    pub live: Live,
    /// What is at its path in the store.
    pub source: Source,
    /// The directories that lead to it, outermost first; looked at only if something is missing.
    pub parents: Vec<Parent>,
    /// The two ids, for `/etc/machine-id`.
    pub machine_ids: Option<MachineIds>,
    /// The two files, for a copied entry.
    pub copies: Option<Copies>,
}

/// The two files of a copied entry, as far as they are there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copies {
    /// The one on the machine.
    pub live: Option<Print>,
    /// The one in the store.
    pub stored: Option<Print>,
    /// What both were when they were last the same at this boot.
    pub agreed: Option<Digest>,
}

/// What one file is, and what tells whether it still is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Print {
    /// Its content and all that belongs to it but times.
    pub digest: Digest,
    /// When it was looked at.
    pub stamp: Stamp,
}

/// A digest of a file's content, owner, mode, attributes and ACL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest(pub String);

/// What is at an entry's path on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Live {
    /// Nothing.
    Missing,
    /// The very thing in the store, by a mount or a link.
    InPlace,
    /// The same kind of thing, with nothing in it.
    Empty(EntryKind, Ownership, Stamp),
    /// The same kind of thing, with something in it.
    Full(EntryKind, Hidden, Stamp),
    /// A mount of something that the store held under this name and no longer does.
    Outdated,
    /// A mount of something else.
    Mounted,
    /// A symlink that points elsewhere.
    Link(PathBuf),
    /// Neither file, directory nor symlink: which.
    Other(&'static str),
    /// Not to be reached: a parent is no directory.
    Behind(Obstacle),
    /// It could not be looked at.
    Unreadable(String),
}

/// Where what an entry would hide is to be found, once it is hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hidden {
    /// All of it is in the store.
    InStore,
    /// What of it is not in the store is in blank.
    InBlank,
    /// Some of it is nowhere else.
    Nowhere {
        /// The first of it.
        example: PathBuf,
        /// How many paths there are.
        count: usize,
    },
}

/// What tells whether something is still what was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Stamp {
    /// The inode number.
    pub inode: u64,
    /// The size.
    pub size: u64,
    /// The time of the last change of content, seconds and nanoseconds.
    pub modified: (i64, u32),
}

/// What is at an entry's path in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nothing.
    Missing,
    /// A thing of this kind.
    Present(EntryKind, Ownership),
    /// Neither a file nor a directory: which.
    Other(&'static str),
    /// Not to be reached: a parent is no directory.
    Behind(Obstacle),
    /// It could not be looked at.
    Unreadable(String),
}

/// A parent that is no directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// Where.
    pub at: PathBuf,
    /// What it is: `a symlink`.
    pub is: &'static str,
}

/// A directory that leads to an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// Its path on the machine.
    pub path: PathBuf,
    /// The owner and mode it has there, if it is there.
    pub live: Option<Ownership>,
    /// The owner and mode it has in the store, if it is there.
    pub stored: Option<Ownership>,
}

/// The two ids of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineIds {
    /// The one on the machine.
    pub live: MachineId,
    /// The one in the store.
    pub stored: MachineId,
}

/// The content of a machine-id(5) file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineId {
    /// No file, an empty one, or `uninitialized`: the first boot has yet to make one.
    None,
    /// This id.
    Is(String),
    /// Something that is no id.
    Strange,
}

impl MachineId {
    /// Reads the content of a machine-id(5) file.
    pub fn parse(text: &[u8]) -> Self {
        let is_id = |id: &[u8]| id.len() == 32 && id.iter().all(u8::is_ascii_hexdigit);
        match text.trim_ascii() {
            b"" | b"uninitialized" => Self::None,
            id if is_id(id) => Self::Is(String::from_utf8_lossy(id).into_owned()),
            _ => Self::Strange,
        }
    }
}
