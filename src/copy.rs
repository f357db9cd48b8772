//! Copying a tree with everything that belongs to it: owners, modes, times to the nanosecond,
//! extended attributes, ACLs, inode flags, hard links, holes. Content is shared with the source
//! where the filesystem can (reflink).
//!
//! Writes only into a directory that nobody else writes to, through descriptors; never follows a
//! symlink and never replaces anything.

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, fchmod, ftruncate, ioctl_ficlone, linkat, mkdirat, mknodat,
    openat, symlinkat,
};
use rustix::io::Errno;
use state_api::{Error, Interrupt, Result, View};
use state_linux::acl;
use state_linux::metadata::{Flags, Metadata, Place, data_extents};
use state_linux::stat::{FileId, Kind, Stat};
use state_linux::tree::{Boundary, Entry, Unreadable, Walk};
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Copied {
    /// Directories, files, symlinks …: everything with a name.
    pub entries: u64,
    /// The sizes of the files, each inode once.
    pub bytes: u64,
    /// Mount points and volumes below the source that no graft continues: only their directory
    /// was made.
    pub boundaries: Vec<PathBuf>,
    /// What the destination could not hold, in words.
    pub dropped: Vec<String>,
}

/// How strict a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fidelity {
    /// Everything arrives, or the copy fails.
    Exact,
    /// What this process may not read, and owners and attributes that it may not give, are left
    /// out and reported.
    AsFarAsAllowed,
}

/// Copies what is inside `from`, and the owner, mode and attributes of its top, into the empty
/// directory `to`; but not what `leave_out` says of a path and everything below it.
///
/// # Errors
/// The first thing that could not be read or written. What was copied until then stays; the
/// caller, who made `to`, discards it.
pub fn tree(
    from: &View,
    to: impl AsFd,
    leave_out: &dyn Fn(&Path) -> bool,
    fidelity: Fidelity,
    interrupt: &dyn Interrupt,
) -> Result<Copied> {
    copy(from, to, (leave_out, true), fidelity, interrupt)
}

/// Copies what is called `name` in the top of `from`, whatever it is, with everything in it, into
/// the directory `to`, which itself stays as it is and holds nothing of that name.
///
/// # Errors
/// As [`tree`]; [`Error::Missing`] if `from` holds nothing of that name.
pub fn one(
    from: &View,
    name: &OsStr,
    to: impl AsFd,
    fidelity: Fidelity,
    interrupt: &dyn Interrupt,
) -> Result<Copied> {
    let is_other = |path: &Path| path.iter().next().is_some_and(|first| first != name);
    let copied = copy(from, to, (&is_other, false), fidelity, interrupt)?;
    if copied.entries == 0 {
        let what = crate::paths::Shown(Path::new(name)).to_string();
        return Err(Error::Missing { what });
    }
    Ok(copied)
}

fn copy(
    from: &View,
    to: impl AsFd,
    (leave_out, dresses_top): (&dyn Fn(&Path) -> bool, bool),
    fidelity: Fidelity,
    interrupt: &dyn Interrupt,
) -> Result<Copied> {
    let top = to.as_fd().try_clone_to_owned();
    let mut copy = Copy {
        fidelity,
        dresses_top,
        open: vec![],
        links: BTreeMap::new(),
        sealed: vec![],
        copied: Copied::default(),
        top: top.map_err(|error| Error::os("opening the destination", error))?,
    };
    let mut walk = Walk::new(from);
    while let Some(entry) = walk.next() {
        if interrupt.is_set() {
            return Err(Error::Interrupted);
        }
        match entry {
            Ok(entry) if leave_out(&entry.path) => walk.prune(),
            Err(error) if leave_out(&error.path) => {}
            Ok(entry) => copy.entry(&entry)?,
            Err(error) => copy.pass_over(error)?,
        }
    }
    copy.finish()
}

fn unreadable(unreadable: Unreadable) -> Error {
    Error::os(
        format!("{} {}", unreadable.doing, unreadable.path.display()),
        unreadable.source,
    )
}

/// A directory whose content is being copied; its own metadata comes when it is complete.
struct Open {
    dir: OwnedFd,
    entry: Entry,
}

struct Copy {
    fidelity: Fidelity,
    /// Whether the destination gets what belongs to the source's top.
    dresses_top: bool,
    top: OwnedFd,
    /// The directories from the top to where the walk is.
    open: Vec<Open>,
    /// Where the first name of each inode with several was put.
    links: BTreeMap<FileId, PathBuf>,
    /// What must not be changed any more, at the very end: nothing links to an immutable file.
    sealed: Vec<(PathBuf, Flags)>,
    copied: Copied,
}

impl Copy {
    /// Notes what may not be read, where that is allowed.
    fn pass_over(&mut self, error: Unreadable) -> Result<()> {
        let is_forbidden = error.source.kind() == io::ErrorKind::PermissionDenied;
        if self.fidelity == Fidelity::Exact || !is_forbidden {
            return Err(unreadable(error));
        }
        let path = crate::paths::Shown(&error.path);
        self.copied.dropped.push(format!("{path}: may not be read"));
        Ok(())
    }

    fn entry(&mut self, entry: &Entry) -> Result<()> {
        while self
            .open
            .last()
            .is_some_and(|open| !is_in(&entry.path, &open.entry.path))
        {
            self.close()?;
        }
        let failed =
            |source: io::Error| Error::os(format!("copying {}", entry.path.display()), source);
        let Some(parent) = self.open.last() else {
            let dir = self.top.try_clone().map_err(failed)?;
            self.open.push(Open {
                dir,
                entry: entry.clone(),
            });
            return Ok(());
        };
        let name = CString::new(entry.name().as_bytes()).expect("names come from the kernel");
        self.copied.entries += 1;
        if entry.stat.kind == Kind::Directory {
            let dir = make_directory(parent.dir.as_fd(), &name).map_err(failed)?;
            if entry.boundary.is_some() {
                self.copied.boundaries.push(entry.path.clone());
            }
            self.open.push(Open {
                dir,
                entry: entry.clone(),
            });
            return Ok(());
        }
        if let Some(first) = self.links.get(&entry.stat.id) {
            let linked = linkat(&self.top, first, &parent.dir, &name, AtFlags::empty());
            return linked.map_err(|errno| failed(errno.into()));
        }
        let place = Place {
            dir: parent.dir.as_fd(),
            name: &name,
        };
        let mut lost = Lost::new(self.fidelity);
        let sealed = match entry.stat.kind {
            Kind::File => match entry.open() {
                Ok(from) => file(entry, from, place, &mut lost)?,
                Err(error) => return self.pass_over(error),
            },
            _ => special(entry, place, &mut lost)?,
        };
        self.copied.dropped.extend(lost.told(&entry.path));
        if entry.stat.links > 1 {
            self.links.insert(entry.stat.id, entry.path.clone());
        }
        if !sealed.is_none() {
            self.sealed.push((entry.path.clone(), sealed));
        }
        if entry.stat.kind == Kind::File {
            self.copied.bytes += entry.stat.size;
        }
        Ok(())
    }

    /// The innermost open directory is complete: it gets what belongs to it.
    fn close(&mut self) -> Result<()> {
        let Some(Open { dir, entry }) = self.open.pop() else {
            return Ok(());
        };
        if entry.path.as_os_str().is_empty() && !self.dresses_top {
            return Ok(());
        }
        let metadata = match entry.boundary {
            // What is seen there is another filesystem's.
            Some(Boundary::Mount) => Metadata::default(),
            _ => match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) => {
                    self.pass_over(error)?;
                    Metadata::default()
                }
            },
        };
        let mut lost = Lost::new(self.fidelity);
        let place = Place {
            dir: dir.as_fd(),
            name: c"",
        };
        dress(place, Some(dir.as_fd()), &entry.stat, &metadata, &mut lost)
            .map_err(|error| Error::os(format!("copying {}", entry.path.display()), error))?;
        self.copied.dropped.extend(lost.told(&entry.path));
        let sealed = metadata.flags.within(Flags::SEALS);
        if !sealed.is_none() {
            self.sealed.push((entry.path.clone(), sealed));
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Copied> {
        while !self.open.is_empty() {
            self.close()?;
        }
        for (path, flags) in std::mem::take(&mut self.sealed) {
            let name = if path.as_os_str().is_empty() {
                Path::new(".")
            } else {
                &path
            };
            let sealed = openat(&self.top, name, OPEN, Mode::empty())
                .map_err(io::Error::from)
                .and_then(|file| flags.add_to(file));
            let mut lost = Lost::new(self.fidelity);
            lost.unless(format!("flags {flags}"), sealed)
                .map_err(|error| Error::os(format!("copying {}", path.display()), error))?;
            self.copied.dropped.extend(lost.told(&path));
        }
        Ok(self.copied)
    }
}

const OPEN: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

fn is_in(path: &Path, dir: &Path) -> bool {
    path != dir && path.starts_with(dir)
}

fn make_directory(parent: BorrowedFd<'_>, name: &CString) -> io::Result<OwnedFd> {
    mkdirat(parent, name, Mode::RWXU)?;
    Ok(openat(
        parent,
        name,
        OPEN | OFlags::DIRECTORY,
        Mode::empty(),
    )?)
}

/// Copies a regular file. The flags that come back are to be set at the very end.
fn file(
    entry: &Entry,
    from: OwnedFd,
    place: Place<'_, BorrowedFd<'_>>,
    lost: &mut Lost,
) -> Result<Flags> {
    let metadata = entry.metadata_of(&from).map_err(unreadable)?;
    let write = || -> io::Result<()> {
        let create = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let to = openat(
            place.dir,
            place.name,
            create | OFlags::CLOEXEC,
            Mode::RUSR | Mode::WUSR,
        )?;
        let early = metadata.flags.within(Flags::BEFORE_CONTENT);
        lost.unless(format!("flags {early}"), early.add_to(&to))?;
        content(from, &to, entry.stat.size)?;
        dress(place, Some(to.as_fd()), &entry.stat, &metadata, lost)
    };
    write().map_err(|error| Error::os(format!("copying {}", entry.path.display()), error))?;
    Ok(metadata.flags.within(Flags::SEALS))
}

/// Shares the content where the filesystem can, copies the data and leaves the holes elsewhere.
fn content(from: OwnedFd, to: &OwnedFd, size: u64) -> io::Result<()> {
    if size == 0 || ioctl_ficlone(to, &from).is_ok() {
        return Ok(());
    }
    let (from, to) = (File::from(from), File::from(to.try_clone()?));
    ftruncate(&to, size)?;
    let mut buffer = vec![0; 128 << 10];
    for extent in data_extents(&from, size)? {
        let end = extent.offset + extent.length;
        let mut at = extent.offset;
        while at < end {
            let room = usize::try_from(end - at)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let n = from.read_at(&mut buffer[..room], at)?;
            if n == 0 {
                return Err(io::Error::other("it became shorter while being read"));
            }
            to.write_all_at(&buffer[..n], at)?;
            at += n as u64;
        }
    }
    Ok(())
}

/// Makes anything that has no content of its own.
fn special(entry: &Entry, place: Place<'_, BorrowedFd<'_>>, lost: &mut Lost) -> Result<Flags> {
    let failed = |error: io::Error| Error::os(format!("copying {}", entry.path.display()), error);
    let node = |kind, device| {
        mknodat(place.dir, place.name, kind, Mode::RUSR | Mode::WUSR, device)
            .map_err(|errno| failed(errno.into()))
    };
    match entry.stat.kind {
        Kind::Symlink => {
            let target = entry.link_target().map_err(unreadable)?;
            symlinkat(target, place.dir, place.name).map_err(|errno| failed(errno.into()))?;
        }
        Kind::Fifo => node(FileType::Fifo, 0)?,
        Kind::Socket => node(FileType::Socket, 0)?,
        Kind::CharDevice => node(FileType::CharacterDevice, entry.stat.device_number)?,
        Kind::BlockDevice => node(FileType::BlockDevice, entry.stat.device_number)?,
        Kind::File | Kind::Directory => unreachable!("the caller has seen to those"),
    }
    let metadata = entry.metadata().map_err(unreadable)?;
    dress(place, None, &entry.stat, &metadata, lost).map_err(failed)?;
    Ok(Flags::NONE)
}

/// Gives what was made its owner, attributes, mode and times, in the order in which none undoes
/// another: a change of owner strips setuid and capabilities, a change of ACL changes the mode.
fn dress(
    place: Place<'_, BorrowedFd<'_>>,
    open: Option<BorrowedFd<'_>>,
    stat: &Stat,
    metadata: &Metadata,
    lost: &mut Lost,
) -> io::Result<()> {
    let made = Stat::of(place.dir, place.name)?;
    if (made.uid, made.gid) != (stat.uid, stat.gid) {
        let owner = format!("owner {}:{}", stat.uid, stat.gid);
        lost.unless(owner, place.set_owner(stat.uid, stat.gid))?;
    }
    for (name, value) in &metadata.xattrs {
        let what = || name.to_string_lossy().into_owned();
        let name = CString::new(name.as_bytes()).expect("names come from the kernel");
        lost.unless(what(), place.set_xattr(&name, value))?;
    }
    for (kind, list) in [
        (acl::ACCESS, &metadata.access_acl),
        (acl::DEFAULT, &metadata.default_acl),
    ] {
        if let Some(list) = list {
            lost.unless(kind.to_owned(), place.set_acl(kind, list))?;
        }
    }
    let mode = Mode::from_raw_mode(stat.mode);
    match (open, stat.kind) {
        (Some(file), _) => fchmod(file, mode)?,
        (None, Kind::Symlink) => {} // has none of its own
        (None, _) => rustix::fs::chmodat(place.dir, place.name, mode, AtFlags::empty())?,
    }
    if let Some(file) = open {
        let flags = metadata
            .flags
            .without(Flags::BEFORE_CONTENT)
            .without(Flags::SEALS);
        lost.unless(format!("flags {flags}"), flags.add_to(file))?;
    }
    place.set_modified(stat.modified)
}

/// What the destination could not hold.
struct Lost {
    fidelity: Fidelity,
    what: Vec<String>,
}

impl Lost {
    fn new(fidelity: Fidelity) -> Self {
        Self {
            fidelity,
            what: vec![],
        }
    }

    /// Notes the loss of `what` where that is allowed and the kernel said that it must be.
    fn unless<T>(&mut self, what: String, done: io::Result<T>) -> io::Result<()> {
        const MUST_BE: [Errno; 4] = [Errno::PERM, Errno::OPNOTSUPP, Errno::INVAL, Errno::NOTTY];
        match done {
            Ok(_) => Ok(()),
            Err(error) => {
                let must_be = Errno::from_io_error(&error).is_some_and(|e| MUST_BE.contains(&e));
                if self.fidelity == Fidelity::Exact || !must_be {
                    return Err(error);
                }
                self.what.push(what);
                Ok(())
            }
        }
    }

    fn told(self, path: &Path) -> Option<String> {
        let what = self.what.join(", ");
        (!what.is_empty()).then(|| format!("{}: {what}", crate::paths::Shown(path)))
    }
}

#[cfg(test)]
mod tests;
