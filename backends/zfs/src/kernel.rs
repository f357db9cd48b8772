//! The acts of ZFS that the engine is made of.
//!
//! Names are full ZFS names (`pool/a/b`, `pool/a/b@snap`), validated before they get here. The
//! live implementation looks with `zfs list/get -Hp` and acts through `libzfs_core` or `zfs(8)`;
//! the simulator in `backends/testing` is the other one. Each method is one transaction, or a
//! look that changes nothing; the engine above holds all policy.

use serde::Serialize;
use state_api::{Outcome, Result, View};
use std::path::PathBuf;

/// A filesystem, or a clone of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dataset {
    /// Its full name.
    pub name: String,
    /// The `guid` property: identity that survives renames.
    pub guid: u64,
    /// The transaction group that made it; grows with every dataset made in the pool.
    pub createtxg: u64,
    /// `creation`, seconds since 1970.
    pub creation_seconds: i64,
    /// The snapshot it is a clone of.
    pub origin: Option<String>,
    /// Where it is mounted in any way we can see, from mountinfo as well as `mounted`.
    pub mounted_at: Vec<PathBuf>,
    /// The root of its encryption key's inheritance, if encrypted.
    pub encryption_root: Option<String>,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ZfsSnapshot {
    /// Its full name, `dataset@snapshot`.
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

/// A property set on the dataset itself (`source` is `local`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Property {
    /// Its name.
    pub name: String,
    /// Its value as `-p` prints it.
    pub value: String,
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
    /// The `bootfs` property.
    pub bootfs: Option<String>,
}

/// One imported pool.
pub trait Kernel {
    /// The pool as a whole.
    fn pool(&self, pool: &str) -> Result<Pool>;
    /// The dataset and everything below it, parents before children; empty if it is missing.
    fn datasets(&self, below: &str) -> Result<Vec<Dataset>>;
    /// The snapshots of exactly this dataset, oldest first.
    fn snapshots(&self, dataset: &str) -> Result<Vec<ZfsSnapshot>>;
    /// The properties set on the dataset itself, user properties included.
    fn local_properties(&self, dataset: &str) -> Result<Vec<Property>>;
    /// Whether `path` below the tree of a dataset or snapshot resolves to something, symlinks
    /// followed inside it as if it were `/`. For `sbin/init` in a blank.
    fn resolves(&self, name: &str, path: &std::path::Path) -> Result<bool>;

    /// Takes snapshots of the same short name of several datasets, in one transaction.
    fn snapshot(&mut self, names: &[String]) -> Result<()>;
    /// Rolls a dataset back to its newest snapshot, which must be `snapshot`.
    fn rollback(&mut self, snapshot: &str) -> Result<()>;
    /// Makes a clone with these properties; does not mount it.
    fn clone_snapshot(&mut self, snapshot: &str, to: &str, properties: &[Property]) -> Result<()>;
    /// Makes a clone independent: its origin's snapshots move to it.
    fn promote(&mut self, dataset: &str) -> Result<()>;
    /// Renames a dataset (with children) or a snapshot; never unmounts or mounts (`-u`).
    fn rename(&mut self, from: &str, to: &str) -> Result<()>;
    /// Makes an empty filesystem with these properties, parents too with `canmount=off`.
    fn create(&mut self, dataset: &str, properties: &[Property]) -> Result<()>;
    /// Destroys one dataset without snapshots or children, or one snapshot without clones.
    fn destroy(&mut self, name: &str) -> Result<()>;
    /// Sets a property of a dataset.
    fn set(&mut self, dataset: &str, property: &Property) -> Result<Outcome>;
    /// Removes a local value: back to the inherited one.
    fn inherit(&mut self, dataset: &str, property: &str) -> Result<Outcome>;
    /// Sets the pool's `bootfs`.
    fn set_bootfs(&mut self, pool: &str, dataset: &str) -> Result<Outcome>;
    /// Waits until everything done before is on the disk (`zpool sync`).
    fn commit(&mut self, pool: &str) -> Result<()>;

    /// Opens a dataset or snapshot for reading through a private read-only mount, children that
    /// have the same snapshot grafted where they are mounted.
    fn open(&self, name: &str) -> Result<View>;
}
