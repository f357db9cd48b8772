//! The acts of the kernel that the btrfs engine is made of.
//!
//! All paths are relative to the filesystem's top level (`subvolid=5`) and are raw names: they
//! may hold spaces, newlines and bytes that are no UTF-8. The live implementation is ioctls on a
//! private mount ([`crate::Live`]); the simulator in `backends/testing` is the other one. Each
//! method is one system call, or a look that changes nothing; the engine above holds all policy.

use crate::shown::lossy;
use serde::Serialize;
use state_api::{Changes, Outcome, Result, View};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The id of the top-level subvolume (`BTRFS_FS_TREE_OBJECTID` in `linux/btrfs_tree.h`).
pub const TOP_LEVEL: u64 = 5;

/// A subvolume as `BTRFS_IOC_GET_SUBVOL_INFO` describes it (`linux/btrfs.h`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Subvolume {
    /// The subvolume id; grows with every subvolume made.
    pub id: u64,
    /// Its own UUID.
    pub uuid: [u8; 16],
    /// The UUID of the subvolume it is a snapshot of; zero if it is none.
    pub parent_uuid: [u8; 16],
    /// `BTRFS_SUBVOL_RDONLY`.
    pub is_read_only: bool,
    /// The transaction that last changed an inode in it. Moves with content, and, unlike
    /// `generation`, not when a snapshot is taken of it.
    pub ctransid: u64,
    /// The transaction that made it.
    pub otransid: u64,
    /// When it was made, seconds since 1970 by the clock of that moment.
    pub otime_seconds: i64,
}

/// What a path of the top level is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Node {
    /// Nothing has that name.
    Missing,
    /// The top of a subvolume (inode 256 of a tree of its own).
    Subvolume(Subvolume),
    /// An ordinary directory of the surrounding subvolume.
    Directory,
    /// Anything else.
    Other,
}

/// A subvolume directly inside another, found by its ROOT_REF, never by a listing of paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Child {
    /// The child's id.
    pub id: u64,
    /// The id of the subvolume it lies in.
    pub parent: u64,
    /// Its path relative to the subvolume that was asked about.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
}

/// A place where part of this filesystem is mounted, in any namespace we can see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mounted {
    /// The path within the filesystem that is mounted there (`/root`, `/root/var/lib` for a bind).
    #[serde(serialize_with = "lossy")]
    pub root: PathBuf,
    /// The mount point.
    #[serde(serialize_with = "lossy")]
    pub at: PathBuf,
}

/// The filesystem as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Filesystem {
    /// Its UUID, hyphenated.
    pub uuid: String,
    /// Whether it can be written now.
    pub is_read_only: bool,
    /// The subvolume that a mount without `subvol=` gets.
    pub default_subvolume: u64,
}

/// The room on the filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Space {
    /// Free for unprivileged users, in bytes, as `statfs` estimates it.
    pub free_bytes: u64,
    /// The size of the filesystem, in bytes.
    pub total_bytes: u64,
}

/// One btrfs filesystem, through its top level.
pub trait Kernel {
    /// The filesystem as a whole.
    fn filesystem(&self) -> Result<Filesystem>;
    /// The room on it.
    fn space(&self) -> Result<Space>;
    /// What `path` is. The empty path is the top level itself.
    fn node(&self, path: &Path) -> Result<Node>;
    /// The names in a directory, sorted by bytes, without `.` and `..`.
    fn names(&self, dir: &Path) -> Result<Vec<OsString>>;
    /// Whether `path` below `base` resolves to something, symlinks followed *inside* `base` as if
    /// it were `/` (`openat2` with `RESOLVE_IN_ROOT`). For `sbin/init` in a blank.
    fn resolves(&self, base: &Path, path: &Path) -> Result<bool>;
    /// All subvolumes inside the subvolume `id`, at any depth, parents before children.
    fn children(&self, id: u64) -> Result<Vec<Child>>;
    /// Where subvolumes or directories of this filesystem are mounted, our own private mount left
    /// out.
    fn mounts(&self) -> Result<Vec<Mounted>>;
    /// Where the subvolume `new` may differ from the subvolume `old`, those inside left out;
    /// `None` if they have no common ancestor, or more than `most` inodes changed, or too many to be
    /// looked up one by one.
    fn changes(&self, old: &Path, new: &Path, most: usize) -> Result<Option<Changes>>;

    /// Makes the subvolume `to` a snapshot of the subvolume `from`. `EEXIST` if `to` exists.
    fn snapshot(&mut self, from: &Path, to: &Path, read_only: bool) -> Result<()>;
    /// Makes an empty subvolume, mode 0755. `EEXIST` if it exists.
    fn create(&mut self, at: &Path) -> Result<()>;
    /// Makes a directory of mode 0700; parents must exist.
    fn make_directory(&mut self, at: &Path) -> Result<Outcome>;
    /// Makes a directory with the owner and mode of the directory or subvolume `like`.
    fn make_directory_like(&mut self, at: &Path, like: &Path) -> Result<Outcome>;
    /// Removes an empty directory. `ENOTEMPTY` if it is not.
    fn remove_directory(&mut self, at: &Path) -> Result<Outcome>;
    /// Renames with `RENAME_NOREPLACE`: `EEXIST` if `to` exists, never *into* it.
    fn rename(&mut self, from: &Path, to: &Path) -> Result<()>;
    /// Exchanges two names (`RENAME_EXCHANGE`).
    fn exchange(&mut self, a: &Path, b: &Path) -> Result<()>;
    /// Commits the running transaction and waits: what was done before is on the disk after.
    fn commit(&mut self) -> Result<()>;
    /// Sets or clears `BTRFS_SUBVOL_RDONLY` of the subvolume with this id.
    fn set_read_only(&mut self, id: u64, read_only: bool) -> Result<Outcome>;
    /// Makes the subvolume with this id the default one.
    fn set_default(&mut self, id: u64) -> Result<Outcome>;
    /// Deletes the subvolume with this id. `ENOTEMPTY` while others lie in it.
    fn delete(&mut self, id: u64) -> Result<()>;
    /// Makes an empty file (a mark), or removes it.
    fn mark(&mut self, at: &Path, present: bool) -> Result<Outcome>;

    /// Opens a directory or subvolume for reading, nested subvolumes grafted.
    fn open(&self, path: &Path) -> Result<View>;
    /// A subvolume as a mount of its own, not attached anywhere: a system can run in it.
    fn mount(&self, path: &Path) -> Result<OwnedFd>;
}
