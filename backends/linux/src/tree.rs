//! Walking a tree through file descriptors.
//!
//! One component at a time and never through a symlink, so that nothing that is renamed or
//! replaced meanwhile leads the walk elsewhere; no path string is ever resolved, so that paths
//! may be longer than `PATH_MAX`. Entries come in component-wise byte order of their paths:
//! every directory right before its content, names compared as bytes.

mod places;

use crate::metadata::{Metadata, PROC_FD};
use crate::stat::{FileId, Kind, Stat};
use rustix::fs::{Mode, OFlags, RawDir, fstatfs, openat, readlinkat};
use rustix::io::Errno;
use state_api::View;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use places::Places;

/// How many directories a walk keeps open; above that, the outermost are closed and found again
/// through `..` (and compared with what they were).
const OPEN_DIRECTORIES: usize = 64;

/// The inode number of the empty directory that btrfs shows in a snapshot in place of a nested
/// subvolume (`BTRFS_EMPTY_SUBVOL_DIR_OBJECTID`).
const BTRFS_EMPTY_SUBVOLUME: u64 = 2;
/// `BTRFS_SUPER_MAGIC` in `linux/magic.h`.
const BTRFS_MAGIC: u64 = 0x9123_683E;

/// One thing found by a [`Walk`].
#[derive(Clone)]
pub struct Entry {
    /// Where it is, relative to the top; empty for the top itself.
    pub path: PathBuf,
    /// What it is.
    pub stat: Stat,
    /// Why the walk does not go into this directory although it exists.
    pub boundary: Option<Boundary>,
    at: At,
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
enum At {
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
            _ => self.try_open().and_then(|open| {
                let mut metadata = Metadata::read_open(&open)?;
                metadata.read_flags(open)?;
                Ok(metadata)
            }),
        };
        read.map_err(|e| self.unreadable("reading the attributes of", e))
    }

    /// The same through the file that [`Entry::open`] gave: saves opening it again.
    pub fn metadata_of(&self, open: impl AsFd) -> Result<Metadata, Unreadable> {
        Metadata::read_open(&open)
            .and_then(|mut metadata| {
                metadata.read_flags(open)?;
                Ok(metadata)
            })
            .map_err(|e| self.unreadable("reading the attributes of", e))
    }

    /// Asks again: whether it changed while it was read.
    pub fn stat_again(&self) -> io::Result<Stat> {
        match &self.at {
            At::Child(dir, name) => Stat::of(dir, name),
            At::Top(dir) => Stat::of_open(dir),
        }
    }

    fn unreadable(&self, doing: &'static str, source: impl Into<io::Error>) -> Unreadable {
        Unreadable {
            path: self.path.clone(),
            doing,
            source: source.into(),
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

/// A directory being listed.
struct Frame {
    /// `None` while closed to save descriptors.
    dir: Option<Arc<OwnedFd>>,
    id: FileId,
    /// Whether `..` of this directory is not the directory above it in the walk.
    is_graft: bool,
    /// Whether it is only on the way to a place, its other names passed over.
    is_way: bool,
    path: PathBuf,
    names: std::vec::IntoIter<CString>,
}

/// A walk over a view: an iterator of what is there and of what could not be read.
///
/// Mounts and volumes below the top are entered only where the view has a graft.
pub struct Walk<'v> {
    grafts: BTreeMap<&'v Path, BorrowedFd<'v>>,
    unreached: BTreeSet<&'v Path>,
    start: Option<BorrowedFd<'v>>,
    stack: Vec<Frame>,
    /// The directory yielded last: it is entered when the next entry is asked for.
    enter: Option<Entry>,
    /// What is still to be visited, if not everything is.
    places: Option<Places<'v>>,
}

impl<'v> Walk<'v> {
    /// A walk that begins with the view's top.
    pub fn new(view: &'v View) -> Self {
        let grafts: BTreeMap<_, _> = (view.grafts.iter())
            .map(|graft| (graft.at.as_path(), graft.dir.as_fd()))
            .collect();
        Self {
            unreached: grafts.keys().copied().collect(),
            grafts,
            start: Some(view.dir.as_fd()),
            stack: Vec::new(),
            enter: None,
            places: None,
        }
    }

    /// Does not go into the directory that was yielded last.
    pub fn prune(&mut self) {
        if let Some(places) = &mut self.places
            && let Some(last) = places.prune()
        {
            self.unreached.retain(|at| !at.starts_with(last));
        }
        if let Some(entry) = self.enter.take() {
            self.unreached.retain(|at| !at.starts_with(&entry.path));
        }
    }

    fn top(&mut self, dir: BorrowedFd<'v>) -> Result<Entry, Unreadable> {
        let entry = dir
            .try_clone_to_owned()
            .and_then(|dir| {
                Ok(Entry {
                    path: PathBuf::new(),
                    stat: Stat::of_open(&dir)?,
                    boundary: None,
                    at: At::Top(Arc::new(dir)),
                })
            })
            .map_err(|source| Unreadable {
                path: PathBuf::new(),
                doing: "opening",
                source,
            })?;
        self.enter = Some(entry.clone());
        Ok(entry)
    }

    fn enter(&mut self, entry: Entry) -> Result<(), Unreadable> {
        let dir = entry.open()?;
        let mut names = names(&dir).map_err(|e| entry.unreadable("listing", e))?;
        // A volume that is mounted over nothing has no name in what it is mounted on.
        for at in self.grafts.keys() {
            if let (Some(name), true) = (at.file_name(), at.parent() == Some(&entry.path)) {
                names.push(CString::new(name.as_bytes()).expect("a path holds no NUL"));
            }
        }
        names.sort_unstable();
        names.dedup();
        self.push(dir, entry, names);
        Ok(())
    }

    /// Makes a directory the innermost; `names` is what is to be visited in it.
    fn push(&mut self, dir: OwnedFd, entry: Entry, names: Vec<CString>) {
        if let Some(outer) = self.stack.len().checked_sub(OPEN_DIRECTORIES)
            && !self.stack.get(outer + 1).is_none_or(|inner| inner.is_graft)
        {
            self.stack[outer].dir = None;
        }
        self.stack.push(Frame {
            dir: Some(Arc::new(dir)),
            id: entry.stat.id,
            is_graft: matches!(entry.at, At::Top(_)),
            is_way: false,
            path: entry.path,
            names: names.into_iter(),
        });
    }

    /// Leaves the innermost directory; opens the one above again if it had been closed.
    fn leave(&mut self) -> Result<(), Unreadable> {
        let inner = self.stack.pop().expect("a directory is left once");
        let Some(outer) = self.stack.last_mut() else {
            return Ok(());
        };
        if outer.dir.is_some() {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let found = inner
            .dir
            .as_ref()
            .ok_or_else(|| io::Error::other("its way back is lost"))
            .and_then(|dir| Ok(openat(dir, c"..", flags, Mode::empty())?))
            .and_then(|dir| match Stat::of_open(&dir)?.id == outer.id {
                true => Ok(dir),
                false => Err(io::Error::other("it was moved while being read")),
            });
        match found {
            Ok(dir) => {
                outer.dir = Some(Arc::new(dir));
                Ok(())
            }
            Err(source) => {
                outer.names = Vec::new().into_iter();
                Err(Unreadable {
                    path: outer.path.clone(),
                    doing: "returning to",
                    source,
                })
            }
        }
    }

    /// What has this name in the innermost directory; if it can be entered, it is next.
    fn visit(&mut self, name: CString) -> Result<Entry, Unreadable> {
        let entry = self.found(name)?;
        if entry.stat.kind == Kind::Directory && entry.boundary.is_none() {
            self.enter = Some(entry.clone());
        }
        Ok(entry)
    }

    fn found(&mut self, name: CString) -> Result<Entry, Unreadable> {
        let frame = self.stack.last().expect("names come from a directory");
        let path = frame.path.join(OsStr::from_bytes(name.as_bytes()));
        let dir = frame.dir.as_ref().expect("the innermost is open");
        let unreadable = |source| Unreadable {
            path: path.clone(),
            doing: "looking at",
            source,
        };
        if let Some(graft) = self.grafts.get(path.as_path()) {
            let top = graft.try_clone_to_owned().map_err(unreadable)?;
            let stat = Stat::of_open(&top).map_err(unreadable)?;
            self.unreached.remove(path.as_path());
            return Ok(Entry {
                path,
                stat,
                boundary: None,
                at: At::Top(Arc::new(top)),
            });
        }
        let stat = Stat::of(dir, &name).map_err(unreadable)?;
        let boundary = if stat.is_mount_point {
            Some(Boundary::Mount)
        } else if stat.kind == Kind::Directory
            && (stat.id.device != frame.id.device || is_hollow_volume(dir, &stat))
        {
            Some(Boundary::Volume)
        } else {
            None
        };
        Ok(Entry {
            path,
            stat,
            boundary,
            at: At::Child(Arc::clone(dir), name),
        })
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Entry, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(dir) = self.start.take() {
            return Some(self.top(dir));
        }
        if let Some(entry) = self.enter.take()
            && let Err(error) = self.enter(entry)
        {
            return Some(Err(error));
        }
        if self.places.is_some() {
            return self.next_of_places();
        }
        while let Some(frame) = self.stack.last_mut() {
            let Some(name) = frame.names.next() else {
                match self.leave() {
                    Ok(()) => continue,
                    Err(error) => return Some(Err(error)),
                }
            };
            return Some(self.visit(name));
        }
        let lost = self.unreached.pop_first()?;
        Some(Err(Unreadable {
            path: lost.to_owned(),
            doing: "reaching the nested volume",
            source: io::ErrorKind::NotFound.into(),
        }))
    }
}

impl fmt::Debug for Walk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk")
            .field("depth", &self.stack.len())
            .finish_non_exhaustive()
    }
}

/// Whether this is the empty directory that stands for a nested subvolume in a btrfs snapshot.
fn is_hollow_volume(dir: impl AsFd, stat: &Stat) -> bool {
    stat.id.inode == BTRFS_EMPTY_SUBVOLUME
        && fstatfs(dir).is_ok_and(|fs| fs.f_type as u64 == BTRFS_MAGIC)
}

/// The names in a directory, without `.` and `..`, in the directory's own order.
pub fn names(dir: impl AsFd) -> io::Result<Vec<CString>> {
    let mut buffer = Vec::with_capacity(64 << 10);
    let mut listing = RawDir::new(dir, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = listing.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
