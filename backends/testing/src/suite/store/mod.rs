//! What any snapshot store must do.

mod exchange;
mod snapshots;

use super::Case;
use crate::tree::{self, Tree};
use state_api::SnapshotStore;
use std::fs;
use std::path::PathBuf;

/// A store with a little content, writable through ordinary paths.
pub trait StoreFixture {
    /// The store as programs open it while it is in use.
    fn store(&self) -> Box<dyn SnapshotStore>;
    /// Where the live tree is, while it is in place.
    fn path(&self) -> PathBuf;
    /// Makes a volume in the store; false if this engine has no such thing.
    fn nest(&mut self, path: &str) -> bool;
    /// Takes the store out of use (where that means something) and opens it as the initrd does.
    fn idle(&mut self) -> Box<dyn SnapshotStore>;
    /// Puts the store back into use.
    fn resume(&mut self);
}

/// All cases.
pub fn cases<F: StoreFixture>() -> Vec<Case<F>> {
    vec![
        ("a snapshot holds what was there", snapshots::snapshot),
        ("snapshots are listed oldest first", snapshots::listed),
        ("a name is used once", snapshots::taken),
        ("what is not there is missing", snapshots::missing),
        ("nested volumes are in the snapshot", snapshots::nested),
        (
            "a snapshot does not change what is unchanged",
            snapshots::identity,
        ),
        ("a store without snapshots says so", snapshots::without),
        ("a staged tree waits", exchange::staged),
        ("a staged tree is exchanged and back", exchange::exchanged),
        (
            "the reserved directory stays, or each tree has one",
            exchange::reserved,
        ),
        (
            "a second exchange replaces the first",
            exchange::exchanged_twice,
        ),
        ("an exchange is taken back", exchange::taken_back),
        ("a tree waits and is called off", exchange::called_off),
        ("a tree that waits is exchanged, and back", exchange::waited),
        ("nothing staged, nothing replaced", exchange::nothing),
    ]
}

fn put<F: StoreFixture>(f: &F, path: &str, text: &str) {
    let path = f.path().join(path);
    fs::create_dir_all(path.parent().expect("in the store")).expect("making parents");
    fs::write(path, text).expect("writing");
}

/// A tree without what is reserved for us.
fn content(mut tree: Tree) -> Tree {
    tree.retain(|path, _| !path.starts_with(".state"));
    tree
}

fn live<F: StoreFixture>(f: &F) -> Tree {
    content(tree::read(&f.store().open_live().expect("opening")).expect("reading"))
}
