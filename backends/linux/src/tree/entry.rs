//! One thing found by a walk, and reading it.

use crate::metadata::{Metadata, PROC_FD};
use crate::stat::{Kind, Stat};
use rustix::fs::{Mode, OFlags, fstatfs, openat, readlinkat};
use rustix::io::Errno;
use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The inode number of the empty directory that btrfs shows in a snapshot in place of a nested
/// subvolume (`BTRFS_EMPTY_SUBVOL_DIR_OBJECTID`).
const BTRFS_EMPTY_SUBVOLUME: u64 = 2;
/// `BTRFS_SUPER_MAGIC` in `linux/magic.h`.
const BTRFS_MAGIC: u64 = 0x9123_683E;

/// One thing found by a [`Walk`](super::Walk).
#[derive(Clone)]
pub struct Entry {
    /// Where it is, relative to the top; empty for the top itself.
    pub path: PathBuf,
    /// What it is.
    pub stat: Stat,
    /// Why the walk does not go into this directory although it exists.
    pub boundary: Option<Boundary>,
    /// Whether it cannot change any more: asking twice gives the same.
    pub(super) is_frozen: bool,
    pub(super) at: At,
}

/// A directory whose content belongs to something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// Something is mounted there.
    Mount,
    /// A nested volume that no graft continues.
    Volume,
}

/// Something that could not be read. The walk goes on behind it.
#[derive(Debug)]
pub struct Unreadable {
    /// Where it is, relative to the top.
    pub path: PathBuf,
    /// What was attempted.
    pub doing: &'static str,
    /// Why it failed.
    pub source: io::Error,
    /// Whether others may have changed it meanwhile: it is in no snapshot.
    pub is_live: bool,
}

impl Unreadable {
    /// Whether nothing is there (any more).
    pub(super) fn is_missing(&self) -> bool {
        Errno::from_io_error(&self.source) == Some(Errno::NOENT)
    }

    /// Whether it went away between being found and being looked at.
    pub fn went_away(&self) -> bool {
        self.is_live && self.is_missing()
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.doing, self.path.display(), self.source)
    }
}

impl std::error::Error for Unreadable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

#[derive(Clone)]
pub(super) enum At {
    /// A name in an open directory.
    Child(Arc<OwnedFd>, CString),
    /// An open directory: the top, or a graft's.
    Top(Arc<OwnedFd>),
}

impl Entry {
    /// Its name; empty for the top.
    pub fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }

    /// Whether it is the top of the tree, or of a volume that continues it. ZFS makes up the inode's number of
    /// the top of each snapshot.
    pub fn is_top(&self) -> bool {
        matches!(self.at, At::Top(_))
    }

    /// Whether it cannot change any more, nor go away.
    pub fn is_frozen(&self) -> bool {
        self.is_frozen
    }

    /// Whether this is the empty directory that stands for a nested volume in a snapshot.
    pub fn is_hollow(&self) -> bool {
        match &self.at {
            At::Child(dir, _) => self.boundary.is_some() && is_hollow_volume(dir, &self.stat),
            At::Top(_) => false,
        }
    }

    /// Opens a regular file or directory for reading, without touching its access time where the
    /// kernel lets us, and makes sure that it still is the one that was found.
    pub fn open(&self) -> Result<OwnedFd, Unreadable> {
        self.try_open().map_err(|e| self.unreadable("opening", e))
    }

    fn try_open(&self) -> io::Result<OwnedFd> {
        let mut flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match self.stat.kind {
            Kind::Directory => flags |= OFlags::DIRECTORY,
            Kind::File => {}
            _ => return Err(Errno::OPNOTSUPP.into()),
        }
        let open = |flags| match &self.at {
            At::Child(dir, name) => openat(dir, name, flags, Mode::empty()),
            At::Top(dir) => openat(dir, c".", flags, Mode::empty()),
        };
        let fd = match open(flags | OFlags::NOATIME) {
            Err(Errno::PERM) => open(flags)?, // O_NOATIME is the owner's and root's alone
            other => other?,
        };
        if self.is_frozen {
            return Ok(fd);
        }
        let now = Stat::of_open(&fd)?;
        if now.id != self.stat.id || now.kind != self.stat.kind {
            return Err(io::Error::other("it was replaced while being read"));
        }
        Ok(fd)
    }

    /// The target of a symlink, as raw bytes.
    pub fn link_target(&self) -> Result<OsString, Unreadable> {
        match &self.at {
            At::Child(dir, name) => readlinkat(dir, name, Vec::new()),
            At::Top(_) => Err(Errno::INVAL),
        }
        .map(|target| OsString::from_vec(target.into_bytes()))
        .map_err(|e| self.unreadable("reading the link", e))
    }

    /// Extended attributes, ACLs and inode flags.
    pub fn metadata(&self) -> Result<Metadata, Unreadable> {
        let read = match &self.at {
            At::Child(dir, name) if !matches!(self.stat.kind, Kind::File | Kind::Directory) => {
                let mut path = format!("{PROC_FD}/{}/", dir.as_raw_fd()).into_bytes();
                path.extend_from_slice(name.as_bytes());
                Metadata::read_path(Path::new(OsStr::from_bytes(&path)))
            }
            _ => self.try_open().and_then(all_of),
        };
        read.map_err(|e| self.unreadable("reading the attributes of", e))
    }

    /// The same through the file that [`Entry::open`] gave: saves opening it again.
    pub fn metadata_of(&self, open: impl AsFd) -> Result<Metadata, Unreadable> {
        all_of(open).map_err(|e| self.unreadable("reading the attributes of", e))
    }

    /// Asks again: whether it changed while it was read.
    pub fn stat_again(&self) -> io::Result<Stat> {
        match &self.at {
            _ if self.is_frozen => Ok(self.stat),
            At::Child(dir, name) => Stat::of(dir, name),
            At::Top(dir) => Stat::of_open(dir),
        }
    }

    pub(super) fn unreadable(
        &self,
        doing: &'static str,
        source: impl Into<io::Error>,
    ) -> Unreadable {
        Unreadable {
            path: self.path.clone(),
            doing,
            source: source.into(),
            is_live: !self.is_frozen,
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("path", &self.path)
            .field("stat", &self.stat)
            .field("boundary", &self.boundary)
            .finish_non_exhaustive()
    }
}

fn all_of(open: impl AsFd) -> io::Result<Metadata> {
    let mut metadata = Metadata::read_open(&open)?;
    metadata.read_flags(open)?;
    Ok(metadata)
}

/// Whether this is the empty directory that stands for a nested subvolume in a btrfs snapshot.
pub(super) fn is_hollow_volume(dir: impl AsFd, stat: &Stat) -> bool {
    stat.id.inode == BTRFS_EMPTY_SUBVOLUME
        && fstatfs(dir).is_ok_and(|fs| fs.f_type as u64 == BTRFS_MAGIC)
}
