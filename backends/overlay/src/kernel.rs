//! The acts of the kernel that the overlay engine is made of.
//!
//! All paths are relative to the directory that holds the upper layers, which is the empty path.
//! The live implementation is system calls on a private mount ([`crate::Live`]); the simulator in
//! `backends/testing` is the other one. Each method is one system call, or a look that changes
//! nothing, or says why it is as good as one; the engine above holds all policy.

use serde::{Deserialize, Serialize};
use state_api::{Changes, Identity, Outcome, PastRootName, Result, View};
use std::path::{Path, PathBuf};

/// What an upper layer was begun with. It lies beside the layer, and tells roots apart whose
/// names have been exchanged.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Origin {
    /// Grows with every root that is begun: the younger of two has the greater number, whatever
    /// the clock said.
    pub sequence: u64,
    /// The lower layer as it was then.
    pub lower: String,
    /// The past root whose layer lies between this one and the lower one, if it was begun as a
    /// copy of that.
    pub over: Option<PastRootName>,
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Node {
    /// Nothing has that name.
    Missing,
    /// A root of ours: a directory with an upper layer, a work directory and an origin.
    Root(Origin),
    /// Any other directory.
    Directory,
    /// Anything else.
    Other,
}

/// The lower layer: the installed root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lower {
    /// Where it is, for people.
    pub name: String,
    /// Changes when programs are installed in it, removed or upgraded.
    pub identity: Identity,
    /// Whether it can be written through some mount: layers above it would not fit it any more.
    pub is_writable: bool,
    /// Whether an init is found in it.
    pub has_init: bool,
}

/// A mounted overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mounted {
    /// The root whose upper layer it writes to.
    pub root: PathBuf,
    /// The mount point.
    pub at: PathBuf,
}

/// The filesystem that holds the upper layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// What it is, for people.
    pub name: String,
    /// Whether it can be written now.
    pub is_read_only: bool,
}

/// The filesystem that holds the upper layers, and the lower layer.
pub trait Kernel {
    /// The filesystem.
    fn disk(&self) -> Result<Disk>;
    /// The lower layer; `None` if there is none where it is looked for.
    fn lower(&self) -> Result<Option<Lower>>;
    /// What `path` is.
    fn node(&self, path: &Path) -> Result<Node>;
    /// The names in a directory as far as they are text, sorted.
    fn names(&self, dir: &Path) -> Result<Vec<String>>;
    /// The overlays that are mounted with an upper layer of ours.
    fn mounts(&self) -> Result<Vec<Mounted>>;

    /// Makes a directory of mode 0700, its parents too.
    fn make_directory(&mut self, at: &Path) -> Result<Outcome>;
    /// Makes an empty root `at`, its upper layer with the owner and mode of the lower one's top.
    /// `EEXIST` if `at` exists. Built among the scratch, on the disk, and then renamed.
    fn make_root(&mut self, at: &Path, origin: &Origin) -> Result<()>;
    /// Renames with `RENAME_NOREPLACE`: `EEXIST` if `to` exists, never *into* it.
    fn rename(&mut self, from: &Path, to: &Path) -> Result<()>;
    /// Exchanges two names (`RENAME_EXCHANGE`).
    fn exchange(&mut self, a: &Path, b: &Path) -> Result<()>;
    /// What was done before is on the disk after (`syncfs`).
    fn commit(&mut self) -> Result<()>;
    /// Deletes a directory with all in it. Not one act: only for what nobody wants.
    fn remove(&mut self, at: &Path) -> Result<Outcome>;
    /// Makes an empty file (a mark), or removes it.
    fn mark(&mut self, at: &Path, present: bool) -> Result<Outcome>;

    /// Opens a root as it is seen through the layers below it.
    fn open(&self, root: &Path) -> Result<View>;
    /// Where a root may differ from the lower layer that it was begun above.
    fn written(&self, root: &Path) -> Result<Changes>;
    /// Opens the lower layer.
    fn open_lower(&self) -> Result<View>;
}
