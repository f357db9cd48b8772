//! One record of a manifest: everything about one path of one store.

use super::Digest;
use crate::archive::machine::Machine;
use crate::archive::member::{Extra, Kind, MOST_STORED, Member};
use crate::archive::pax::{self, Time};
use crate::archive::{Bad, NAME_MAX, XATTR_MAX};

/// Everything about one path of one store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it is on the machine, relative to `/`; empty for the store's top.
    pub path: Vec<u8>,
    /// Which of the manifest's stores holds it.
    pub store: usize,
    /// What it is.
    pub what: What,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The last change of its content.
    pub modified: Time,
    /// What `stat` knows nothing of.
    pub extra: Extra,
    /// Whether the inode has more than one name.
    pub has_links: bool,
    /// Which archive of the chain has its member; the full one is 0.
    pub archive: usize,
    /// Where the member's headers begin in that archive's tar.
    pub offset: u64,
    /// The inode it was read from, and that inode's last change: how a later run knows, without
    /// reading it, that it is the same still.
    pub inode: u64,
    /// See `inode`.
    pub changed: Time,
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its size, holes included.
        size: u64,
        /// The digest of its content, holes read as zeros.
        sha256: Digest,
        /// Whether it has holes.
        is_sparse: bool,
    },
    /// A symlink.
    Symlink {
        /// Where it points, any bytes.
        target: Vec<u8>,
    },
    /// Another name of an earlier path of the same store.
    Link {
        /// That path.
        target: Vec<u8>,
    },
    /// A named pipe.
    Fifo,
}

impl What {
    /// How much data it has, in bytes, as far as it can be told: that of a file with holes is in the
    /// totals of all entries only.
    pub fn data_bytes(&self) -> u64 {
        match self {
            Self::File {
                size,
                is_sparse: false,
                ..
            } => *size,
            _ => 0,
        }
    }
}

impl Record {
    /// What no inode has is not believed, and takes no memory later on.
    pub(super) fn check_limits(&self) -> Result<(), Bad> {
        if matches!(self.what, What::File { size, .. } if size > MOST_STORED) {
            return Err("a size that no file has".into());
        }
        let extra = &self.extra;
        let is_name = |name: &[u8]| (1..=NAME_MAX).contains(&name.len()) && !name.contains(&0);
        if !extra.xattrs.keys().all(|name| is_name(name)) {
            return Err("an attribute with an impossible name".into());
        }
        if extra.xattrs.values().any(|value| value.len() > XATTR_MAX) {
            return Err("an attribute of more than 64 KiB".into());
        }
        let texts = [&extra.access_acl, &extra.default_acl, &extra.flags];
        let texts = texts
            .iter()
            .map(|text| text.as_ref().map_or(0, String::len));
        let pairs = extra.xattrs.iter().map(|(n, v)| n.len() + v.len());
        if texts.chain(pairs).sum::<usize>() > pax::MOST_BYTES {
            return Err("attributes of more than 1 MiB".into());
        }
        Ok(())
    }

    /// The member that it announces, with the owners' names that `machine` has; `None` if it does
    /// not tell how much of a file with holes is stored.
    pub fn member(&self, machine: &Machine) -> Option<Member> {
        let (kind, stored_bytes) = match &self.what {
            What::Directory => (Kind::Directory, 0),
            What::Fifo => (Kind::Fifo, 0),
            What::File {
                is_sparse: true, ..
            } => return None,
            What::File { size, .. } => (Kind::File, *size),
            What::Symlink { target } => (
                Kind::Symlink {
                    target: target.clone(),
                },
                0,
            ),
            What::Link { target } => (
                Kind::Link {
                    target: target.clone(),
                },
                0,
            ),
        };
        Some(Member {
            path: self.path.clone(),
            kind,
            stored_bytes,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            user: machine.user(self.uid).to_vec(),
            group: machine.group(self.gid).to_vec(),
            modified: self.modified,
            extra: self.extra.clone(),
        })
    }

    /// Whether `member` is what this record announces. Owners' names are not the record's matter.
    pub fn announces(&self, member: &Member) -> bool {
        let kind = match (&self.what, &member.kind) {
            (What::Directory, Kind::Directory) | (What::Fifo, Kind::Fifo) => true,
            (
                What::File {
                    size, is_sparse, ..
                },
                Kind::File,
            ) => !is_sparse && *size == member.stored_bytes,
            (
                What::File {
                    size, is_sparse, ..
                },
                Kind::Sparse { real_size },
            ) => *is_sparse && size == real_size,
            (What::Symlink { target }, Kind::Symlink { target: other })
            | (What::Link { target }, Kind::Link { target: other }) => target == other,
            _ => false,
        };
        // A further name of an inode says nothing about it but which one it is.
        let extra = if matches!(self.what, What::Link { .. }) {
            member.extra.is_none() && self.extra.is_none()
        } else {
            member.extra == self.extra
        };
        kind && extra
            && self.path == member.path
            && self.mode == member.mode
            && self.uid == member.uid
            && self.gid == member.gid
            && self.modified == member.modified
    }
}
