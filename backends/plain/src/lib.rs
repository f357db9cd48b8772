//! The plain engine: a store on ext4, xfs or anything else that has no snapshots.
//!
//! It says so through its capabilities; an archive is then made from the live tree. A restored
//! tree is exchanged for the live one as a whole directory or, at the top of a filesystem, child
//! by child under a journal.
#![forbid(unsafe_code)]

use rustix::fs::{Mode, OFlags, StatVfsMountFlags, fstatvfs, open};
use state_api::{
    Error, Incoming, Outcome, Refusal, Result, Shape, Snapshot, SnapshotName, SnapshotStore,
    StoreCapabilities, StoreFacts, View,
};
use state_linux::mountinfo::{self, Mount};
use state_linux::swap::waiting::Waiting as _;
use state_linux::swap::{Children, Sibling};
use state_linux::users;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The engine's stable name.
pub const NAME: &str = "plain";

/// A store without snapshots.
#[derive(Debug)]
pub struct PlainStore {
    path: PathBuf,
}

/// How its tree is exchanged.
enum Swap {
    Sibling(Sibling),
    Children(Children),
}

/// The same call on either.
macro_rules! on_swap {
    ($swap:expr, $name:ident => $call:expr) => {
        match $swap {
            Swap::Sibling($name) => $call,
            Swap::Children($name) => $call,
        }
    };
}

impl PlainStore {
    /// The store at `path`: an absolute path without symlinks or `..`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn unsupported<T>(&self) -> Result<T> {
        Err(Error::Unsupported {
            engine: NAME,
            what: "a snapshot",
        })
    }

    fn swap(&self) -> Result<Swap> {
        let mounts = mounts()?;
        Ok(match self.is_mount_point(&mounts) {
            true => Swap::Children(Children::new(directory(&self.path)?)),
            false => {
                let parent = self.path.parent().zip(self.path.file_name());
                let (parent, name) = parent.ok_or_else(|| Refusal::InUse {
                    what: self.path.display().to_string(),
                    by: "the system: it is the root directory".into(),
                })?;
                Swap::Sibling(Sibling::new(directory(parent)?, name))
            }
        })
    }

    fn is_mount_point(&self, mounts: &[Mount]) -> bool {
        mounts.iter().any(|mount| mount.at == self.path)
    }
}

impl SnapshotStore for PlainStore {
    fn capabilities(&self) -> StoreCapabilities {
        StoreCapabilities {
            snapshots: false,
            atomic_nested: false,
            changes: false,
        }
    }

    fn survey(&self) -> Result<StoreFacts> {
        let dir = directory(&self.path)?;
        let space = fstatvfs(&dir).map_err(|e| doing("asking for the space of", &self.path, e))?;
        let mounts = mounts()?;
        let mount = users::mount_of(&self.path, &mounts).ok_or_else(|| Error::Malformed {
            what: "the list of mounts".into(),
            why: format!("nothing is mounted at or above {}", self.path.display()),
        })?;
        let swap = self.swap()?;
        Ok(StoreFacts {
            engine: NAME,
            filesystem: mount.filesystem.to_string_lossy().into_owned(),
            path: self.path.clone(),
            shape: match &swap {
                Swap::Children(_) => Shape::FilesystemRoot,
                Swap::Sibling(_) => Shape::Directory {
                    path: inside(mount, &self.path),
                },
            },
            nested: Vec::new(),
            layout: String::new(),
            foreign_mounts: below(&self.path, &mounts),
            identity: None,
            free_bytes: space.f_bavail * space.f_frsize,
            total_bytes: space.f_blocks * space.f_frsize,
            keeps_reserved: matches!(swap, Swap::Children(_)),
            is_interrupted: on_swap!(&swap, swap => swap.is_interrupted())?,
            has_staged: on_swap!(&swap, swap => swap.has_staged())?,
            has_replaced: on_swap!(&swap, swap => swap.has_replaced())?,
        })
    }

    fn list(&self) -> Result<Vec<Snapshot>> {
        self.unsupported()
    }

    fn create(&mut self, _: &SnapshotName) -> Result<Snapshot> {
        self.unsupported()
    }

    fn delete(&mut self, _: &SnapshotName) -> Result<Outcome> {
        self.unsupported()
    }

    fn open(&self, _: &SnapshotName) -> Result<View> {
        self.unsupported()
    }

    fn open_live(&self) -> Result<View> {
        directory(&self.path).map(View::live)
    }

    fn open_replaced(&self) -> Result<Option<OwnedFd>> {
        match self.swap()? {
            Swap::Sibling(sibling) => sibling.open_replaced(),
            Swap::Children(_) => Ok(None),
        }
    }

    fn stage(&mut self) -> Result<OwnedFd> {
        let dir = on_swap!(self.swap()?, swap => swap.stage())?;
        let space = fstatvfs(&dir).map_err(|e| doing("asking for the space of", &self.path, e))?;
        if space.f_flag.contains(StatVfsMountFlags::RDONLY) {
            return Err(Refusal::ReadOnly {
                what: self.path.display().to_string(),
            }
            .into());
        }
        Ok(dir)
    }

    fn demand_unused(&self) -> Result<()> {
        let users = users::of(&self.path).map_err(|e| Error::os("looking for its users", e))?;
        match users.first() {
            None => Ok(()),
            Some(user) => Err(Refusal::InUse {
                what: self.path.display().to_string(),
                by: match users.len() {
                    1 => user.to_string(),
                    n => format!("{user} and {} more", n - 1),
                },
            }
            .into()),
        }
    }

    fn exchange(&mut self) -> Result<Outcome> {
        self.demand_unused()?;
        on_swap!(self.swap()?, swap => swap.exchange())
    }

    fn recover(&mut self) -> Result<Outcome> {
        on_swap!(self.swap()?, swap => swap.recover())
    }

    fn exchange_back(&mut self) -> Result<Outcome> {
        self.demand_unused()?;
        on_swap!(self.swap()?, swap => swap.exchange_back())
    }

    fn restage(&mut self) -> Result<Outcome> {
        on_swap!(&mut self.swap()?, swap => swap.restage())
    }

    fn postpone(&mut self, incoming: Incoming) -> Result<Outcome> {
        on_swap!(&mut self.swap()?, swap => swap.postpone(incoming))
    }

    fn waiting(&self) -> Result<Option<Incoming>> {
        on_swap!(self.swap()?, swap => swap.waiting())
    }

    fn call_off(&mut self) -> Result<Outcome> {
        on_swap!(&mut self.swap()?, swap => swap.call_off())
    }

    fn exchange_waiting(&mut self) -> Result<Outcome> {
        self.demand_unused()?;
        on_swap!(self.swap()?, swap => swap.exchange_waiting())
    }

    fn discard_staged(&mut self) -> Result<Outcome> {
        on_swap!(self.swap()?, swap => swap.discard_staged())
    }

    fn discard_replaced(&mut self) -> Result<Outcome> {
        on_swap!(self.swap()?, swap => swap.discard_replaced())
    }
}

fn doing(what: &str, path: &Path, error: impl Into<std::io::Error>) -> Error {
    Error::os(format!("{what} {}", path.display()), error)
}

fn directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).map_err(|e| doing("opening", path, e))
}

fn mounts() -> Result<Vec<Mount>> {
    mountinfo::read().map_err(|e| Error::os("reading the list of mounts", e))
}

/// The path of `path` within the filesystem that `mount` is a mount of, without a leading slash.
fn inside(mount: &Mount, path: &Path) -> PathBuf {
    let below = path.strip_prefix(&mount.at).unwrap_or(path);
    let inside = mount.root.join(below);
    inside.strip_prefix("/").unwrap_or(&inside).to_owned()
}

/// What is mounted below `path`, relative to it, parents before children.
fn below(path: &Path, mounts: &[Mount]) -> Vec<PathBuf> {
    let below = mounts.iter().filter(|mount| mount.at != path);
    let mut found: Vec<PathBuf> = below
        .filter_map(|mount| mount.at.strip_prefix(path).ok())
        .map(Path::to_owned)
        .collect();
    found.sort();
    found.dedup();
    found
}
