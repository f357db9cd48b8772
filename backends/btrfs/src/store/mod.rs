//! A store on btrfs: a subvolume of its own, a directory in one, or a whole filesystem.
//!
//! Snapshots of it lie in `.state/snapshots` at the filesystem's top level, outside the store, so
//! that no snapshot contains another. A store that is a subvolume is exchanged as one, in a
//! single act; any other is exchanged like any directory.

mod set;
mod volume;

use crate::changes::{self, Tree};
use crate::layout::{RESERVED, key};
use crate::shown::Shown;
use crate::{Kernel, Live, Node, Place, Subvolume};
use state_api::{
    Changes, Error, Identity, Incoming, Outcome, Refusal, Result, Shape, Snapshot, SnapshotName,
    SnapshotStore, StoreCapabilities, StoreFacts, View,
};
use state_linux::mountinfo;
use state_linux::swap::waiting::Waiting as _;
use state_plain::PlainStore;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use volume::Volume;

/// A store on btrfs.
#[derive(Debug)]
pub struct BtrfsStore {
    kernel: Live,
    path: PathBuf,
    place: Place,
    /// For the shapes that are exchanged like any directory.
    plain: PlainStore,
}

impl BtrfsStore {
    /// The store at `path`: an absolute path without symlinks or `..`.
    ///
    /// # Errors
    /// There is none, or it is not on btrfs.
    pub fn open(path: &Path) -> Result<Self> {
        let dir = File::open(path)
            .map_err(|source| Error::os(format!("opening {}", Shown(path)), source))?;
        let kernel = Live::holding(&dir)?;
        let place = kernel.place(&dir)?;
        if place.subvolume.starts_with(RESERVED) {
            return Err(Refusal::Unsafe {
                fact: format!(
                    "{} shows {}, which is not the store any more",
                    Shown(path),
                    Shown(&place.subvolume)
                ),
                cure: "mount the store by name: `subvol=NAME` instead of `subvolid=…`".into(),
            }
            .into());
        }
        Ok(Self {
            place,
            kernel,
            path: path.to_owned(),
            plain: PlainStore::new(path),
        })
    }

    fn is_volume(&self) -> bool {
        self.place.inside.as_os_str().is_empty() && !self.is_top_level()
    }

    /// Whether the subvolume that holds the store is the top level, which holds our own things.
    fn is_top_level(&self) -> bool {
        self.place.subvolume.as_os_str().is_empty()
    }

    /// The store's path from the top level.
    fn at(&self) -> PathBuf {
        join(&self.place.subvolume, &self.place.inside)
    }

    /// Where our own things of this store are.
    fn reserved(&self, what: &str) -> PathBuf {
        Path::new(RESERVED).join(what).join(key(&self.at()))
    }

    /// Makes a directory of our own with its parents.
    fn make_reserved(&mut self, what: &str) -> Result<PathBuf> {
        let dir = self.reserved(what);
        let mut all: Vec<&Path> = dir.ancestors().collect();
        all.pop(); // the top level
        for path in all.into_iter().rev() {
            self.kernel.make_directory(path)?;
        }
        Ok(dir)
    }

    fn subvolume(&self, at: &Path) -> Result<Option<Subvolume>> {
        Ok(match self.kernel.node(at)? {
            Node::Subvolume(found) => Some(found),
            _ => None,
        })
    }

    /// The subvolume that holds the store.
    fn top(&self) -> Result<Subvolume> {
        let at = &self.place.subvolume;
        self.subvolume(at)?.ok_or_else(|| Error::Missing {
            what: format!("the subvolume {}", Shown(at)),
        })
    }

    /// The subvolumes inside the store by their paths from its top, parents before children, with
    /// how many subvolumes each lies in.
    fn nested(&self) -> Result<Vec<(PathBuf, usize)>> {
        let mut depths = std::collections::BTreeMap::new();
        let mut found = Vec::new();
        for child in self.kernel.children(self.top()?.id)? {
            let depth = depths.get(&child.parent).map_or(1, |depth| depth + 1);
            depths.insert(child.id, depth);
            let inside = child.path.strip_prefix(&self.place.inside);
            match inside {
                Ok(path) if !self.is_ours(path) => found.push((path.to_owned(), depth)),
                _ => {}
            }
        }
        found.sort();
        Ok(found)
    }

    /// Whether a path inside the store is our own: its snapshots, if it is the whole filesystem.
    fn is_ours(&self, path: &Path) -> bool {
        path.starts_with(RESERVED)
    }

    /// Which state the live tree is in. Written data that is not on the disk yet changes it once
    /// more when it gets there: that may look like a change, never like none. What is in the top level cannot be told: our own things
    /// change it.
    fn identity(&self, nested: &[(PathBuf, usize)]) -> Result<Option<Identity>> {
        if self.is_top_level() {
            return Ok(None);
        }
        let top = self.top()?;
        let mut all = vec![(top.uuid, top.ctransid)];
        for (path, _) in nested {
            if let Some(found) = self.subvolume(&join(&self.at(), path))? {
                all.push((found.uuid, found.ctransid));
            }
        }
        Ok(Some(identity(&all)))
    }

    /// The subvolume that holds the store, with those inside the store.
    fn live_tree(&self) -> Result<Tree> {
        let nested = self.nested()?.into_iter();
        Ok(Tree {
            top: self.place.subvolume.clone(),
            nested: nested
                .map(|(path, _)| {
                    let at = join(&self.place.inside, &path);
                    (at.clone(), join(&self.place.subvolume, &at))
                })
                .collect(),
        })
    }

    fn mounts_below(&self) -> Result<Vec<PathBuf>> {
        let mounts =
            mountinfo::read().map_err(|source| Error::os("reading the list of mounts", source))?;
        let below = mounts.iter().filter(|mount| mount.at != self.path);
        let mut found: Vec<PathBuf> = below
            .filter_map(|mount| mount.at.strip_prefix(&self.path).ok())
            .map(Path::to_owned)
            .collect();
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// A whole filesystem is exchanged child by child; its subvolumes would be moved away with
    /// them, root and blank included.
    fn refuse_if_others_live_here(&self) -> Result<()> {
        if !self.at().as_os_str().is_empty() {
            return Ok(());
        }
        match self.nested()?.first() {
            None => Ok(()),
            Some((path, _)) => Err(Refusal::Unsafe {
                fact: format!(
                    "the store is the whole filesystem, and {} would be moved out of its place",
                    Shown(path)
                ),
                cure: "keep the store in a subvolume of its own".into(),
            }
            .into()),
        }
    }
}

/// `PathBuf::join`, without a slash at the end for an empty path.
fn join(top: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() {
        top.to_owned()
    } else {
        top.join(rest)
    }
}

/// A snapshot takes over from its source which transaction changed it last, so that the pairs of
/// the sources and those of their snapshots tell the same.
fn identity(volumes: &[([u8; 16], u64)]) -> Identity {
    let one = |(uuid, ctransid): &([u8; 16], u64)| {
        let uuid: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{uuid}:{ctransid}")
    };
    let all: Vec<String> = volumes.iter().map(one).collect();
    Identity(all.join(","))
}

impl SnapshotStore for BtrfsStore {
    fn capabilities(&self) -> StoreCapabilities {
        StoreCapabilities {
            snapshots: true,
            atomic_nested: false,
            changes: true,
        }
    }

    fn survey(&self) -> Result<StoreFacts> {
        let nested = self.nested()?;
        let space = self.kernel.space()?;
        let (keeps_reserved, is_interrupted, (has_staged, has_replaced)) = if self.is_volume() {
            (false, self.volume_is_interrupted()?, self.volume_has()?)
        } else {
            let facts = self.plain.survey()?;
            let trees = (facts.has_staged, facts.has_replaced);
            (facts.keeps_reserved, facts.is_interrupted, trees)
        };
        Ok(StoreFacts {
            engine: "btrfs",
            filesystem: "btrfs".into(),
            path: self.path.clone(),
            shape: if self.is_volume() {
                Shape::Volume {
                    name: Shown(&self.place.subvolume).to_string(),
                }
            } else if self.place.inside.as_os_str().is_empty() {
                Shape::FilesystemRoot
            } else {
                Shape::Directory {
                    path: self.place.inside.clone(),
                }
            },
            identity: self.identity(&nested)?,
            nested: nested.into_iter().map(|(path, _)| path).collect(),
            layout: String::new(),
            foreign_mounts: self.mounts_below()?,
            free_bytes: space.free_bytes,
            total_bytes: space.total_bytes,
            keeps_reserved,
            is_interrupted,
            has_staged,
            has_replaced,
        })
    }

    fn list(&self) -> Result<Vec<Snapshot>> {
        self.list_sets()
    }

    fn create(&mut self, name: &SnapshotName) -> Result<Snapshot> {
        let made = self.create_set(name)?;
        self.kernel.commit()?;
        Ok(made)
    }

    fn create_lazily(&mut self, name: &SnapshotName) -> Result<Snapshot> {
        self.create_set(name)
    }

    fn delete(&mut self, name: &SnapshotName) -> Result<Outcome> {
        let outcome = self.delete_set(name)?;
        self.kernel.commit()?;
        Ok(outcome)
    }

    fn delete_lazily(&mut self, name: &SnapshotName) -> Result<Outcome> {
        self.delete_set(name)
    }

    fn open(&self, name: &SnapshotName) -> Result<View> {
        self.open_set(name)
    }

    fn open_replaced(&self) -> Result<Option<OwnedFd>> {
        match self.is_volume() {
            true => self.open_replaced_volume(),
            false => self.plain.open_replaced(),
        }
    }

    fn open_live(&self) -> Result<View> {
        let mut view = self.kernel.open(&self.at())?;
        view.grafts.retain(|graft| !self.is_ours(&graft.at));
        Ok(view)
    }

    fn changes(
        &self,
        old: &SnapshotName,
        new: Option<&SnapshotName>,
        most: usize,
    ) -> Result<Option<Changes>> {
        let old = self.set_tree(old)?;
        let new = match new {
            Some(new) => self.set_tree(new)?,
            None => self.live_tree()?,
        };
        let changes = changes::between(&self.kernel, &old, &new, most)?;
        Ok(changes.map(|changes| changes.inside(&self.place.inside)))
    }

    fn stage(&mut self) -> Result<OwnedFd> {
        if self.kernel.filesystem()?.is_read_only {
            return Err(Refusal::ReadOnly {
                what: Shown(&self.path).to_string(),
            }
            .into());
        }
        self.refuse_if_others_live_here()?;
        match self.is_volume() {
            true => self.stage_volume(),
            false => self.plain.stage(),
        }
    }

    fn demand_unused(&self) -> Result<()> {
        self.plain.demand_unused()
    }

    fn exchange(&mut self) -> Result<Outcome> {
        self.refuse_if_others_live_here()?;
        match self.is_volume() {
            true => self.exchange_volume(),
            false => self.plain.exchange(),
        }
    }

    fn recover(&mut self) -> Result<Outcome> {
        match self.is_volume() {
            // Either tree is in place whole: where nothing can be written, there is no hurry.
            true if self.kernel.filesystem()?.is_read_only => Ok(Outcome::AlreadySo),
            true => Volume(self).finish_exchange(),
            false => self.plain.recover(),
        }
    }

    fn exchange_back(&mut self) -> Result<Outcome> {
        self.refuse_if_others_live_here()?;
        match self.is_volume() {
            true => self.exchange_volume_back(),
            false => self.plain.exchange_back(),
        }
    }

    fn restage(&mut self) -> Result<Outcome> {
        match self.is_volume() {
            true => Volume(self).restage(),
            false => self.plain.restage(),
        }
    }

    fn postpone(&mut self, incoming: Incoming) -> Result<Outcome> {
        self.refuse_if_others_live_here()?;
        match self.is_volume() {
            true => Volume(self).postpone(incoming),
            false => self.plain.postpone(incoming),
        }
    }

    fn waiting(&self) -> Result<Option<Incoming>> {
        match self.is_volume() {
            true => self.volume_waiting(),
            false => self.plain.waiting(),
        }
    }

    fn call_off(&mut self) -> Result<Outcome> {
        match self.is_volume() {
            true => Volume(self).call_off(),
            false => self.plain.call_off(),
        }
    }

    fn exchange_waiting(&mut self) -> Result<Outcome> {
        self.refuse_if_others_live_here()?;
        match self.is_volume() {
            true => self.exchange_volume_waiting(),
            false => self.plain.exchange_waiting(),
        }
    }

    fn discard_staged(&mut self) -> Result<Outcome> {
        match self.is_volume() {
            true => self.discard_volume("staged"),
            false => self.plain.discard_staged(),
        }
    }

    fn discard_replaced(&mut self) -> Result<Outcome> {
        match self.is_volume() {
            true => self.discard_volume("replaced"),
            false => self.plain.discard_replaced(),
        }
    }
}
