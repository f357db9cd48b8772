//! Where two snapshots may differ, by the numbers of inodes.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

/// What may differ between two snapshots of a store: an inode that is not named here has the same
/// `stat` in both, but for the time of its last reading, and the same content; a directory that is not named has the
/// same names, each for the same inode.
///
/// It may name too much, never too little. The top of each volume counts as named: its number is not always
/// the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangedInodes {
    /// The volumes in which anything may differ, by their places in the store; empty for the store's
    /// own.
    pub volumes: BTreeMap<PathBuf, Inodes>,
    /// Where the volumes were when that was found out: as [`StoreFacts::layout`](crate::StoreFacts::layout).
    pub layout: String,
}

/// Those of one volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inodes {
    /// These.
    Numbers(HashSet<u64>),
    /// All, or the volume is in one snapshot only.
    All,
}
