//! One entry, from the machine into its store: copied with everything that belongs to it, compared
//! with what it was copied from, and only then given its name. The original stays as it is.

use super::journal::{self, Journal};
use crate::anchor::{Anchor, Found};
use crate::copy::{self, Fidelity};
use crate::diff::{self, Change};
use crate::failure::{Class, Failure};
use crate::paths::Shown;
use crate::persist::{Entry, EntryKind};
use crate::progress::{Total, Unit, Watch};
use rustix::fs::{Mode, RenameFlags, fsync, mkdirat, renameat, renameat_with, syncfs};
use rustix::io::Errno;
use state_api::{Error, Graft, View};
use state_linux::stat::{Kind, Stat};
use state_linux::tree::{Boundary, Walk};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Where a copy is made until it is complete, in the store.
const STAGING: &str = ".state-staging";
/// How often a copy is begun anew because something of it was taken away under our hands.
const ATTEMPTS: u32 = 3;

/// What an entry is like now.
#[derive(Debug)]
pub(super) enum Finding {
    /// It is to be copied: so many bytes. `is_anew`: over an older copy of ours.
    Copy { bytes: u64, is_anew: bool },
    /// Nothing is to be done: why.
    Nothing(&'static str),
}

/// What cannot be migrated: the fact, and the cure.
pub(super) type Obstacle = (String, String);

/// A machine and a store of it.
pub(super) struct Between<'a> {
    pub(super) root: &'a Anchor,
    pub(super) store: &'a Anchor,
    /// Entries that lie inside others, in other stores: their content is not this entry's.
    pub(super) inner: &'a dyn Fn(&Path) -> bool,
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn looking(path: &Path, error: io::Error) -> Error {
    Error::os(format!("looking at {}", Shown(path)), error)
}

/// A directory with the volumes that are nested in it.
fn with_volumes(dir: &Anchor) -> io::Result<View> {
    let open = || -> io::Result<View> { Ok(View::live(dir.directory(Path::new(""))?.into())) };
    let mut grafts: Vec<PathBuf> = Vec::new();
    loop {
        let mut view = open()?;
        for at in &grafts {
            view.grafts.push(Graft {
                at: at.clone(),
                dir: dir.directory(at)?.into(),
            });
        }
        let nested: Vec<PathBuf> = Walk::new(&view)
            .filter_map(Result::ok)
            .filter(|entry| entry.boundary == Some(Boundary::Volume))
            .map(|entry| entry.path)
            .collect();
        if nested.is_empty() {
            return Ok(view);
        }
        grafts.extend(nested);
        grafts.sort();
    }
}

/// What is compared and copied of an entry: the directory itself, or the one around a file.
struct Side {
    view: View,
    /// The file, in that directory; `None` for a directory.
    file: Option<std::ffi::OsString>,
}

impl Side {
    fn of(entry: &Entry, top: &Anchor, at: &Path) -> io::Result<Self> {
        match entry.kind {
            EntryKind::Directory => Ok(Self {
                view: with_volumes(&top.directory(at)?)?,
                file: None,
            }),
            EntryKind::File => {
                let (parent, name) = top.parent(at)?;
                Ok(Self {
                    view: View::live(parent.into()),
                    file: Some(name.to_owned()),
                })
            }
        }
    }
}

impl Between<'_> {
    /// Looks at an entry.
    pub(super) fn look(
        &self,
        entry: &Entry,
        journal: &Journal,
        watch: Watch<'_>,
    ) -> anyhow::Result<Result<Finding, Obstacle>> {
        let at = relative(&entry.path);
        let path = Shown(&entry.path);
        let take_out =
            || "take it out of the configuration, or declare what it leads to".to_owned();
        let live = match self
            .root
            .find(at)
            .map_err(|error| looking(&entry.path, error))?
        {
            Found::Here(_, stat) => stat,
            Found::Missing => return Ok(Ok(Finding::Nothing("nothing is there"))),
            Found::Behind(parent, _) => {
                let parent = Path::new("/").join(parent);
                let fact = format!("{path}: {} is no directory", Shown(&parent));
                return Ok(Err((fact, take_out())));
            }
        };
        let stored = match self
            .store
            .find(at)
            .map_err(|error| looking(&entry.source(), error))?
        {
            Found::Here(_, stat) => Some(stat),
            Found::Missing => None,
            Found::Behind(parent, _) => {
                let parent = Shown(&parent).to_string();
                let fact = format!("{path}: {parent} in the store is no directory");
                return Ok(Err((fact, "move it away".into())));
            }
        };
        if stored.is_some_and(|stored| stored.id == live.id) {
            return Ok(Ok(Finding::Nothing("it is in place")));
        }
        if live.is_mount_point {
            let fact = format!("{path}: a filesystem of its own is mounted there");
            return Ok(Err((
                fact,
                "no reset touches it: take it out of the configuration".into(),
            )));
        }
        let is_wanted = match entry.kind {
            EntryKind::Directory => live.kind == Kind::Directory,
            EntryKind::File => live.kind == Kind::File,
        };
        if !is_wanted {
            let is_link = live.kind == Kind::Symlink;
            let to = if is_link {
                self.root.link_target(at)?
            } else {
                PathBuf::new()
            };
            if is_link && to == entry.source() {
                return Ok(Ok(Finding::Nothing("it is in place")));
            }
            let is = if is_link {
                "a symlink"
            } else {
                "something else"
            };
            let fact = format!("{path}: it is {is}, not a {}", entry.kind);
            return Ok(Err((fact, take_out())));
        }
        let side = Side::of(entry, self.root, at).map_err(|error| looking(&entry.path, error))?;
        if let Some(stored) = stored {
            let there = Side::of(entry, self.store, at);
            let there = there.map_err(|error| looking(&entry.source(), error))?;
            if self
                .differences(&there, &side, entry, Total::Unknown, watch)?
                .is_empty()
            {
                return Ok(Ok(Finding::Nothing("the store has the same")));
            }
            let tree = there.file.is_none().then_some(&there.view);
            if !journal.is_ours(&entry.path, &stored, tree) {
                let fact = format!("{path}: the store has another one");
                let cure = format!(
                    "nothing is ever replaced: move {} away, or what is at {path}",
                    Shown(&entry.source())
                );
                return Ok(Err((fact, cure)));
            }
        }
        Ok(Ok(Finding::Copy {
            bytes: self.bytes(&side, &live, entry, watch),
            is_anew: stored.is_some(),
        }))
    }

    /// How much space a copy takes.
    fn bytes(&self, side: &Side, live: &Stat, entry: &Entry, watch: Watch<'_>) -> u64 {
        if side.file.is_some() {
            return live.allocated_bytes;
        }
        let doing = format!("measuring {entry}");
        watch.stage(&doing, Unit::Items, Total::Unknown, || {
            let mut walk = Walk::new(&side.view);
            let mut bytes = 0;
            while let Some(found) = walk.next() {
                match found {
                    Ok(found) if (self.inner)(&found.path) => walk.prune(),
                    Ok(found) => {
                        bytes += found.stat.share_bytes();
                        watch.progress.see(0, found.path.as_os_str().as_bytes());
                        watch.progress.advance(1);
                    }
                    Err(_) => {} // copying it will say why
                }
            }
            bytes
        })
    }

    /// In what the live side differs from the other.
    fn differences(
        &self,
        other: &Side,
        live: &Side,
        entry: &Entry,
        total: Total,
        watch: Watch<'_>,
    ) -> anyhow::Result<Vec<Change>> {
        let is_other = |path: &Path| match &live.file {
            None => (self.inner)(path),
            Some(name) => path.iter().next().is_some_and(|first| first != name),
        };
        let doing = format!("comparing {entry} with its copy");
        let mut found = watch.stage(&doing, Unit::Items, total, || {
            diff::compare(Some(&other.view), &live.view, &is_other, watch)
        })?;
        if let Some(unreadable) = found.unreadable.pop() {
            return Err(Error::os("comparing", io::Error::other(unreadable.to_string())).into());
        }
        if live.file.is_some() {
            found
                .changes
                .retain(|change| !change.path.as_os_str().is_empty());
        }
        Ok(found.changes)
    }

    /// Copies an entry into the store. Says what changed on the machine meanwhile, so that the
    /// copy is of a moment that never was.
    pub(super) fn fill(
        &self,
        entry: &Entry,
        bytes: u64,
        journal: &mut Journal,
        watch: Watch<'_>,
    ) -> anyhow::Result<Vec<PathBuf>> {
        let at = relative(&entry.path);
        let failed = |error: io::Error| Error::os(format!("copying {}", Shown(&entry.path)), error);
        self.make_parents(at).map_err(failed)?;
        let (parent, name) = self.store.parent(at).map_err(failed)?;
        let mut attempt = 1;
        let (staging, moved) = loop {
            match self.stage(entry, bytes, name, watch) {
                Ok(staged) => break staged,
                Err(error) if attempt < ATTEMPTS && was_taken_away(&error) => attempt += 1,
                Err(error) => {
                    discard(self.store).map_err(failed)?;
                    return Err(error);
                }
            }
        };
        let stat = Stat::of(&staging, name).map_err(failed)?;
        journal.note(self.store, &entry.path, &stat)?;
        place(&staging, name, &parent).map_err(|errno| failed(errno.into()))?;
        fsync(parent.as_fd()).map_err(|errno| failed(errno.into()))?;
        discard(self.store).map_err(failed)?;
        Ok(moved)
    }

    /// Makes the copy, complete and on the disk.
    fn stage(
        &self,
        entry: &Entry,
        bytes: u64,
        name: &OsStr,
        watch: Watch<'_>,
    ) -> anyhow::Result<(Anchor, Vec<PathBuf>)> {
        let at = relative(&entry.path);
        let failed = |error: io::Error| Error::os(format!("copying {}", Shown(&entry.path)), error);
        discard(self.store).map_err(failed)?;
        mkdirat(self.store, STAGING, Mode::RWXU).map_err(|errno| failed(errno.into()))?;
        let staging = self.store.directory(Path::new(STAGING)).map_err(failed)?;
        let begun = journal::before();
        let live = Side::of(entry, self.root, at).map_err(failed)?;
        let to = match &live.file {
            None => {
                mkdirat(&staging, name, Mode::RWXU).map_err(|errno| failed(errno.into()))?;
                staging.directory(Path::new(name))
            }
            Some(_) => staging.directory(Path::new("")),
        };
        let to = to.map_err(failed)?;
        let doing = format!("copying {entry}");
        let copied = watch.stage(&doing, Unit::Bytes, Total::About(bytes), || {
            match &live.file {
                None => copy::tree(&live.view, &to, self.inner, Fidelity::Exact, watch),
                Some(name) => copy::one(&live.view, name, &to, Fidelity::Exact, watch),
            }
        })?;
        syncfs(&staging).map_err(|errno| failed(errno.into()))?;
        let made = Side::of(entry, &staging, Path::new(name)).map_err(failed)?;
        // The top is compared as well.
        let total = Total::About(copied.entries + 1);
        let mut moved = Vec::new();
        for change in self.differences(&made, &live, entry, total, watch)? {
            let below = entry.path.join(&change.path);
            let path = match &live.file {
                None => &below,
                Some(_) => &entry.path,
            };
            if !self.changed_since(path, begun) {
                return Err(Failure::new(
                    Class::Verification,
                    format!("the copy of {} is not what was copied", Shown(path)),
                )
                .hint("the original is untouched, and the copy was discarded; look at the disks")
                .into());
            }
            moved.push(path.clone());
        }
        Ok((staging, moved))
    }

    /// Whether something at `path`, or the directory that held it, changed since then.
    fn changed_since(&self, path: &Path, then: (i64, u32)) -> bool {
        let mut above = path.ancestors();
        above
            .find_map(|path| match self.root.find(relative(path)) {
                Ok(Found::Here(_, stat)) => Some(stat.changed),
                _ => None,
            })
            .is_some_and(|changed| (changed.seconds, changed.nanoseconds) >= then)
    }

    /// The directories above, with the owners and modes they have on the machine.
    fn make_parents(&self, at: &Path) -> io::Result<()> {
        let mut parents: Vec<&Path> = at.ancestors().skip(1).collect();
        parents.pop();
        for parent in parents.into_iter().rev() {
            let Found::Here(_, live) = self.root.find(parent)? else {
                return Err(Errno::NOENT.into());
            };
            let (dir, name) = self.store.parent(parent)?;
            dir.make_directory(name, live.uid, live.gid, live.mode)?;
        }
        Ok(())
    }
}

/// Removes what an interrupted run left of a copy, or a copy that another took the place of.
pub(super) fn discard(store: &Anchor) -> io::Result<()> {
    let fd = store.as_fd().as_raw_fd();
    match fs::remove_dir_all(format!("/proc/self/fd/{fd}/{STAGING}")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Gives a complete copy its name, in one act where the filesystem can; an older copy of ours is
/// in the staging directory then.
fn place(staging: &Anchor, name: &OsStr, to: &Anchor) -> rustix::io::Result<()> {
    let with = |flags| renameat_with(staging, name, to, name, flags);
    match with(RenameFlags::NOREPLACE) {
        Err(Errno::EXIST) => {}
        Err(Errno::INVAL) => return renameat(staging, name, to, name), // ZFS before 2.2
        done => return done,
    }
    with(RenameFlags::EXCHANGE)
}

/// Whether a file vanished or was replaced while it was being copied.
fn was_taken_away(error: &anyhow::Error) -> bool {
    let kind = error.chain().find_map(|cause| match cause.downcast_ref() {
        Some(Error::Os { source, .. }) => Some(source.kind()),
        _ => None,
    });
    matches!(kind, Some(io::ErrorKind::NotFound | io::ErrorKind::Other))
}

#[cfg(test)]
mod tests;
