//! Copying a tree with everything that belongs to it: owners, modes, times to the nanosecond,
//! extended attributes, ACLs, inode flags, hard links, holes. Content is shared with the source
//! where the filesystem can (reflink).
//!
//! Writes only into a directory that nobody else writes to, through descriptors; never follows a
//! symlink and never replaces anything.

mod lost;
mod make;

use crate::progress::{Progress, Watch};
use lost::Lost;
use make::{dress, file, make_directory, special};
use rustix::fs::{AtFlags, Mode, OFlags, linkat, openat};
use state_api::{Error, Result, View};
use state_linux::metadata::{Flags, Metadata, Place};
use state_linux::stat::{FileId, Kind};
use state_linux::tree::{Boundary, Entry, Unreadable, Walk};
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
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
pub fn tree<'a>(
    from: &View,
    to: impl AsFd,
    leave_out: &dyn Fn(&Path) -> bool,
    fidelity: Fidelity,
    watch: impl Into<Watch<'a>>,
) -> Result<Copied> {
    copy(from, to, (leave_out, true), fidelity, watch.into())
}

/// Copies what is called `name` in the top of `from`, whatever it is, with everything in it, into
/// the directory `to`, which itself stays as it is and holds nothing of that name.
///
/// # Errors
/// As [`tree`]; [`Error::Missing`] if `from` holds nothing of that name.
pub fn one<'a>(
    from: &View,
    name: &OsStr,
    to: impl AsFd,
    fidelity: Fidelity,
    watch: impl Into<Watch<'a>>,
) -> Result<Copied> {
    let is_other = |path: &Path| path.iter().next().is_some_and(|first| first != name);
    let copied = copy(from, to, (&is_other, false), fidelity, watch.into())?;
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
    watch: Watch<'_>,
) -> Result<Copied> {
    let top = to.as_fd().try_clone_to_owned();
    let mut copy = Copy {
        fidelity,
        dresses_top,
        progress: watch.progress,
        open: vec![],
        links: BTreeMap::new(),
        sealed: vec![],
        copied: Copied::default(),
        top: top.map_err(|error| Error::os("opening the destination", error))?,
    };
    let mut walk = Walk::new(from);
    while let Some(entry) = walk.next() {
        if watch.interrupt.is_set() {
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

struct Copy<'a> {
    fidelity: Fidelity,
    /// Whether the destination gets what belongs to the source's top.
    dresses_top: bool,
    progress: &'a dyn Progress,
    top: OwnedFd,
    /// The directories from the top to where the walk is.
    open: Vec<Open>,
    /// Where the first name of each inode with several was put.
    links: BTreeMap<FileId, PathBuf>,
    /// What must not be changed any more, at the very end: nothing links to an immutable file.
    sealed: Vec<(PathBuf, Flags)>,
    copied: Copied,
}

impl Copy<'_> {
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
            if self.dresses_top {
                self.progress.advance(entry.stat.share_bytes());
            }
            self.open.push(Open {
                dir,
                entry: entry.clone(),
            });
            return Ok(());
        };
        let name = CString::new(entry.name().as_bytes()).expect("names come from the kernel");
        self.copied.entries += 1;
        let path = entry.path.as_os_str().as_bytes();
        self.progress.see(self.copied.entries, path);
        if entry.stat.kind == Kind::Directory {
            let dir = make_directory(parent.dir.as_fd(), &name).map_err(failed)?;
            if entry.boundary.is_some() {
                self.copied.boundaries.push(entry.path.clone());
            }
            self.progress.advance(entry.stat.share_bytes());
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
        let mut told = 0;
        let mut tell = |bytes| {
            told += bytes;
            self.progress.advance(bytes);
        };
        let sealed = match entry.stat.kind {
            Kind::File => match entry.open() {
                Ok(from) => file(entry, from, place, &mut lost, &mut tell)?,
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
        // In all, what it takes: the smallest file costs a block, and a hole nothing.
        let rest = entry.stat.allocated_bytes.saturating_sub(told);
        self.progress.advance(rest);
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

#[cfg(test)]
mod tests;
