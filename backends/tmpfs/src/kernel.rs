//! The acts of the kernel that the tmpfs engine is made of.
//!
//! Paths are as in [`crate::layout`]. The live implementation is system calls ([`crate::Live`]);
//! the simulator in `backends/testing` is the other one. Each method is one system call, or a look
//! that changes nothing, or says why it is as good as one; the engine above holds all policy.

use crate::Mounted;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use state_api::{Identity, Outcome, Result, View};
use std::os::fd::BorrowedFd;
use std::path::Path;

/// What lies beside a captured root.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Origin {
    /// Grows with every root that is captured: the younger of two has the greater number, whatever
    /// the clock said.
    pub sequence: u64,
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Node {
    /// Nothing has that name.
    Missing,
    /// A captured root: a directory with an origin.
    Captured(Origin),
    /// Any other directory.
    Directory,
    /// A regular file.
    File,
    /// Anything else.
    Other,
}

/// What root is filled from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tree {
    /// Changes when programs are installed in it, removed or upgraded.
    pub identity: Identity,
    /// When it was made.
    pub made_at: Option<DateTime<Utc>>,
    /// Whether an init is found in it.
    pub has_init: bool,
}

/// Writes a captured root into an empty directory.
pub type Write<'w> = &'w mut dyn FnMut(BorrowedFd<'_>) -> Result<()>;

/// Root, the filesystem with its blank, and the directory of its past roots.
pub trait Kernel {
    /// Root as it is mounted.
    fn mounted(&self) -> Result<Mounted>;
    /// Whether nothing is in root yet.
    fn is_empty(&self) -> Result<bool>;
    /// Where blank is, for people; `None`: root is not filled by us.
    fn blank_name(&self) -> Option<String>;
    /// The blank, or what else root could be filled from `at`.
    fn tree(&self, at: &Path) -> Result<Option<Tree>>;
    /// What `path` is.
    fn node(&self, path: &Path) -> Result<Node>;
    /// The names in a directory as far as they are text, sorted.
    fn names(&self, dir: &Path) -> Result<Vec<String>>;

    /// Makes a directory of mode 0700, its parents too.
    fn make_directory(&mut self, at: &Path) -> Result<Outcome>;
    /// Fills the empty root from blank. Not one act, and need not be: nobody boots a root that
    /// was not filled to the end, and it ends with the power.
    fn fill(&mut self) -> Result<()>;
    /// Copies root as it is to `to`. `EEXIST` if `to` exists. Built elsewhere, on the disk, and
    /// then renamed.
    fn copy_root(&mut self, to: &Path) -> Result<()>;
    /// Makes a captured root `at` out of what `write` writes. `EEXIST` if `at` exists. Built among
    /// the scratch, on the disk, and then renamed.
    fn capture(&mut self, at: &Path, origin: &Origin, write: Write<'_>) -> Result<()>;
    /// Renames with `RENAME_NOREPLACE`: `EEXIST` if `to` exists, never *into* it.
    fn rename(&mut self, from: &Path, to: &Path) -> Result<()>;
    /// Exchanges two names (`RENAME_EXCHANGE`). False: the filesystem cannot (ZFS before 2.2).
    fn exchange(&mut self, a: &Path, b: &Path) -> Result<bool>;
    /// Deletes a directory with all in it. Not one act: only for what nobody wants.
    fn remove(&mut self, at: &Path) -> Result<Outcome>;
    /// Makes an empty file (a mark), or removes it.
    fn mark(&mut self, at: &Path, present: bool) -> Result<Outcome>;
    /// What was done before is on the disk after (`syncfs`).
    fn commit(&mut self) -> Result<()>;

    /// Opens root alone, without what is mounted in it.
    fn open_root(&self) -> Result<View>;
    /// Opens the blank.
    fn open_blank(&self) -> Result<View>;
    /// Opens as much of a captured root as is needed to look at `part` and what is below it.
    fn open_captured(&self, at: &Path, part: &Path) -> Result<View>;
}
