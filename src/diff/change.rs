//! One difference between two trees, as a value.

use crate::paths;
use serde::{Serialize, Serializer};
use state_linux::stat::{Kind, Time};
use std::path::{Path, PathBuf};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Where, relative to the top of the tree; empty for the top itself. As JSON, where people see
    /// it: from `/`.
    #[serde(serialize_with = "absolute")]
    pub path: PathBuf,
    /// What happened there.
    #[serde(flatten)]
    pub what: What,
    /// What is there now, or was before it was deleted.
    #[serde(serialize_with = "kind")]
    pub kind: Kind,
    /// Where a symlink points now.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "target")]
    pub target: Option<PathBuf>,
    /// The size of a file; 0 for everything else.
    pub size_bytes: u64,
    /// When its content was last changed.
    #[serde(rename = "modified_seconds", serialize_with = "seconds")]
    pub modified: Time,
    /// Why nobody need be told of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quiet: Option<Quiet>,
}

impl Change {
    /// The same change seen from further up: the tree lies at `top`.
    pub fn lies_below(&mut self, top: &Path) {
        let below = |path: &mut PathBuf| {
            *path = match path.as_os_str().is_empty() {
                true => top.to_owned(),
                false => top.join(&*path),
            }
        };
        below(&mut self.path);
        if let What::Renamed { from } = &mut self.what {
            below(from);
        }
    }
}

/// What happened to a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
pub enum What {
    /// It is new.
    Created,
    /// It is not what it was.
    Changed {
        /// In which respects.
        aspects: Vec<Aspect>,
    },
    /// It is gone.
    Deleted,
    /// It had another path.
    Renamed {
        /// Which.
        #[serde(serialize_with = "absolute")]
        from: PathBuf,
    },
}

/// A respect in which something changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Aspect {
    /// It is another kind of thing.
    Kind,
    /// The bytes of a file.
    Content,
    /// What a symlink points to, or which device a device node is.
    Target,
    Mode,
    Owner,
    /// Extended attributes, ACLs among them.
    Xattr,
    /// Inode flags (`chattr`).
    Flags,
}

impl Aspect {
    /// The word for it, the same in text and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Content => "content",
            Self::Target => "target",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Xattr => "xattr",
            Self::Flags => "flags",
        }
    }
}

/// Why a change is not worth telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quiet {
    /// An entry is put in place there, or it only leads to one.
    Entry,
    /// Something is mounted there.
    Mount,
    /// A link that the system's own configuration makes.
    Declared,
    /// Well known to be made anew at every boot.
    Noise,
    /// The last past roots had the same there, each made anew.
    Learned,
    /// The configuration says to ignore it.
    Ignored,
    /// A directory that holds nothing but what is quiet.
    Leads,
}

impl Quiet {
    /// Why, in a few words.
    pub fn word(self) -> &'static str {
        match self {
            Self::Entry => "kept",
            Self::Mount => "mount point",
            Self::Declared => "made by NixOS",
            Self::Noise => "made anew",
            Self::Learned => "the same after every reset",
            Self::Ignored => "ignored",
            Self::Leads => "leads to what is quiet",
        }
    }
}

/// The word for a kind of thing.
pub fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Symlink => "symlink",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
        Kind::CharDevice => "char-device",
        Kind::BlockDevice => "block-device",
    }
}

fn absolute<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    paths::serialize(&Path::new("/").join(path), to)
}

fn kind<S: Serializer>(kind: &Kind, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(word(*kind))
}

fn target<S: Serializer>(target: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    match target {
        Some(path) => paths::serialize(path, to),
        None => to.serialize_none(),
    }
}

fn seconds<S: Serializer>(time: &Time, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_i64(time.seconds)
}
