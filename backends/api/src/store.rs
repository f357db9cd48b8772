//! The snapshot-store seam: the filesystem that holds the persist tree.

use crate::{ChangedInodes, Changes, Identity, Outcome, Result, SnapshotName, View};
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// What a store's filesystem can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StoreCapabilities {
    /// Snapshots can be taken; without them an archive is made from the live tree.
    pub snapshots: bool,
    /// A snapshot of nested volumes is one transaction.
    pub atomic_nested: bool,
    /// What may differ from a snapshot can be told without reading it all ([`SnapshotStore::changes`],
    /// [`SnapshotStore::changed_inodes`]): that of the last archive is worth its room.
    pub changes: bool,
}

/// What the store is, seen from its filesystem: decides how a restored tree is swapped in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "shape")]
pub enum Shape {
    /// A volume of its own: volumes are exchanged.
    Volume {
        /// Its name in the engine's notation.
        name: String,
    },
    /// A directory inside a filesystem or volume: directories are exchanged.
    Directory {
        /// Its path relative to the top of the volume that holds it.
        path: PathBuf,
    },
    /// The top of a filesystem: its children are exchanged under a journal.
    FilesystemRoot,
}

/// What a store's survey tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreFacts {
    /// The engine's stable name: `btrfs`, `zfs`, `plain`.
    pub engine: &'static str,
    /// The filesystem's own name: `btrfs`, `zfs`, `ext4`, `xfs` …
    pub filesystem: String,
    /// Where the store is.
    pub path: PathBuf,
    /// What it is.
    pub shape: Shape,
    /// Nested volumes below it, relative paths, parents before children.
    pub nested: Vec<PathBuf>,
    /// What tells the volumes that it is made of and where each is, where that can change without
    /// anything being written to them; else empty.
    #[serde(skip)]
    pub layout: String,
    /// Other filesystems mounted below it, relative paths: no snapshot contains them.
    pub foreign_mounts: Vec<PathBuf>,
    /// Equal identities mean nothing changed; `None` where the filesystem cannot tell.
    pub identity: Option<Identity>,
    /// Free space for unprivileged users, in bytes.
    pub free_bytes: u64,
    /// Size of the filesystem, in bytes.
    pub total_bytes: u64,
    /// Whether the reserved directory stays when trees are exchanged, as where the children of one
    /// directory are; else each tree has its own, and takes it along.
    pub keeps_reserved: bool,
    /// Whether an exchange was interrupted, which [`SnapshotStore::recover`] finishes.
    pub is_interrupted: bool,
    /// Whether a tree staged by an interrupted or waiting restore is there.
    pub has_staged: bool,
    /// Whether a tree replaced by a restore is there, for `state undo`.
    pub has_replaced: bool,
}

/// A tree that takes the store's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Incoming {
    /// The staged one: a restore.
    Staged,
    /// The replaced one, which comes back.
    Replaced,
}

impl Incoming {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Staged, Self::Replaced];
}

/// A snapshot of the persist tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Its name.
    pub name: SnapshotName,
    /// When it was taken, as far as the filesystem knows.
    pub taken_at: Option<DateTime<Utc>>,
    /// Grows with every snapshot; says which is newest when clocks lie.
    pub sequence: u64,
    /// Equal identities mean equal content.
    pub identity: Option<Identity>,
}

/// An engine that holds the persist tree.
///
/// Every operation that changes something is atomic, or is recovered by the next call: an
/// interrupted `create` or `delete` never leaves something that lists as a snapshot and is not
/// whole.
pub trait SnapshotStore {
    /// What this store can do.
    fn capabilities(&self) -> StoreCapabilities;

    /// Looks at the store. Changes nothing.
    ///
    /// # Errors
    /// The store is not there or cannot be read.
    fn survey(&self) -> Result<StoreFacts>;

    /// The snapshots, oldest first. Unfinished ones are not listed.
    ///
    /// # Errors
    /// The filesystem cannot be read, or has no snapshots ([`crate::Error::Unsupported`]).
    fn list(&self) -> Result<Vec<Snapshot>>;

    /// Takes a read-only snapshot, nested volumes included.
    ///
    /// # Errors
    /// The name is taken, the disk is full, or the engine has no snapshots.
    fn create(&mut self, name: &SnapshotName) -> Result<Snapshot>;

    /// Deletes a snapshot; [`Outcome::AlreadySo`] if there is none of that name.
    ///
    /// # Errors
    /// It is held or in use.
    fn delete(&mut self, name: &SnapshotName) -> Result<Outcome>;

    /// As [`SnapshotStore::create`], but it need not have reached the disk: a loss of power may take the
    /// snapshot back, as a whole.
    ///
    /// # Errors
    /// As there.
    fn create_lazily(&mut self, name: &SnapshotName) -> Result<Snapshot> {
        self.create(name)
    }

    /// As [`SnapshotStore::delete`], but it need not have reached the disk: a loss of power may bring
    /// the snapshot back, as a whole.
    ///
    /// # Errors
    /// As there.
    fn delete_lazily(&mut self, name: &SnapshotName) -> Result<Outcome> {
        self.delete(name)
    }

    /// Opens a snapshot for reading.
    ///
    /// # Errors
    /// [`crate::Error::Missing`] if there is none of that name.
    fn open(&self, name: &SnapshotName) -> Result<View>;

    /// Opens the live tree for reading (not frozen).
    ///
    /// # Errors
    /// The store is not there or cannot be read.
    fn open_live(&self) -> Result<View>;

    /// The tree that was replaced, where it has taken the store's reserved directory along; `None`
    /// also where that stays in its place.
    ///
    /// # Errors
    /// It cannot be opened.
    fn open_replaced(&self) -> Result<Option<OwnedFd>> {
        Ok(None)
    }

    /// Where the snapshot `new` (the live tree, if there is no name) may differ from the snapshot
    /// `old`, without reading either; `None`: this engine cannot tell in this case, and both have
    /// to be read, or there are more than about `most` such places. What was done in the live tree before
    /// the call is part of the answer.
    ///
    /// # Errors
    /// [`crate::Error::Missing`] if there is none of that name, or it cannot be looked at.
    fn changes(
        &self,
        _old: &SnapshotName,
        _new: Option<&SnapshotName>,
        _most: usize,
    ) -> Result<Option<Changes>> {
        Ok(None)
    }

    /// Which inodes may differ between two snapshots, for whoever knows what the older one has
    /// where: of engines that know numbers and no paths. `None`: it cannot tell that either, or
    /// telling would take too long.
    ///
    /// # Errors
    /// As [`SnapshotStore::changes`].
    fn changed_inodes(
        &self,
        _old: &SnapshotName,
        _new: &SnapshotName,
    ) -> Result<Option<ChangedInodes>> {
        Ok(None)
    }

    /// A directory, mode 0700, on the store's filesystem, to build a tree in that [`exchange`]
    /// can swap in. The one of an interrupted restore is given again, with what it holds.
    ///
    /// [`exchange`]: SnapshotStore::exchange
    ///
    /// # Errors
    /// No space, or the filesystem is read-only.
    fn stage(&mut self) -> Result<OwnedFd>;

    /// Refuses if anything would go on using the old tree after an exchange.
    ///
    /// # Errors
    /// [`crate::Refusal::InUse`].
    fn demand_unused(&self) -> Result<()>;

    /// Makes the staged tree the store and keeps the old tree as the replaced one (an older
    /// replaced tree is discarded first). Finishes an interrupted exchange.
    ///
    /// # Errors
    /// [`crate::Refusal::InUse`] if anything uses the store, before anything was changed.
    fn exchange(&mut self) -> Result<Outcome>;

    /// Finishes an exchange that was interrupted; [`Outcome::AlreadySo`] if none was. Called before
    /// anything of the store is put in place at boot: where an exchange is many acts, a cut may
    /// have left part of each tree in place.
    ///
    /// # Errors
    /// An act failed, or what is there is not understood; nothing of either tree is lost.
    fn recover(&mut self) -> Result<Outcome> {
        Ok(Outcome::AlreadySo)
    }

    /// Puts the replaced tree back; what was the store becomes the replaced tree.
    ///
    /// # Errors
    /// [`crate::Error::Missing`] if nothing was replaced; [`crate::Refusal::InUse`].
    fn exchange_back(&mut self) -> Result<Outcome>;

    /// Makes the replaced tree the staged one. After [`exchange_back`] all is as it was before
    /// [`exchange`]: where several stores are exchanged together, and a later one cannot be.
    ///
    /// [`exchange`]: SnapshotStore::exchange
    /// [`exchange_back`]: SnapshotStore::exchange_back
    ///
    /// # Errors
    /// [`crate::Error::Missing`] if nothing was replaced; something else is staged.
    fn restage(&mut self) -> Result<Outcome>;

    /// Leaves it to the next boot to make the staged tree the store, or the replaced one: one act,
    /// after which nobody stages into that tree, exchanges or discards it but by
    /// [`exchange_waiting`] and [`call_off`]. Before a staged tree waits, an older replaced one is
    /// discarded, so that the boot need not.
    ///
    /// [`exchange_waiting`]: SnapshotStore::exchange_waiting
    /// [`call_off`]: SnapshotStore::call_off
    ///
    /// # Errors
    /// There is no such tree, or another waits already.
    fn postpone(&mut self, incoming: Incoming) -> Result<Outcome>;

    /// Which tree waits for the next boot. Cheap: every boot asks.
    ///
    /// # Errors
    /// It cannot be looked at.
    fn waiting(&self) -> Result<Option<Incoming>>;

    /// The tree that waits is staged or replaced again, as it was before;
    /// [`Outcome::AlreadySo`] if none waits.
    ///
    /// # Errors
    /// The act failed.
    fn call_off(&mut self) -> Result<Outcome>;

    /// Makes the tree that waits the store and keeps the old tree as the replaced one. Finishes an
    /// interrupted exchange.
    ///
    /// # Errors
    /// [`crate::Error::Missing`] if none waits; [`crate::Refusal::InUse`].
    fn exchange_waiting(&mut self) -> Result<Outcome>;

    /// Deletes the staged tree.
    ///
    /// # Errors
    /// Something in it cannot be deleted.
    fn discard_staged(&mut self) -> Result<Outcome>;

    /// Deletes the replaced tree.
    ///
    /// # Errors
    /// Something in it cannot be deleted.
    fn discard_replaced(&mut self) -> Result<Outcome>;
}
