//! What a file carries besides its content and its `stat`: extended attributes, ACLs, inode
//! flags, holes. Reading and setting, without deciding.

use crate::acl::{self, Acl};
use crate::stat::Time;
use rustix::fs::{
    AtFlags, Gid, IFlags, SeekFrom, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chownat,
    fgetxattr, flistxattr, fsetxattr, futimens, ioctl_getflags, ioctl_setflags, lgetxattr,
    llistxattr, lsetxattr, seek, utimensat,
};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The directory of this process's open files: the way to give the kernel a descriptor where it
/// takes only a path.
pub(crate) const PROC_FD: &str = "/proc/self/fd";

/// The kernel's limit of an attribute's value and of the list of names (`linux/limits.h`).
const XATTR_MAX: usize = 64 << 10;

/// XFS lists every ACL a second time under its own name for it.
const XFS_ACL: &[u8] = b"trusted.SGI_ACL_";

/// Extended attributes, ACLs and inode flags of one inode.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Every attribute that can be listed, by name, ACLs left out.
    pub xattrs: BTreeMap<OsString, Vec<u8>>,
    /// The access ACL, where it says more than the mode.
    pub access_acl: Option<Acl>,
    /// The default ACL of a directory.
    pub default_acl: Option<Acl>,
    /// The inode flags that a user can set.
    pub flags: Flags,
}

impl Metadata {
    /// Attributes and ACLs of what is at the end of `path`; a symlink there is not followed.
    pub(crate) fn read_path(path: &Path) -> io::Result<Self> {
        Self::read(
            |buffer| llistxattr(path, buffer),
            |name, buffer| lgetxattr(path, name, buffer),
        )
    }

    /// Attributes and ACLs of an open file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_open(file: impl AsFd) -> io::Result<Self> {
        Self::read(
            |buffer| flistxattr(&file, buffer),
            |name, buffer| fgetxattr(&file, name, buffer),
        )
    }

    /// Inode flags of an open file; none where the filesystem has none.
    pub(crate) fn read_flags(&mut self, file: impl AsFd) -> io::Result<()> {
        self.flags = Flags::of(file)?;
        Ok(())
    }

    fn read(
        list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
        get: impl Fn(&CStr, &mut [u8]) -> rustix::io::Result<usize>,
    ) -> io::Result<Self> {
        let mut metadata = Self::default();
        // Nearly every file has none: ask with little room first.
        let names = match fill(256, |buffer| list(buffer)) {
            Err(Errno::OPNOTSUPP) => return Ok(metadata),
            names => names?,
        };
        for name in names.split_inclusive(|byte| *byte == 0) {
            let name = CStr::from_bytes_with_nul(name).map_err(|_| Errno::INVAL)?;
            if name.to_bytes().starts_with(XFS_ACL) {
                continue;
            }
            let value = match fill(256, |buffer| get(name, buffer)) {
                Err(Errno::NODATA) => continue, // removed since it was listed
                value => value?,
            };
            let decode = |value: &[u8]| Acl::from_bytes(value).map_err(io::Error::other);
            if name.to_bytes() == acl::ACCESS.as_bytes() {
                metadata.access_acl = Some(decode(&value)?);
            } else if name.to_bytes() == acl::DEFAULT.as_bytes() {
                metadata.default_acl = Some(decode(&value)?);
            } else {
                let name = OsString::from_vec(name.to_bytes().to_vec());
                metadata.xattrs.insert(name, value);
            }
        }
        Ok(metadata)
    }
}

/// Calls with a small buffer, and with the largest if it did not suffice.
fn fill(
    small: usize,
    call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = vec![0; small];
    let length = match call(&mut buffer) {
        Err(Errno::RANGE) => {
            buffer.resize(XATTR_MAX, 0);
            call(&mut buffer)?
        }
        length => length?,
    };
    buffer.truncate(length);
    Ok(buffer)
}

/// `FS_NOCOMP_FL`, which rustix does not name.
const NO_COMPRESS: IFlags = IFlags::from_bits_retain(linux_raw_sys::general::FS_NOCOMP_FL);

/// The inode flags that archives keep, by their stable names, in alphabetical order.
const FLAGS: &[(IFlags, &str)] = &[
    (IFlags::APPEND, "append-only"),
    (IFlags::COMPRESSED, "compress"),
    (IFlags::DIRSYNC, "dirsync"),
    (IFlags::IMMUTABLE, "immutable"),
    (IFlags::JOURNALING, "journal-data"),
    (IFlags::NOATIME, "no-atime"),
    (NO_COMPRESS, "no-compress"),
    (IFlags::NOCOW, "no-cow"),
    (IFlags::NODUMP, "no-dump"),
    (IFlags::NOTAIL, "no-tail"),
    (IFlags::PROJECT_INHERIT, "project-inherit"),
    (IFlags::SECURE_REMOVAL, "secure-removal"),
    (IFlags::SYNC, "sync"),
    (IFlags::TOPDIR, "top-dir"),
    (IFlags::UNRM, "undeletable"),
];

const fn flag(bits: u32) -> IFlags {
    IFlags::from_bits_retain(bits)
}

/// What flags tell of and archives do not keep, in words.
const NOT_KEPT: &[(IFlags, &str)] = &[
    (
        flag(linux_raw_sys::general::FS_CASEFOLD_FL),
        "names that ignore case",
    ),
    (
        flag(linux_raw_sys::general::FS_DAX_FL),
        "direct access (DAX)",
    ),
    (
        flag(linux_raw_sys::general::FS_ENCRYPT_FL),
        "encryption by the filesystem",
    ),
    (flag(linux_raw_sys::general::FS_VERITY_FL), "fs-verity"),
    (IFlags::PROJECT_INHERIT, "the number of the project"),
];

/// Inode flags (`chattr`) that a user can set; what filesystems keep for themselves is left out.
/// They are equal if what archives keep of them is.
#[derive(Debug, Clone, Copy)]
pub struct Flags(IFlags);

impl PartialEq for Flags {
    fn eq(&self, other: &Self) -> bool {
        self.kept() == other.kept()
    }
}

impl Eq for Flags {}

impl Default for Flags {
    fn default() -> Self {
        Self::NONE
    }
}

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(IFlags::empty());
    /// Those that only work when they are set before there is content.
    pub const BEFORE_CONTENT: Self =
        Self(IFlags::NOCOW.union(IFlags::COMPRESSED).union(NO_COMPRESS));
    /// Those that forbid every further change.
    pub const SEALS: Self = Self(IFlags::IMMUTABLE.union(IFlags::APPEND));

    /// The flags of an open file; none where the filesystem knows no flags.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        match ioctl_getflags(file) {
            Ok(flags) => Ok(Self::of_bits(flags)),
            Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => Ok(Self::NONE),
            Err(error) => Err(error.into()),
        }
    }

    fn of_bits(flags: IFlags) -> Self {
        let told = NOT_KEPT.iter().map(|(flag, _)| *flag);
        Self(flags & (Self::known() | told.collect()))
    }

    fn kept(self) -> IFlags {
        self.0 & Self::known()
    }

    /// What the file has that archives do not keep, in words.
    pub fn not_kept(self) -> impl Iterator<Item = &'static str> {
        let told = NOT_KEPT.iter();
        told.filter(move |(flag, _)| self.0.contains(*flag))
            .map(|(_, what)| *what)
    }

    /// Adds these flags to an open file's. Says which did not take, where the filesystem ignores
    /// some instead of refusing.
    pub fn add_to(self, file: impl AsFd) -> io::Result<Self> {
        if self.is_none() {
            return Ok(Self::NONE);
        }
        let present = ioctl_getflags(&file)?;
        ioctl_setflags(&file, present | self.kept())?;
        Ok(Self(self.kept() - ioctl_getflags(&file)?))
    }

    /// Takes these flags from an open file's.
    ///
    /// # Errors
    /// The kernel refuses: sealing and unsealing need `CAP_LINUX_IMMUTABLE`.
    pub fn remove_from(self, file: impl AsFd) -> io::Result<()> {
        let present = ioctl_getflags(&file)?;
        Ok(ioctl_setflags(&file, present - self.kept())?)
    }

    /// Whether no flag is set.
    pub fn is_none(self) -> bool {
        self.kept().is_empty()
    }

    /// Those of these that are also in `other`.
    #[must_use]
    pub fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those of these that are not in `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }

    /// Each of these by itself.
    pub fn each(self) -> impl Iterator<Item = Self> {
        let set = FLAGS.iter().filter(move |(flag, _)| self.0.contains(*flag));
        set.map(|(flag, _)| Self(*flag))
    }

    fn known() -> IFlags {
        FLAGS.iter().map(|(flag, _)| *flag).collect()
    }
}

/// Names joined by commas, in alphabetical order.
impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = FLAGS.iter().filter(|(flag, _)| self.0.contains(*flag));
        for (n, (_, name)) in set.enumerate() {
            if n > 0 {
                f.write_str(",")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

impl FromStr for Flags {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Self> {
        let mut flags = Self::NONE;
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let known = FLAGS.iter().find(|(_, name)| *name == word);
            let (flag, _) = known.ok_or_else(|| io::Error::other("an unknown inode flag"))?;
            flags.0 |= *flag;
        }
        if flags.to_string() == text {
            Ok(flags)
        } else {
            Err(io::Error::other("inode flags in disorder"))
        }
    }
}

/// A stretch of a file that holds data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

/// The data of an open file of `size` bytes, holes left out, in order. A file without holes is
/// one extent; an empty file or one that is all hole has none.
pub fn data_extents(file: impl AsFd, size: u64) -> io::Result<Vec<Extent>> {
    let mut extents = Vec::new();
    let mut end = 0;
    while end < size {
        let offset = match seek(&file, SeekFrom::Data(end)) {
            Err(Errno::NXIO) => break, // only a hole is left
            Err(Errno::INVAL | Errno::OPNOTSUPP) if end == 0 => 0, // holes are not known here
            offset => offset?,
        };
        if offset >= size {
            break;
        }
        end = match seek(&file, SeekFrom::Hole(offset)) {
            Err(Errno::INVAL | Errno::OPNOTSUPP) => size,
            hole => hole?,
        }
        .min(size);
        if end <= offset {
            return Err(io::Error::other("its holes moved while being read"));
        }
        extents.push(Extent {
            offset,
            length: end - offset,
        });
    }
    seek(&file, SeekFrom::Start(0))?;
    Ok(extents)
}

/// A name in an open directory, as the calls below take it. With the empty name it is what is
/// open itself, a directory or a file.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a, Fd> {
    /// The directory, or with an empty name the file.
    pub dir: Fd,
    /// The name in it.
    pub name: &'a CStr,
}

impl<Fd: AsFd> Place<'_, Fd> {
    /// Sets owner and group of what is there, never following a symlink.
    pub fn set_owner(&self, uid: u32, gid: u32) -> io::Result<()> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        Ok(chownat(&self.dir, self.name, Some(uid), Some(gid), flags)?)
    }

    /// Sets the time of the last change of content, and leaves that of the last read.
    pub fn set_modified(&self, time: Time) -> io::Result<()> {
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: time.seconds,
                tv_nsec: time.nanoseconds.into(),
            },
        };
        if self.name.is_empty() {
            return Ok(futimens(&self.dir, &times)?);
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(utimensat(&self.dir, self.name, &times, flags)?)
    }

    /// Sets one attribute, never following a symlink.
    pub fn set_xattr(&self, name: &CStr, value: &[u8]) -> io::Result<()> {
        if self.name.is_empty() {
            return Ok(fsetxattr(&self.dir, name, value, XattrFlags::empty())?);
        }
        let mut path = PathBuf::from(format!("{PROC_FD}/{}", self.dir.as_fd().as_raw_fd()));
        path.push(OsString::from_vec(self.name.to_bytes().to_vec()));
        Ok(lsetxattr(path, name, value, XattrFlags::empty())?)
    }

    /// Sets an ACL: [`acl::ACCESS`] or [`acl::DEFAULT`].
    pub fn set_acl(&self, kind: &str, acl: &Acl) -> io::Result<()> {
        let kind = CString::new(kind).expect("the names of the two kinds hold no NUL");
        self.set_xattr(&kind, &acl.to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_one_spelling() {
        assert!(FLAGS.is_sorted_by_key(|(_, name)| *name));
        let flags: Flags = "append-only,no-cow,no-dump".parse().unwrap();
        assert_eq!(flags.to_string(), "append-only,no-cow,no-dump");
        assert_eq!(flags.without(Flags::SEALS).to_string(), "no-cow,no-dump");
        assert_eq!("".parse::<Flags>().unwrap(), Flags::NONE);
        for bad in ["no-dump,no-cow", "no-cow,no-cow", "extents", ",no-cow"] {
            assert!(bad.parse::<Flags>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_kept_is_told_and_no_difference() {
        use linux_raw_sys::general as g;
        let bits = g::FS_CASEFOLD_FL | g::FS_VERITY_FL | g::FS_EXTENT_FL;
        let flags = Flags::of_bits(IFlags::NODUMP | flag(bits));
        assert_eq!(flags.to_string(), "no-dump");
        assert_eq!(flags, Flags(IFlags::NODUMP));
        let told: Vec<_> = flags.not_kept().collect();
        assert_eq!(told, ["names that ignore case", "fs-verity"]);
        assert!(flags.without(Flags(IFlags::NODUMP)).is_none());
    }

    #[test]
    fn holes_are_found() {
        use std::os::unix::fs::FileExt;
        let dir = tempfile::tempdir().unwrap();
        let file = std::fs::File::create_new(dir.path().join("file")).unwrap();
        assert_eq!(data_extents(&file, 0).unwrap(), []);
        file.set_len(1 << 20).unwrap();
        let extent = |offset, length| Extent { offset, length };
        let all_data = extent(0, 1 << 20); // where the filesystem knows no holes
        let found = data_extents(&file, 1 << 20).unwrap();
        assert!(found.is_empty() || found == [all_data], "{found:?}");
        file.write_all_at(&[7; 65536], 262_144).unwrap();
        let found = data_extents(&file, 1 << 20).unwrap();
        assert!(
            found == [extent(262_144, 65536)] || found == [all_data],
            "{found:?}"
        );
    }
}
