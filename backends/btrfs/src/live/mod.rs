//! The real kernel: ioctls on a private mount of the top level.

use crate::shown::Shown;
use crate::{Child, Filesystem, Kernel, Mounted, Node, Space};
use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, ResolveFlags, fstatvfs, mkdirat, openat, openat2,
    renameat_with, unlinkat,
};
use rustix::io::Errno;
use state_api::{Changes, Error, Outcome, Result, View};
use state_linux::btrfs;
use state_linux::metadata::Place as Dressed;
use state_linux::mount::{self, Attributes};
use state_linux::stat::Stat;
use state_linux::tree::{self, DIRECTORY};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

mod changes;
mod look;
mod place;

pub use place::Place;

use look::hyphenated;

/// A btrfs filesystem through a mount of its top level that nobody else sees: it has no mount
/// point, is in no namespace, and is gone with this value, also when the process is killed.
#[derive(Debug)]
pub struct Live {
    device: PathBuf,
    top: OwnedFd,
    /// The bare mount; what is opened through it outlives it.
    #[expect(
        dead_code,
        reason = "held so that the mount stays whole while this lives"
    )]
    mount: OwnedFd,
}

impl Live {
    /// The filesystem on a device (any one of several).
    ///
    /// # Errors
    /// The device is missing, holds no btrfs, or lacks another one that it needs.
    pub fn open(device: &Path) -> Result<Self> {
        let error = |source: io::Error| {
            Error::os(
                format!("mounting the top level of {}", Shown(device)),
                source,
            )
        };
        let source = ("source", Some(device.as_os_str()));
        let top_level = ("subvolid", Some(OsStr::new("5")));
        // No access times: looking at a tree must not count as writing to it.
        let attributes = Attributes::MOUNT_ATTR_NOATIME | mount::DATA_ONLY;
        let mount = match mount::detached("btrfs", &[source, top_level], attributes) {
            // A device that cannot be written can still be looked at.
            Err(refused)
                if matches!(
                    refused.kind(),
                    io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
                ) =>
            {
                mount::detached("btrfs", &[source, top_level, ("ro", None)], attributes)
                    .map_err(|_| error(refused))?
            }
            other => other.map_err(error)?,
        };
        let top = mount::open_top(&mount).map_err(error)?;
        Ok(Self {
            device: device.to_owned(),
            top,
            mount,
        })
    }

    /// The filesystem that a directory is on.
    ///
    /// # Errors
    /// The directory is not on btrfs, or none of the filesystem's devices can be found.
    pub fn holding(dir: impl AsFd) -> Result<Self> {
        let doing = "looking for the filesystem's devices";
        let devices = btrfs::devices(dir).map_err(|source| Error::os(doing, source))?;
        let mut last = Error::os(doing, Errno::NODEV);
        for device in devices {
            match Self::open(&device) {
                Ok(live) => return Ok(live),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn open_at(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let path = or_dot(path);
        Ok(openat2(&self.top, path, flags, Mode::empty(), resolve)?)
    }

    fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open_at(path, DIRECTORY)
    }

    /// The directory that a name is in, and the name.
    fn parent<'p>(&self, path: &'p Path) -> io::Result<(OwnedFd, &'p OsStr)> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let parent = path.parent().ok_or(Errno::INVAL)?;
        Ok((self.directory(parent)?, name))
    }
}

fn or_dot(path: &Path) -> &Path {
    if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    }
}

fn changed(is: bool) -> Outcome {
    if is {
        Outcome::Made
    } else {
        Outcome::AlreadySo
    }
}

impl Kernel for Live {
    fn filesystem(&self) -> Result<Filesystem> {
        let look = || {
            Ok(Filesystem {
                uuid: hyphenated(btrfs::filesystem_uuid(&self.top)?),
                is_read_only: fstatvfs(&self.top)?
                    .f_flag
                    .contains(rustix::fs::StatVfsMountFlags::RDONLY),
                default_subvolume: btrfs::default_subvolume(&self.top)?,
            })
        };
        look().map_err(|source: io::Error| Error::os("reading the filesystem's facts", source))
    }

    fn space(&self) -> Result<Space> {
        let stat = fstatvfs(&self.top)
            .map_err(|source| Error::os("asking for the room on the filesystem", source))?;
        Ok(Space {
            free_bytes: stat.f_bavail * stat.f_frsize,
            total_bytes: stat.f_blocks * stat.f_frsize,
        })
    }

    fn node(&self, path: &Path) -> Result<Node> {
        self.find(path)
            .map_err(|source| Error::os(format!("looking at {}", Shown(path)), source))
    }

    fn names(&self, dir: &Path) -> Result<Vec<OsString>> {
        let list = || {
            let mut names: Vec<OsString> = tree::names(self.directory(dir)?)?
                .into_iter()
                .map(|name| OsString::from_vec(name.into_bytes()))
                .collect();
            names.sort();
            Ok(names)
        };
        list().map_err(|source: io::Error| Error::os(format!("listing {}", Shown(dir)), source))
    }

    fn resolves(&self, base: &Path, path: &Path) -> Result<bool> {
        let look = || {
            let base = self.directory(base)?;
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let path = path.strip_prefix("/").unwrap_or(path);
            match openat2(
                base,
                or_dot(path),
                flags,
                Mode::empty(),
                ResolveFlags::IN_ROOT,
            ) {
                Ok(_) => Ok(true),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
                Err(errno) => Err(errno.into()),
            }
        };
        look().map_err(|source: io::Error| {
            Error::os(
                format!("looking for {} in {}", Shown(path), Shown(base)),
                source,
            )
        })
    }

    fn children(&self, id: u64) -> Result<Vec<Child>> {
        self.find_children(id)
            .map_err(|source| Error::os(format!("listing the subvolumes inside {id}"), source))
    }

    fn mounts(&self) -> Result<Vec<Mounted>> {
        self.find_mounts()
            .map_err(|source| Error::os("reading the mounts of the filesystem", source))
    }

    fn changes(&self, old: &Path, new: &Path, most: usize) -> Result<Option<Changes>> {
        self.find_changes(old, new, most).map_err(|source| {
            let (old, new) = (Shown(old), Shown(new));
            Error::os(
                format!("looking for what differs in {old} and {new}"),
                source,
            )
        })
    }

    fn snapshot(&mut self, from: &Path, to: &Path, read_only: bool) -> Result<()> {
        let make = || {
            let source = self.directory(from)?;
            let (parent, name) = self.parent(to)?;
            btrfs::snapshot(source, parent, name, read_only)
        };
        make().map_err(|source| {
            Error::os(format!("copying {} to {}", Shown(from), Shown(to)), source)
        })
    }

    fn create(&mut self, at: &Path) -> Result<()> {
        let make = || {
            let (parent, name) = self.parent(at)?;
            btrfs::create(&parent, name)?;
            // The new top takes the process's umask; ours is what every root has.
            let made = openat(&parent, name, DIRECTORY, Mode::empty())?;
            Ok(rustix::fs::fchmod(made, Mode::from_raw_mode(0o755))?)
        };
        make().map_err(|source: io::Error| {
            Error::os(format!("making the subvolume {}", Shown(at)), source)
        })
    }

    fn make_directory(&mut self, at: &Path) -> Result<Outcome> {
        let make = || {
            let (parent, name) = self.parent(at)?;
            match mkdirat(&parent, name, Mode::RWXU) {
                Ok(()) => Ok(Outcome::Made),
                Err(Errno::EXIST) if self.find(at)? == Node::Directory => Ok(Outcome::AlreadySo),
                Err(errno) => Err(errno.into()),
            }
        };
        make().map_err(|source: io::Error| {
            Error::os(format!("making the directory {}", Shown(at)), source)
        })
    }

    fn make_directory_like(&mut self, at: &Path, like: &Path) -> Result<Outcome> {
        let outcome = self.make_directory(at)?;
        let dress = || {
            let like = Stat::of_open(self.directory(like)?)?;
            let dir = self.directory(at)?;
            let made = Dressed {
                dir: &dir,
                name: c"",
            };
            made.set_owner(like.uid, like.gid)?;
            Ok(rustix::fs::fchmod(&dir, Mode::from_raw_mode(like.mode))?)
        };
        dress().map_err(|source: io::Error| {
            Error::os(format!("setting owner and mode of {}", Shown(at)), source)
        })?;
        Ok(outcome)
    }

    fn remove_directory(&mut self, at: &Path) -> Result<Outcome> {
        let remove = || {
            let (parent, name) = self.parent(at)?;
            match unlinkat(&parent, name, AtFlags::REMOVEDIR) {
                Ok(()) => Ok(Outcome::Made),
                Err(Errno::NOENT) => Ok(Outcome::AlreadySo),
                Err(errno) => Err(errno.into()),
            }
        };
        remove().map_err(|source: io::Error| {
            Error::os(format!("removing the directory {}", Shown(at)), source)
        })
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        self.rename_with(from, to, RenameFlags::NOREPLACE)
            .map_err(|source| {
                Error::os(format!("renaming {} to {}", Shown(from), Shown(to)), source)
            })
    }

    fn exchange(&mut self, a: &Path, b: &Path) -> Result<()> {
        self.rename_with(a, b, RenameFlags::EXCHANGE)
            .map_err(|source| {
                Error::os(format!("exchanging {} and {}", Shown(a), Shown(b)), source)
            })
    }

    fn commit(&mut self) -> Result<()> {
        btrfs::commit(&self.top).map_err(|source| Error::os("committing to the disk", source))
    }

    fn set_read_only(&mut self, id: u64, read_only: bool) -> Result<Outcome> {
        let set = || {
            let dir = self.directory(&self.path_of(id)?)?;
            if btrfs::subvolume_info(&dir)?.id != id {
                return Err(Errno::NOENT.into()); // renamed in this moment
            }
            Ok(changed(btrfs::set_read_only(dir, read_only)?))
        };
        set().map_err(|source: io::Error| {
            let what = if read_only { "setting" } else { "clearing" };
            Error::os(
                format!("{what} the read-only flag of subvolume {id}"),
                source,
            )
        })
    }

    fn set_default(&mut self, id: u64) -> Result<Outcome> {
        let set = || {
            if btrfs::default_subvolume(&self.top)? == id {
                return Ok(Outcome::AlreadySo);
            }
            btrfs::set_default(&self.top, id)?;
            Ok(Outcome::Made)
        };
        set().map_err(|source: io::Error| {
            Error::os(format!("making subvolume {id} the default one"), source)
        })
    }

    fn delete(&mut self, id: u64) -> Result<()> {
        btrfs::delete(&self.top, id)
            .map_err(|source| Error::os(format!("deleting subvolume {id}"), source))
    }

    fn mark(&mut self, at: &Path, present: bool) -> Result<Outcome> {
        let set = || {
            let (parent, name) = self.parent(at)?;
            let done = if present {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                openat(&parent, name, flags, Mode::RUSR | Mode::WUSR).map(drop)
            } else {
                unlinkat(&parent, name, AtFlags::empty())
            };
            match done {
                Ok(()) => Ok(Outcome::Made),
                Err(Errno::EXIST) if present && self.find(at)? == Node::Other => {
                    Ok(Outcome::AlreadySo)
                }
                Err(Errno::NOENT) if !present => Ok(Outcome::AlreadySo),
                Err(errno) => Err(errno.into()),
            }
        };
        set().map_err(|source: io::Error| {
            let what = if present { "making" } else { "removing" };
            Error::os(format!("{what} the mark {}", Shown(at)), source)
        })
    }

    fn open(&self, path: &Path) -> Result<View> {
        self.open_view(path)
            .map_err(|source| Error::os(format!("opening {}", Shown(path)), source))
    }

    fn mount(&self, path: &Path) -> Result<OwnedFd> {
        let options = [
            ("source", Some(self.device.as_os_str())),
            ("subvol", Some(path.as_os_str())),
        ];
        mount::detached("btrfs", &options, Attributes::empty())
            .map_err(|source| Error::os(format!("mounting {}", Shown(path)), source))
    }
}

impl Live {
    fn rename_with(&self, from: &Path, to: &Path, flags: RenameFlags) -> io::Result<()> {
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.parent(to)?;
        Ok(renameat_with(from_dir, from_name, to_dir, to_name, flags)?)
    }
}
