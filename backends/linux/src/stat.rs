//! What `statx` says about a file, in our own words.

use rustix::fs::{AtFlags, FileType, Statx, StatxAttributes, StatxFlags, statx};
use rustix::path::Arg;
use std::io;
use std::os::fd::AsFd;

/// What kind of thing an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Kind {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
    CharDevice,
    BlockDevice,
}

/// A point in time as filesystems keep it: before 1970 the seconds are negative and the
/// nanoseconds still count upwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Whole seconds since 1970, rounded towards the past.
    pub seconds: i64,
    /// 0 to 999 999 999, added to the seconds.
    pub nanoseconds: u32,
}

/// The identity of an inode while the machine runs: what two names of one file have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// The device; every btrfs subvolume and ZFS dataset has its own.
    pub device: u64,
    /// The inode number on it.
    pub inode: u64,
}

/// Everything `statx` knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The kind.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky (`0o7777`).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Apparent size in bytes.
    pub size: u64,
    /// Space taken, in bytes.
    pub allocated_bytes: u64,
    /// Names of this inode.
    pub links: u32,
    /// Which inode it is.
    pub id: FileId,
    /// Device number of a device node, as `makedev` packs it; 0 for everything else.
    pub device_number: u64,
    /// Last read.
    pub accessed: Time,
    /// Last change of content.
    pub modified: Time,
    /// Last change of content or metadata.
    pub changed: Time,
    /// When it was made, where the filesystem knows.
    pub born: Option<Time>,
    /// Whether something is mounted exactly here.
    pub is_mount_point: bool,
}

impl Stat {
    /// The space it takes that falls to one of its names.
    pub fn share_bytes(&self) -> u64 {
        self.allocated_bytes / u64::from(self.links.max(1))
    }

    /// How much data it has that falls to one of its names, as far as can be told without reading: less than
    /// its size where it has holes.
    pub fn data_bytes(&self) -> u64 {
        self.size.min(self.share_bytes())
    }

    /// Asks about `name` in `dir` (the directory itself for an empty name), never following a
    /// symlink and never triggering an automount.
    pub fn of(dir: impl AsFd, name: impl Arg) -> io::Result<Self> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH;
        let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        Ok(Self::from_statx(&statx(dir, name, flags, mask)?))
    }

    /// Asks about an open file.
    pub fn of_open(file: impl AsFd) -> io::Result<Self> {
        Self::of(file, c"")
    }

    fn from_statx(x: &Statx) -> Self {
        let time = |t: rustix::fs::StatxTimestamp| Time {
            seconds: t.tv_sec,
            nanoseconds: t.tv_nsec,
        };
        let mode = u32::from(x.stx_mode);
        Self {
            kind: match FileType::from_raw_mode(mode) {
                FileType::Directory => Kind::Directory,
                FileType::Symlink => Kind::Symlink,
                FileType::Fifo => Kind::Fifo,
                FileType::Socket => Kind::Socket,
                FileType::CharacterDevice => Kind::CharDevice,
                FileType::BlockDevice => Kind::BlockDevice,
                FileType::RegularFile | FileType::Unknown => Kind::File,
            },
            mode: mode & 0o7777,
            uid: x.stx_uid,
            gid: x.stx_gid,
            size: x.stx_size,
            allocated_bytes: x.stx_blocks.saturating_mul(512),
            links: x.stx_nlink,
            id: FileId {
                device: rustix::fs::makedev(x.stx_dev_major, x.stx_dev_minor),
                inode: x.stx_ino,
            },
            device_number: rustix::fs::makedev(x.stx_rdev_major, x.stx_rdev_minor),
            accessed: time(x.stx_atime),
            modified: time(x.stx_mtime),
            changed: time(x.stx_ctime),
            born: (x.stx_mask & StatxFlags::BTIME.bits() != 0).then(|| time(x.stx_btime)),
            is_mount_point: x.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        }
    }
}
