//! Carrying out the steps that put an entry in place.

use super::anchors::Anchors;
use super::entry::Ownership;
use super::seen::Stamp;
use super::step::{Replaces, Step};
use super::survey::stamp;
use crate::anchor::{Anchor, Found, create_file};
use crate::bring::bring;
use crate::paths::Shown;
use chrono::{DateTime, Utc};
use rustix::fs::{Mode, fchmod, fsync, symlinkat};
use rustix::io::Errno;
use state_api::{Apply, Error, Interrupt, Outcome, Result, View};
use state_linux::mount;
use state_linux::stat::{Kind, Stat};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

mod copied;

/// Applies steps to a machine.
pub struct Applier<'a> {
    anchors: &'a Anchors,
    interrupt: &'a dyn Interrupt,
    now: DateTime<Utc>,
    /// What somebody should know beside what was done.
    notes: Vec<String>,
    /// The stores in which something was made.
    touched: BTreeSet<PathBuf>,
}

impl fmt::Debug for Applier<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Applier")
            .field("anchors", &self.anchors)
            .finish_non_exhaustive()
    }
}

impl Apply for Applier<'_> {
    type Step = Step;

    fn apply(&mut self, step: &Step) -> Result<Outcome> {
        let done = match step {
            Step::MakeDirectory { path, ownership } => self.make_directory(path, *ownership),
            Step::MakeFile { path, ownership } => self.make_file(path, *ownership),
            Step::Seed { path, source } => return self.seed(path, source),
            Step::Bind {
                path,
                source,
                hides,
            } => self.bind(path, source, *hides),
            Step::Link {
                path,
                source,
                replaces,
            } => self.link(path, source, replaces),
            Step::CopyIn {
                path,
                source,
                replaces,
                digest,
            } => self.carry(source, path, replaces, digest),
            Step::Save {
                path,
                source,
                replaces,
                digest,
            } => self.save(path, source, replaces, digest),
            Step::SetAside { source, stamp } => self.set_aside(source, *stamp),
            Step::WriteMachineId { path, id } => self.write_machine_id(path, id),
        };
        done.map_err(|failed| match failed {
            Failed::Os(error) => Error::os(doing(step), error),
            Failed::Error(error) => error,
        })
    }
}

/// The step as a gerund with its object.
fn doing(step: &Step) -> String {
    match step {
        Step::MakeDirectory { path, .. } | Step::MakeFile { path, .. } => {
            format!("making {}", Shown(path))
        }
        Step::Seed { source, .. } => format!("filling {}", Shown(source)),
        Step::Bind { source, .. } => format!("mounting {}", Shown(source)),
        Step::Link { source, .. } => format!("linking to {}", Shown(source)),
        Step::CopyIn { source, .. } => format!("copying {}", Shown(source)),
        Step::Save { path, .. } => format!("saving {}", Shown(path)),
        Step::SetAside { source, .. } => format!("keeping {}", Shown(source)),
        Step::WriteMachineId { path, .. } => format!("writing {}", Shown(path)),
    }
}

enum Failed {
    Os(io::Error),
    Error(Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Os(error)
    }
}

impl From<Errno> for Failed {
    fn from(errno: Errno) -> Self {
        Self::Os(errno.into())
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

fn stale(path: &Path) -> Failed {
    let what = Shown(path).to_string();
    Failed::Error(Error::Stale { what })
}

fn made(is_new: bool) -> Outcome {
    if is_new {
        Outcome::Made
    } else {
        Outcome::AlreadySo
    }
}

impl<'a> Applier<'a> {
    /// Applies steps to the machine of `anchors`, at this time.
    pub fn new(anchors: &'a Anchors, interrupt: &'a dyn Interrupt, now: DateTime<Utc>) -> Self {
        Self {
            anchors,
            interrupt,
            now,
            notes: Vec::new(),
            touched: BTreeSet::new(),
        }
    }

    /// What somebody should know beside what was done until now.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Waits until what was made in the stores is on the disk.
    ///
    /// # Errors
    /// A disk failed.
    pub fn finish(self) -> Result<()> {
        for (store, anchor) in self.anchors.stores() {
            if self.touched.contains(store) {
                anchor
                    .directory(Path::new(""))
                    .and_then(|dir| Ok(rustix::fs::syncfs(dir)?))
                    .map_err(|error| Error::os(format!("syncing {}", Shown(store)), error))?;
            }
        }
        Ok(())
    }

    /// The open directory that holds `path`, and the name of `path` in it.
    fn parent<'p>(&mut self, path: &'p Path) -> Result<(Anchor, &'p OsStr), Failed> {
        let (anchor, rest) = self.anchors.locate(path)?;
        let holder = self
            .anchors
            .stores()
            .find(|(store, _)| path.starts_with(store));
        self.touched
            .extend(holder.map(|(store, _)| store.to_owned()));
        Ok(anchor.parent(rest)?)
    }

    fn here(&self, path: &Path) -> Result<(OwnedFd, Stat), Failed> {
        let (anchor, rest) = self.anchors.locate(path)?;
        match anchor.find(rest)? {
            Found::Here(fd, stat) => Ok((fd, stat)),
            Found::Missing => Err(Errno::NOENT.into()),
            Found::Behind(..) => Err(Errno::NOTDIR.into()),
        }
    }

    fn make_directory(&mut self, path: &Path, is: Ownership) -> Result<Outcome, Failed> {
        let (parent, name) = self.parent(path)?;
        Ok(made(parent.make_directory(name, is.uid, is.gid, is.mode)?))
    }

    fn make_file(&mut self, path: &Path, is: Ownership) -> Result<Outcome, Failed> {
        let (parent, name) = self.parent(path)?;
        Ok(made(parent.make_file(name, is.uid, is.gid, is.mode)?))
    }

    fn seed(&mut self, path: &Path, source: &Path) -> Result<Outcome> {
        let failed = |error: Failed| match error {
            Failed::Os(error) => Error::os(format!("filling {}", Shown(source)), error),
            Failed::Error(error) => error,
        };
        let (from, rest) = self.anchors.locate(path)?;
        let view = from
            .directory(Path::new(""))
            .map_err(|error| failed(error.into()))?;
        let (parent, name) = self.parent(source).map_err(failed)?;
        if matches!(parent.find(Path::new(name)), Ok(Found::Here(..))) {
            return Ok(Outcome::AlreadySo);
        }
        let view = View::live(view.into());
        bring(&view, rest, (&parent, name), &parent, self.interrupt)?;
        Ok(Outcome::Made)
    }

    fn bind(
        &mut self,
        path: &Path,
        source: &Path,
        hides: Option<Stamp>,
    ) -> Result<Outcome, Failed> {
        let (source, stored) = self.here(source)?;
        let (target, live) = self.here(path)?;
        if stored.id == live.id {
            return Ok(Outcome::AlreadySo);
        }
        if stored.kind != live.kind || live.is_mount_point {
            return Err(stale(path));
        }
        let is_expected = match (hides, live.kind) {
            (Some(expected), _) => stamp(&live) == expected,
            (None, Kind::File) => live.size == 0,
            (None, Kind::Directory) => {
                let (anchor, rest) = self.anchors.locate(path)?;
                state_linux::tree::names(anchor.directory(rest)?)?.is_empty()
            }
            (None, _) => false,
        };
        if !is_expected {
            return Err(stale(path));
        }
        let tree = mount::clone_tree(source, Path::new(""), true)?;
        mount::attach(tree, target, Path::new(""))?;
        Ok(Outcome::Made)
    }

    fn link(&mut self, path: &Path, source: &Path, replaces: &Replaces) -> Result<Outcome, Failed> {
        let (parent, name) = self.parent(path)?;
        let is_right = |target: &Path| target == source;
        if parent
            .link_target(Path::new(name))
            .is_ok_and(|target| is_right(&target))
        {
            return Ok(Outcome::AlreadySo);
        }
        let make = |parent: &Anchor, unfinished: &OsStr| Ok(symlinkat(source, parent, unfinished)?);
        let is_done = match replaces {
            Replaces::Nothing => parent.create(name, make)?.is_some(),
            Replaces::EmptyDirectory => {
                parent.replace_if(name, make, |was| was.kind == Kind::Directory)?
            }
            Replaces::File(expected) => parent.replace_if(name, make, |was| {
                was.kind == Kind::File && stamp(was) == *expected
            })?,
            Replaces::Link(expected) => {
                if parent.link_target(Path::new(name))? != *expected {
                    return Err(stale(path));
                }
                parent.replace_if(name, make, |was| was.kind == Kind::Symlink)?
            }
        };
        if is_done {
            Ok(Outcome::Made)
        } else {
            Err(stale(path))
        }
    }

    fn write_machine_id(&mut self, path: &Path, id: &str) -> Result<Outcome, Failed> {
        let (parent, name) = self.parent(path)?;
        parent.replace(name, |parent, unfinished| {
            let file = create_file(parent, unfinished)?;
            let mut rest = format!("{id}\n").into_bytes();
            while !rest.is_empty() {
                let written = rustix::io::write(&file, &rest)?;
                rest.drain(..written);
            }
            fchmod(&file, Mode::from_raw_mode(0o444))?;
            fsync(&file)?;
            Ok(())
        })?;
        let dir = parent.directory(Path::new(""))?;
        fsync(dir.as_fd())?;
        Ok(Outcome::Made)
    }
}
