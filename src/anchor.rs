//! A directory that paths are looked up beneath, without ever leaving it and without ever going
//! through a symlink: what is found cannot be moved elsewhere by whoever owns a part of the way.

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, RenameFlags, ResolveFlags, StatxFlags, Uid, fchmod, fchown,
    mkdirat, openat, statx,
};
use rustix::io::Errno;
use state_linux::stat::{Kind, Stat};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Where our own unfinished things stand until they are whole: a name in the same directory.
/// One run at a time holds the lock, so one name suffices; a leftover is replaced.
const UNFINISHED: &str = ".state-new";
/// The same, where what is replaced stands under that name for a moment.
const REPLACED: &str = ".state-replaced";

/// An open directory. Paths are relative to it; the empty path is the directory itself.
#[derive(Debug)]
pub struct Anchor {
    dir: OwnedFd,
}

/// What a path leads to.
#[derive(Debug)]
pub enum Found {
    /// Nothing is there, or no directory leads there.
    Missing,
    /// This: a descriptor that names it without opening it (`O_PATH`).
    Here(OwnedFd, Stat),
    /// A component before the last is no directory: its path and kind.
    Behind(PathBuf, Kind),
}

impl Anchor {
    /// Opens a directory, following symlinks: this path is the caller's.
    ///
    /// # Errors
    /// It is not there, or no directory.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self::from(rustix::fs::open(dir, flags, Mode::empty())?))
    }

    /// Opens a directory below this one as if this one were `/`: symlinks are followed, inside.
    ///
    /// # Errors
    /// It is not there, or no directory.
    pub fn open_within(&self, path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        Ok(Self::from(rustix::fs::openat2(
            &self.dir,
            path,
            flags,
            Mode::empty(),
            resolve,
        )?))
    }

    /// Reads a file as if this directory were `/`.
    ///
    /// # Errors
    /// It is not there or cannot be read.
    pub fn read_within(&self, path: &Path) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let fd = rustix::fs::openat2(&self.dir, path, flags, Mode::empty(), resolve)?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut std::fs::File::from(fd), &mut bytes)?;
        Ok(bytes)
    }

    fn openat2(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(
            &self.dir,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )
    }

    /// Looks what is at `path`. A symlink there is found itself.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn find(&self, path: &Path) -> io::Result<Found> {
        match self.openat2(path, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(fd) => {
                let stat = Stat::of_open(&fd)?;
                Ok(Found::Here(fd, stat))
            }
            Err(Errno::NOENT) => Ok(Found::Missing),
            Err(error @ (Errno::LOOP | Errno::NOTDIR)) => {
                let mut above: Vec<_> = path.ancestors().skip(1).collect();
                above.reverse();
                for parent in above {
                    if let Ok(fd) = self.openat2(parent, OFlags::PATH | OFlags::NOFOLLOW) {
                        let stat = Stat::of_open(&fd)?;
                        if stat.kind != Kind::Directory {
                            return Ok(Found::Behind(parent.to_owned(), stat.kind));
                        }
                    }
                }
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a file or directory for reading.
    ///
    /// # Errors
    /// It is not there, is a symlink or behind one, or cannot be read.
    pub fn read(&self, path: &Path) -> io::Result<OwnedFd> {
        Ok(self.openat2(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK)?)
    }

    /// Opens a directory.
    ///
    /// # Errors
    /// It is not there, is no directory, or is behind a symlink.
    pub fn directory(&self, path: &Path) -> io::Result<Self> {
        Ok(Self::from(
            self.openat2(path, OFlags::RDONLY | OFlags::DIRECTORY)?,
        ))
    }

    /// The open directory that holds `path`, and the name of `path` in it.
    ///
    /// # Errors
    /// As [`Anchor::directory`]; the empty path has no name.
    pub fn parent<'p>(&self, path: &'p Path) -> io::Result<(Self, &'p OsStr)> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        Ok((
            self.directory(path.parent().unwrap_or(Path::new("")))?,
            name,
        ))
    }

    /// The target of a symlink.
    ///
    /// # Errors
    /// It is none, or cannot be reached.
    pub fn link_target(&self, path: &Path) -> io::Result<PathBuf> {
        let (parent, name) = self.parent(path)?;
        let target = rustix::fs::readlinkat(&parent, name, Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()).into())
    }

    /// Makes something new at `name` in this directory, whole or not at all: `make` makes it
    /// under another name, and what stands at `name` already stays. Says whether it is ours.
    ///
    /// # Errors
    /// `make`'s, and those of the rename.
    pub fn create<T>(
        &self,
        name: &OsStr,
        make: impl FnOnce(&Self, &OsStr) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        let unfinished = OsStr::new(UNFINISHED);
        self.clear(unfinished)?;
        let made = make(self, unfinished)?;
        match self.rename_new(unfinished, name) {
            Ok(()) => Ok(Some(made)),
            Err(Errno::EXIST) => self.clear(unfinished).map(|()| None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a directory, whole or not at all, with this owner and mode; one that is there stays
    /// as it is. Says whether it is new.
    ///
    /// # Errors
    /// The directory's filesystem says so, or something else stands at `name`.
    pub fn make_directory(&self, name: &OsStr, uid: u32, gid: u32, mode: u32) -> io::Result<bool> {
        if self.holds(name, Kind::Directory)? {
            return Ok(false);
        }
        let new = self.create(name, |parent, unfinished| {
            mkdirat(parent, unfinished, Mode::RWXU)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let dir = openat(parent, unfinished, flags, Mode::empty())?;
            give(&dir, uid, gid, mode)
        })?;
        Ok(new.is_some())
    }

    /// Makes an empty file in the same way.
    ///
    /// # Errors
    /// As [`Anchor::make_directory`].
    pub fn make_file(&self, name: &OsStr, uid: u32, gid: u32, mode: u32) -> io::Result<bool> {
        if self.holds(name, Kind::File)? {
            return Ok(false);
        }
        let new = self.create(name, |parent, unfinished| {
            give(&create_file(parent, unfinished)?, uid, gid, mode)
        })?;
        Ok(new.is_some())
    }

    fn holds(&self, name: &OsStr, kind: Kind) -> io::Result<bool> {
        match self.find(Path::new(name))? {
            Found::Missing => Ok(false),
            Found::Here(_, stat) if stat.kind == kind => Ok(true),
            Found::Here(..) | Found::Behind(..) => Err(Errno::EXIST.into()),
        }
    }

    /// Makes something at `name` in the place of what is there, in one act.
    ///
    /// # Errors
    /// `make`'s, and those of the rename. What was there stays on a failure.
    pub fn replace<T>(
        &self,
        name: &OsStr,
        make: impl FnOnce(&Self, &OsStr) -> io::Result<T>,
    ) -> io::Result<T> {
        let unfinished = OsStr::new(UNFINISHED);
        self.clear(unfinished)?;
        let made = make(self, unfinished)?;
        rustix::fs::renameat(&self.dir, unfinished, &self.dir, name)?;
        Ok(made)
    }

    /// Makes something at `name` in the place of what is there, if `is_expected` says so of what
    /// was there once nobody can find it any more; else everything stays as it was. Says whether
    /// it was done.
    ///
    /// # Errors
    /// `make`'s, and those of the renames.
    pub fn replace_if(
        &self,
        name: &OsStr,
        make: impl FnOnce(&Self, &OsStr) -> io::Result<()>,
        is_expected: impl FnOnce(&Stat) -> bool,
    ) -> io::Result<bool> {
        let unfinished = OsStr::new(REPLACED);
        let exchange = || {
            let flags = RenameFlags::EXCHANGE;
            rustix::fs::renameat_with(&self.dir, unfinished, &self.dir, name, flags)
        };
        self.clear(unfinished)?;
        make(self, unfinished)?;
        exchange()?;
        let was = Stat::of(&self.dir, unfinished)?;
        if was.is_mount_point || !is_expected(&was) {
            exchange()?;
            self.clear(unfinished)?;
            return Ok(false);
        }
        let flags = match was.kind {
            Kind::Directory => AtFlags::REMOVEDIR,
            _ => AtFlags::empty(),
        };
        if let Err(error) = rustix::fs::unlinkat(&self.dir, unfinished, flags) {
            exchange()?;
            self.clear(unfinished)?;
            return match error {
                Errno::NOTEMPTY => Ok(false),
                error => Err(error.into()),
            };
        }
        Ok(true)
    }

    /// Renames where nothing is. Filesystems that cannot promise that (ZFS before 2.2) keep the
    /// promise by a hard link, and for directories by refusing to replace what is not empty.
    fn rename_new(&self, from: &OsStr, to: &OsStr) -> rustix::io::Result<()> {
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&self.dir, from, &self.dir, to, flags) {
            Err(Errno::INVAL) => {}
            result => return result,
        }
        let is_directory = Stat::of(&self.dir, from).is_ok_and(|stat| stat.kind == Kind::Directory);
        if is_directory {
            return match Stat::of(&self.dir, to) {
                Ok(_) => Err(Errno::EXIST),
                Err(_) => rustix::fs::renameat(&self.dir, from, &self.dir, to),
            };
        }
        rustix::fs::linkat(&self.dir, from, &self.dir, to, AtFlags::empty())?;
        rustix::fs::unlinkat(&self.dir, from, AtFlags::empty())
    }

    /// Removes what an interrupted run left unfinished: empty, or a link. Anything else is not
    /// ours and stops us.
    fn clear(&self, unfinished: &OsStr) -> io::Result<()> {
        let stat = match Stat::of(&self.dir, unfinished) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            stat => stat?,
        };
        let flags = match stat.kind {
            Kind::Directory => AtFlags::REMOVEDIR,
            Kind::Symlink => AtFlags::empty(),
            Kind::File if stat.size <= MACHINE_ID_LENGTH => AtFlags::empty(),
            _ => {
                let name = unfinished.to_string_lossy();
                let why = format!("{name} beside it is what an interrupted run left: look at it");
                return Err(io::Error::other(why));
            }
        };
        Ok(rustix::fs::unlinkat(&self.dir, unfinished, flags)?)
    }
}

/// The largest file that is ever written under the unfinished name.
const MACHINE_ID_LENGTH: u64 = 33;

/// Which mount something was reached through.
///
/// # Errors
/// The kernel does not say.
pub fn mount_id(of: impl AsFd) -> io::Result<u64> {
    Ok(statx(of, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}

/// Makes a new file, open for writing to whoever makes it alone.
///
/// # Errors
/// Something stands at `name`.
pub fn create_file(parent: &Anchor, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    openat(
        parent,
        name,
        create | OFlags::CLOEXEC,
        Mode::RUSR | Mode::WUSR,
    )
}

/// Gives what was just made its owner and mode: only if it is ours still, because whoever owns
/// the directory around it could have put something else there.
fn give(file: &OwnedFd, uid: u32, gid: u32, mode: u32) -> io::Result<()> {
    let stat = Stat::of_open(file)?;
    if stat.uid != rustix::process::geteuid().as_raw() || stat.mode & 0o077 != 0 {
        return Err(io::Error::other("it was replaced while being made"));
    }
    if (stat.uid, stat.gid) != (uid, gid) {
        fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    Ok(fchmod(file, Mode::from_raw_mode(mode))?)
}

impl From<OwnedFd> for Anchor {
    fn from(dir: OwnedFd) -> Self {
        Self { dir }
    }
}

impl From<Anchor> for OwnedFd {
    fn from(anchor: Anchor) -> Self {
        anchor.dir
    }
}

impl AsFd for Anchor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}
