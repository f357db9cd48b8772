//! The simulated disk behind the engine's own trait.

use super::SimBtrfs;
use super::disk::{Answer, Disk, Entry, Spot};
use crate::sim::changed;
use crate::tree;
use rustix::io::Errno;
use state_api::{Changes, Error, Outcome, Result, View};
use state_btrfs::{Child, Filesystem, Kernel, Mounted, Node, Space};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

/// Walks `path` below `base`, symlinks and `..` inside it as if it were `/`.
fn resolves(disk: &Disk, base: &Path, path: &Path) -> Answer<bool> {
    let parts = |path: &Path| -> VecDeque<OsString> {
        path.components()
            .filter(|part| !matches!(part, Component::CurDir))
            .map(|part| part.as_os_str().to_owned())
            .collect()
    };
    disk.inside(base)?;
    let (mut at, mut rest, mut links) = (PathBuf::new(), parts(path), 0);
    while let Some(part) = rest.pop_front() {
        if part == OsStr::new("/") {
            at = PathBuf::new();
        } else if part == OsStr::new("..") {
            at.pop();
        } else {
            match disk.look(&base.join(&at).join(&part))? {
                None => return Ok(false),
                Some(Entry::Symlink(to)) => {
                    links += 1;
                    if links > 40 {
                        return Ok(false);
                    }
                    for part in parts(&to).into_iter().rev() {
                        rest.push_front(part);
                    }
                }
                Some(Entry::File(_)) if !rest.is_empty() => return Ok(false),
                Some(_) => at.push(part),
            }
        }
    }
    Ok(true)
}

impl SimBtrfs {
    fn act<T>(&self, doing: String, act: impl FnOnce(&mut Disk) -> Answer<T>) -> Result<T> {
        let mut machine = self.machine.borrow_mut();
        let automatic = machine.commits_by_itself;
        let answer = machine.tape.act(doing, |disk| {
            let answer = act(disk)?;
            if automatic {
                disk.commit();
            }
            Ok(answer)
        })?;
        if automatic {
            machine.tape.commit();
        }
        Ok(answer)
    }

    /// The real kernel renames and deletes what is mounted without a word. An engine that gets
    /// this far has lost somebody's running system.
    fn must_be_unused(&self, doing: &str, path: &Path) {
        let machine = self.machine.borrow();
        let disk = machine.tape.now();
        let Ok(Some(entry)) = disk.look(path) else {
            return;
        };
        let moved: Vec<u64> = match entry {
            Entry::Volume(id) => {
                let nested = disk.children(id).expect("it was found");
                nested.iter().map(|c| c.id).chain([id]).collect()
            }
            _ => Vec::new(),
        };
        for mount in &machine.mounts {
            assert!(
                !moved.contains(&mount.volume),
                "the engine touched a mounted root: {doing} while {:?} is mounted at {:?}",
                disk.path_of(mount.volume),
                mount.at,
            );
        }
    }
}

impl Kernel for SimBtrfs {
    fn filesystem(&self) -> Result<Filesystem> {
        self.look("reading the filesystem", |disk| {
            Ok(Filesystem {
                uuid: disk.uuid.clone(),
                is_read_only: disk.is_read_only,
                default_subvolume: disk.default,
            })
        })
    }

    fn space(&self) -> Result<Space> {
        Ok(Space {
            free_bytes: 1 << 30,
            total_bytes: 1 << 32,
        })
    }

    fn node(&self, path: &Path) -> Result<Node> {
        self.look("looking", |disk| disk.node(path))
    }

    fn names(&self, dir: &Path) -> Result<Vec<OsString>> {
        self.look("listing", |disk| {
            let dir = disk.inside(dir)?;
            let mut names: Vec<OsString> = disk
                .below(&dir)?
                .filter(|(path, _)| path.components().count() == 1)
                .map(|(path, _)| path.as_os_str().to_owned())
                .collect();
            names.sort();
            Ok(names)
        })
    }

    fn resolves(&self, base: &Path, path: &Path) -> Result<bool> {
        self.look("resolving", |disk| resolves(disk, base, path))
    }

    fn children(&self, id: u64) -> Result<Vec<Child>> {
        self.look("listing subvolumes", |disk| disk.children(id))
    }

    fn changes(&self, _: &Path, _: &Path, _: usize) -> Result<Option<Changes>> {
        Ok(None) // whoever asks has to cope with that
    }

    fn mounts(&self) -> Result<Vec<Mounted>> {
        let machine = self.machine.borrow();
        let disk = machine.tape.now();
        let seen = |mount: &super::Mount| {
            let path = disk
                .path_of(mount.volume)
                .expect("a mounted volume is there");
            Mounted {
                root: Path::new("/").join(path).join(&mount.inside),
                at: mount.at.clone(),
            }
        };
        Ok(machine.mounts.iter().map(seen).collect())
    }

    fn snapshot(&mut self, from: &Path, to: &Path, read_only: bool) -> Result<()> {
        self.act(format!("snapshotting {from:?} to {to:?}"), |disk| {
            disk.snapshot(from, to, read_only).map(drop)
        })
    }

    fn create(&mut self, at: &Path) -> Result<()> {
        self.act(format!("creating {at:?}"), |disk| disk.create(at).map(drop))
    }

    fn make_directory(&mut self, at: &Path) -> Result<Outcome> {
        self.act(format!("making {at:?}"), |disk| match disk.look(at)? {
            Some(Entry::Directory) => Ok(Outcome::AlreadySo),
            _ => disk.add(at, Entry::Directory).map(|()| Outcome::Made),
        })
    }

    fn make_directory_like(&mut self, at: &Path, like: &Path) -> Result<Outcome> {
        self.look("looking", |disk| disk.inside(like).map(drop))?;
        self.make_directory(at)
    }

    fn remove_directory(&mut self, at: &Path) -> Result<Outcome> {
        self.act(format!("removing {at:?}"), |disk| match disk.look(at)? {
            None => Ok(Outcome::AlreadySo),
            _ => disk.remove_directory(at).map(|()| Outcome::Made),
        })
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        let doing = format!("renaming {from:?} to {to:?}");
        self.must_be_unused(&doing, from);
        self.act(doing, |disk| disk.rename(from, to))
    }

    fn exchange(&mut self, a: &Path, b: &Path) -> Result<()> {
        let doing = format!("exchanging {a:?} and {b:?}");
        self.must_be_unused(&doing, a);
        self.must_be_unused(&doing, b);
        self.act(doing, |disk| disk.exchange(a, b))
    }

    fn commit(&mut self) -> Result<()> {
        self.act("committing".into(), |disk| {
            disk.commit();
            Ok(())
        })?;
        self.machine.borrow_mut().tape.commit();
        Ok(())
    }

    fn set_read_only(&mut self, id: u64, read_only: bool) -> Result<Outcome> {
        self.act(format!("setting {id} read-only: {read_only}"), |disk| {
            if disk.is_read_only {
                return Err(Errno::ROFS);
            }
            let volume = disk.volume_mut(id)?;
            if volume.sending {
                return Err(Errno::PERM);
            }
            let is_new = volume.info.is_read_only != read_only;
            volume.info.is_read_only = read_only;
            Ok(changed(is_new))
        })
    }

    fn set_default(&mut self, id: u64) -> Result<Outcome> {
        self.act(format!("making {id} the default"), |disk| {
            disk.volume(id)?;
            if disk.is_read_only {
                return Err(Errno::ROFS);
            }
            Ok(changed(std::mem::replace(&mut disk.default, id) != id))
        })
    }

    fn delete(&mut self, id: u64) -> Result<()> {
        let doing = format!("deleting subvolume {id}");
        let path = self.look(&doing, |disk| disk.path_of(id))?;
        self.must_be_unused(&doing, &path);
        self.act(doing, |disk| disk.delete(id))
    }

    fn mark(&mut self, at: &Path, present: bool) -> Result<Outcome> {
        self.act(format!("marking {at:?}"), |disk| {
            match (disk.look(at)?, present) {
                (Some(Entry::File(_)), true) | (None, false) => Ok(Outcome::AlreadySo),
                (None, true) => disk
                    .add(at, Entry::File(Vec::new()))
                    .map(|()| Outcome::Made),
                (Some(Entry::File(_)), false) => disk.unlink(at).map(|()| Outcome::Made),
                (Some(_), _) => Err(Errno::ISDIR),
            }
        })
    }

    /// The tree as it is now, written to a temporary directory that lives as long as the view.
    fn open(&self, path: &Path) -> Result<View> {
        let doing = || format!("opening {path:?}");
        let (content, is_frozen) = self.look(&doing(), |disk| {
            let dir = disk.inside(path)?;
            let is_frozen = disk.volume(dir.volume)?.info.is_read_only;
            Ok((disk.tree(&dir)?, is_frozen))
        })?;
        let shown = tree::show(content, true);
        let mut view = shown.map_err(|error| Error::os(doing(), error))?;
        view.is_frozen = is_frozen;
        Ok(view)
    }

    fn mount(&self, path: &Path) -> Result<OwnedFd> {
        Err(Error::os(format!("mounting {path:?}"), Errno::NODEV)) // nothing can run in it
    }
}

/// The whole tree of the directory or subvolume at `path`, if it is there.
pub(super) fn tree_at(disk: &Disk, path: &Path) -> Option<tree::Tree> {
    let dir: Spot = disk.inside(path).ok()?;
    disk.tree(&dir).ok()
}
