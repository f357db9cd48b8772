//! Walking a tree through file descriptors.
//!
//! One component at a time and never through a symlink, so that nothing that is renamed or
//! replaced meanwhile leads the walk elsewhere; no path string is ever resolved, so that paths
//! may be longer than `PATH_MAX`. Entries come in component-wise byte order of their paths:
//! every directory right before its content, names compared as bytes.

mod entry;
mod places;

pub use entry::{Boundary, Entry, Unreadable};

use crate::stat::{FileId, Kind, Stat};
use entry::{At, is_hollow_volume};
use places::Places;
use rustix::fs::{Mode, OFlags, RawDir, openat};
use state_api::View;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsStr};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a directory is opened that must be one itself: no symlink leads elsewhere.
pub const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// How many directories a walk keeps open; above that, the outermost are closed and found again
/// through `..` (and compared with what they were).
const OPEN_DIRECTORIES: usize = 64;

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
    is_frozen: bool,
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
            is_frozen: view.is_frozen,
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
                    is_frozen: self.is_frozen,
                    at: At::Top(Arc::new(dir)),
                })
            })
            .map_err(|source| Unreadable {
                path: PathBuf::new(),
                doing: "opening",
                source,
                is_live: false,
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
                    is_live: false,
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
            is_live: !self.is_frozen,
        };
        if let Some(graft) = self.grafts.get(path.as_path()) {
            let top = graft.try_clone_to_owned().map_err(unreadable)?;
            let stat = Stat::of_open(&top).map_err(unreadable)?;
            self.unreached.remove(path.as_path());
            return Ok(Entry {
                path,
                stat,
                boundary: None,
                is_frozen: self.is_frozen,
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
            is_frozen: self.is_frozen,
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
            is_live: false,
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

/// The names in a directory, without `.` and `..`, in the directory's own order.
pub fn names(dir: impl AsFd) -> io::Result<Vec<CString>> {
    Ok(numbers(dir)?.into_iter().map(|(name, _)| name).collect())
}

/// The same, each with the number of its inode: where something is mounted, of what is under it.
pub fn numbers(dir: impl AsFd) -> io::Result<Vec<(CString, u64)>> {
    let mut buffer = Vec::with_capacity(64 << 10);
    let mut listing = RawDir::new(dir, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = listing.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push((name.to_owned(), entry.ino()));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
