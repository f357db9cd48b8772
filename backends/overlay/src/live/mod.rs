//! The real kernel: system calls on a private mount of the filesystem that holds the upper layers.

use crate::{Disk, Kernel, Lower, Mounted, Node, Origin};
use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, ResolveFlags, StatVfsMountFlags, fchmod, fstatvfs, fsync,
    mkdirat, openat, openat2, renameat_with, syncfs, unlinkat,
};
use rustix::io::Errno;
use state_api::{Changes, Error, Outcome, Result, View};
use state_linux::metadata::Place;
use state_linux::mount;
use state_linux::mountinfo::{self, Mount};
use state_linux::stat::Stat;
use state_linux::tree::{self, DIRECTORY};
use state_linux::{note, swap};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

mod layers;
mod lower;
mod plain;
mod written;

pub use layers::Stack;

use plain::plain;

/// In a root: what it writes, what overlayfs works with, and what it was begun with.
const UPPER: &str = "upper";
const WORK: &str = "work";
const ORIGIN: &str = "origin.json";
/// The filesystems that an upper layer can lie on, likeliest first: they exchange names, have
/// extended attributes and know the types of directory entries (overlayfs.rst).
const FILESYSTEMS: [&str; 4] = ["ext4", "btrfs", "xfs", "f2fs"];
/// The name of our overlays in lists of mounts.
const SOURCE: &str = "state";

/// The directory of the upper layers, through a mount that nobody else sees: it has no mount
/// point and is gone with this value.
#[derive(Debug)]
pub struct Live {
    device: PathBuf,
    /// From the filesystem's top.
    directory: PathBuf,
    /// Where the overlay is mounted, or will be.
    at: PathBuf,
    /// Where the layers of a stacked overlay can be reached.
    run: PathBuf,
    #[expect(
        dead_code,
        reason = "held so that the mount stays whole while this lives"
    )]
    mount: OwnedFd,
    top: OwnedFd,
}

impl Live {
    /// The upper layers in `directory` of the filesystem on `device`, for the root mounted `at`.
    /// The layers of a mounted overlay are to be reached below `run`.
    ///
    /// # Errors
    /// The directory's name cannot be one of an upper layer; the device is missing or holds no
    /// filesystem that can carry one.
    pub fn open(device: &Path, directory: &Path, at: &Path, run: &Path) -> Result<Self> {
        let directory = plain(directory).map_err(state_api::Refusal::BadName)?;
        let mount = mount::of_device(device, &FILESYSTEMS, false)
            .map_err(|error| Error::os(format!("mounting {}", device.display()), error))?;
        let top = mount::open_top(&mount)
            .map_err(|error| Error::os(format!("opening {}", device.display()), error))?;
        Ok(Self {
            device: device.to_owned(),
            directory,
            at: at.to_owned(),
            run: run.join("overlay"),
            mount,
            top,
        })
    }

    fn open_at(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let path = self.directory.join(path);
        Ok(openat2(&self.top, &path, flags, Mode::empty(), resolve)?)
    }

    fn open_directory(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open_at(path, DIRECTORY)
    }

    /// The directory that a name is in, and the name.
    fn parent<'p>(&self, path: &'p Path) -> io::Result<(OwnedFd, &'p OsStr)> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let parent = path.parent().ok_or(Errno::INVAL)?;
        Ok((self.open_directory(parent)?, name))
    }

    fn find(&self, path: &Path) -> io::Result<Node> {
        let dir = match self.open_directory(path) {
            Ok(dir) => dir,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Node::Missing),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::NOTDIR | Errno::LOOP) => return Ok(Node::Other),
                _ => return Err(error),
            },
        };
        Ok(match read_origin(&dir)? {
            Some(origin) => Node::Root(origin),
            None => Node::Directory,
        })
    }

    /// Makes the directory and what is above it, each on the disk before the next.
    fn make_all(&self, path: &Path) -> io::Result<Outcome> {
        let mut outcome = Outcome::AlreadySo;
        let mut dir = openat(&self.top, ".", DIRECTORY, Mode::empty())?;
        for part in self.directory.join(path).components() {
            match mkdirat(&dir, part.as_os_str(), Mode::RWXU) {
                Ok(()) => {
                    fsync(&dir)?;
                    outcome = Outcome::Made;
                }
                Err(Errno::EXIST) => outcome = Outcome::AlreadySo,
                Err(errno) => return Err(errno.into()),
            }
            dir = openat(&dir, part.as_os_str(), DIRECTORY, Mode::empty())?;
        }
        Ok(outcome)
    }

    fn build_root(&self, at: &Path, origin: &Origin) -> io::Result<()> {
        let building = Path::new(crate::layout::SCRATCH).join("building");
        self.make_all(Path::new(crate::layout::SCRATCH))?;
        let (scratch, name) = self.parent(&building)?;
        swap::remove_tree(&scratch, name).map_err(io::Error::other)?;
        mkdirat(&scratch, name, Mode::RWXU)?;
        let dir = openat(&scratch, name, DIRECTORY, Mode::empty())?;
        mkdirat(&dir, WORK, Mode::RWXU)?;
        mkdirat(&dir, UPPER, Mode::RWXU)?;
        let upper = openat(&dir, UPPER, DIRECTORY, Mode::empty())?;
        // What is seen of a merged directory is the upper one's.
        let like = Stat::of_open(self.open_lower_dir()?)?;
        let made = Place {
            dir: &upper,
            name: c"",
        };
        made.set_owner(like.uid, like.gid)?;
        fchmod(&upper, Mode::from_raw_mode(like.mode))?;
        note::write(&dir, ORIGIN, &serde_json::to_vec(origin)?)?;
        fsync(&upper)?;
        fsync(&dir)?;
        self.rename_with(&building, at, RenameFlags::NOREPLACE)
    }

    fn rename_with(&self, from: &Path, to: &Path, flags: RenameFlags) -> io::Result<()> {
        let (old_dir, old) = self.parent(from)?;
        let (new_dir, new) = self.parent(to)?;
        Ok(renameat_with(&old_dir, old, &new_dir, new, flags)?)
    }

    /// The overlays with an upper layer of ours, whichever way it was reached.
    fn stacked(&self) -> io::Result<Vec<(Mounted, Mount)>> {
        let ours = |mount: &Mount| {
            let upper = Path::new(mount.filesystem_option("upperdir")?);
            let root = upper.strip_suffix_dir(UPPER)?;
            let mut at = root.components().rev();
            let name = at.next()?.as_os_str().to_owned();
            let directory = self.directory.components().rev();
            let is_ours = directory.zip(at).all(|(want, have)| want == have);
            is_ours.then(|| PathBuf::from(name))
        };
        let mounts = mountinfo::read()?.into_iter();
        let overlays =
            mounts.filter(|mount| mount.filesystem == "overlay" && mount.source == SOURCE);
        Ok(overlays
            .filter_map(|mount| {
                let root = ours(&mount)?;
                let at = mount.at.clone();
                Some((Mounted { root, at }, mount))
            })
            .collect())
    }
}

/// `path` without its last part, if that is `name`.
trait StripSuffix {
    fn strip_suffix_dir(&self, name: &str) -> Option<&Path>;
}

impl StripSuffix for Path {
    fn strip_suffix_dir(&self, name: &str) -> Option<&Path> {
        (self.file_name()? == name).then(|| self.parent()).flatten()
    }
}

fn read_origin(dir: impl AsFd) -> io::Result<Option<Origin>> {
    let text = note::read(dir, ORIGIN)?;
    // What cannot be read is no root of ours, and no plan touches it.
    Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
}

impl Kernel for Live {
    fn disk(&self) -> Result<Disk> {
        let stat = fstatvfs(&self.top)
            .map_err(|errno| Error::os(format!("looking at {}", self.device.display()), errno))?;
        Ok(Disk {
            name: format!("{}:/{}", self.device.display(), self.directory.display()),
            is_read_only: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
        })
    }

    fn lower(&self) -> Result<Option<Lower>> {
        self.find_lower()
            .map_err(|error| Error::os("looking at the lower layer", error))
    }

    fn node(&self, path: &Path) -> Result<Node> {
        self.find(path)
            .map_err(|error| Error::os(format!("looking at {}", path.display()), error))
    }

    fn names(&self, dir: &Path) -> Result<Vec<String>> {
        let list = || {
            let names = tree::names(self.open_directory(dir)?)?.into_iter();
            let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
            names.sort();
            Ok(names)
        };
        list().map_err(|error: io::Error| Error::os(format!("listing {}", dir.display()), error))
    }

    fn mounts(&self) -> Result<Vec<Mounted>> {
        let found = self
            .stacked()
            .map_err(|error| Error::os("reading the list of mounts", error))?;
        Ok(found.into_iter().map(|(mounted, _)| mounted).collect())
    }

    fn make_directory(&mut self, at: &Path) -> Result<Outcome> {
        self.make_all(at).map_err(|error| {
            Error::os(
                format!("making {}", self.directory.join(at).display()),
                error,
            )
        })
    }

    fn make_root(&mut self, at: &Path, origin: &Origin) -> Result<()> {
        self.build_root(at, origin)
            .map_err(|error| Error::os(format!("making the root {}", at.display()), error))
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        self.rename_with(from, to, RenameFlags::NOREPLACE)
            .map_err(|error| {
                Error::os(
                    format!("renaming {} to {}", from.display(), to.display()),
                    error,
                )
            })
    }

    fn exchange(&mut self, a: &Path, b: &Path) -> Result<()> {
        self.rename_with(a, b, RenameFlags::EXCHANGE)
            .map_err(|error| {
                Error::os(
                    format!("exchanging {} and {}", a.display(), b.display()),
                    error,
                )
            })
    }

    fn commit(&mut self) -> Result<()> {
        syncfs(&self.top).map_err(|errno| Error::os("writing everything to the disk", errno))
    }

    fn remove(&mut self, at: &Path) -> Result<Outcome> {
        let (dir, name) = self
            .parent(at)
            .map_err(|error| Error::os(format!("deleting {}", at.display()), error))?;
        swap::remove_tree(dir, name)
    }

    fn mark(&mut self, at: &Path, present: bool) -> Result<Outcome> {
        let mark = || {
            let (dir, name) = self.parent(at)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let done = match present {
                true => openat(&dir, name, flags, Mode::RUSR).map(drop),
                false => unlinkat(&dir, name, AtFlags::empty()),
            };
            match done {
                Ok(()) => Ok(Outcome::Made),
                Err(Errno::EXIST | Errno::NOENT) => Ok(Outcome::AlreadySo),
                Err(errno) => Err(errno.into()),
            }
        };
        mark().map_err(|error: io::Error| Error::os(format!("marking {}", at.display()), error))
    }

    fn open(&self, root: &Path) -> Result<View> {
        self.view(root)
            .map_err(|error| Error::os(format!("opening {}", root.display()), error))
    }

    fn written(&self, root: &Path) -> Result<Changes> {
        self.find_written(root)
            .map_err(|error| Error::os(format!("looking through {}", root.display()), error))
    }

    fn open_lower(&self) -> Result<View> {
        self.open_lower_dir()
            .map(View::frozen)
            .map_err(|error| Error::os("opening the lower layer", error))
    }
}
