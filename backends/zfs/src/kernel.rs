//! The acts of ZFS that the engine is made of.
//!
//! Names are full ZFS names (`pool/a/b`, `pool/a/b@snap`), validated before they get here. The
//! live implementation looks with `zfs list/get -Hp` and acts through `zfs(8)` or
//! `libzfs_core`; the simulator in `backends/testing` is the other one. Each acting method is one
//! transaction that the pool carries out whole or not at all, and that is on the disk when the
//! method returns (a sync task of the DSL); a look changes nothing. The engine holds all policy.

use serde::Serialize;
use state_api::{Outcome, Result, View};
use std::path::{Path, PathBuf};

/// What a dataset is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DatasetKind {
    /// A filesystem.
    Filesystem,
    /// A block volume.
    Volume,
}

/// A filesystem or volume; a clone is one too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dataset {
    /// Its full name.
    pub name: String,
    /// What it is.
    pub kind: DatasetKind,
    /// The `guid` property: identity that survives renames, promotes and rollbacks.
    pub guid: u64,
    /// The transaction group that made it; grows with every dataset made in the pool.
    pub createtxg: u64,
    /// `creation`, seconds since 1970.
    pub creation_seconds: i64,
    /// The snapshot it is a clone of.
    pub origin: Option<String>,
    /// Where it is mounted in any way we can see, from mountinfo as well as `mounted`.
    pub mounted_at: Vec<PathBuf>,
    /// The dataset whose key it uses, if encrypted.
    pub encryption_root: Option<String>,
    /// Whether its key is loaded (`keystatus` is `available`).
    pub has_loaded_key: bool,
    /// The properties set on the dataset itself (`source` is `local` or `received`), user
    /// properties included, by name.
    pub properties: Vec<Property>,
}

/// A snapshot, or a bookmark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ZfsSnapshot {
    /// Its full name: `dataset@snapshot`, or `dataset#bookmark`.
    pub name: String,
    /// The `guid` property; the same after a `promote` moved it to another dataset.
    pub guid: u64,
    /// The transaction group that made it: says which snapshots are newer than blank.
    pub createtxg: u64,
    /// `creation`, seconds since 1970.
    pub creation_seconds: i64,
    /// The datasets that are clones of it.
    pub clones: Vec<String>,
    /// The tags of its holds.
    pub holds: Vec<String>,
}

/// A property with its value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Property {
    /// Its name.
    pub name: String,
    /// Its value as `-p` prints it.
    pub value: String,
}

impl Property {
    /// `name=value`.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
        }
    }
}

/// The pool as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// The `guid` property.
    pub guid: u64,
    /// Whether it is imported read-only.
    pub is_read_only: bool,
    /// The `bootfs` property. The pool keeps it by object: it follows a rename.
    pub bootfs: Option<String>,
}

/// One imported pool.
pub trait Kernel {
    /// The pool as a whole; [`state_api::Error::Missing`] if it is not imported.
    fn pool(&self, pool: &str) -> Result<Pool>;
    /// The dataset and everything below it, parents before children, siblings by name; empty if
    /// it does not exist.
    fn datasets(&self, below: &str) -> Result<Vec<Dataset>>;
    /// The snapshots and bookmarks of the dataset and of everything below it, by `createtxg`,
    /// then by name; empty if it does not exist.
    fn snapshots(&self, below: &str) -> Result<Vec<ZfsSnapshot>>;
    /// Whether `path` below the tree of a dataset or snapshot resolves to something, symlinks
    /// followed inside it as if it were `/`. For `sbin/init` in a blank.
    fn resolves(&self, name: &str, path: &Path) -> Result<bool>;

    /// Takes snapshots of several datasets of one pool. Fails if one of them exists.
    fn snapshot(&mut self, names: &[String]) -> Result<()>;
    /// Rolls a dataset back to its newest snapshot, which must be `snapshot`: fails while a newer
    /// snapshot or bookmark exists. Children are not touched. (On a *mounted* dataset it succeeds.)
    fn rollback(&mut self, snapshot: &str) -> Result<()>;
    /// Makes a clone with these local properties and no others: two transactions, between which it
    /// has none of them. Its parent must exist, itself not. zfs(8) would mount it: `canmount` must be among the properties as `noauto` or `off`,
    /// or `mountpoint` as `legacy` or `none`.
    fn clone_snapshot(&mut self, snapshot: &str, to: &str, properties: &[Property]) -> Result<()>;
    /// Swaps the roles of a clone and the dataset of its origin: the origin and all snapshots
    /// older than it move to the clone under their short names (fails if one is taken there), the
    /// other dataset becomes a clone of the moved origin, and the clone's `origin` is what the
    /// other dataset's was. Clones of moved snapshots follow. If the other dataset was the
    /// encryption root of both, the clone becomes it.
    fn promote(&mut self, dataset: &str) -> Result<()>;
    /// Renames a dataset with its children, or a snapshot; never mounts or unmounts (`-u`).
    /// Fails if `to` exists or its parent does not. Everything that names it (origins, `bootfs`,
    /// encryption roots) follows.
    fn rename(&mut self, from: &str, to: &str) -> Result<()>;
    /// Makes an empty filesystem with these local properties; does not mount it. Its parent must
    /// exist.
    fn create(&mut self, dataset: &str, properties: &[Property]) -> Result<()>;
    /// Destroys one dataset that has no snapshots and no children, one snapshot that has no
    /// clones and no holds, or one bookmark. Never more than the one.
    fn destroy(&mut self, name: &str) -> Result<()>;
    /// Sets local properties of a dataset, all in one transaction; mounts nothing.
    fn set(&mut self, dataset: &str, properties: &[Property]) -> Result<Outcome>;
    /// Removes a local value: back to the inherited one, or the default.
    fn inherit(&mut self, dataset: &str, property: &str) -> Result<Outcome>;
    /// Sets the pool's `bootfs`.
    fn set_bootfs(&mut self, pool: &str, dataset: &str) -> Result<Outcome>;

    /// Opens a dataset or snapshot for reading through a private read-only mount, children (of a
    /// snapshot: those that have a snapshot of the same short name) grafted by their relative
    /// names.
    fn open(&self, name: &str) -> Result<View>;
}
