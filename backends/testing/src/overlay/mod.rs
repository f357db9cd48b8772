//! A machine on a simulated overlay.
//!
//! A root is kept as the tree that is seen through all its layers: what a layer holds alone is
//! overlayfs's business, and the real one is asked in the engine's own tests.

mod kernel;
mod scene;

use crate::rig::World;
use crate::sim::{self, Sim};
use crate::tape::Tape;
use crate::tree::Tree;
use state_overlay::Origin;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where past roots are.
pub const PAST_ROOTS: &str = "past-roots";
const SCRATCH: &str = "scratch";
const ROOT: &str = "root";

/// Something in the directory of the upper layers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Item {
    Directory,
    /// What is seen of a root, through all its layers.
    Root(Origin, Tree),
    File,
}

/// What is on its disk.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Disk {
    /// The installed system, and how often it was upgraded.
    lower: Option<(Tree, u32)>,
    /// By path, the directory of the upper layers being the empty one.
    items: BTreeMap<PathBuf, Item>,
    is_read_only: bool,
}

/// A simulated machine below an overlay.
#[derive(Debug, Clone)]
pub struct Machine {
    tape: Tape<Disk>,
    mounts: Vec<(PathBuf, PathBuf)>,
}

/// A complete, deterministic stack of layers in memory. What overlayfs leaves undefined and no
/// engine may do (moving a layer that is mounted) panics.
///
/// The value is a handle: clones are the same machine. [`fork`](crate::rig::Rig::fork) makes
/// another one.
pub type SimOverlay = Sim<Machine>;

impl sim::Machine for Machine {
    type Disk = Disk;

    fn tape(&self) -> &Tape<Disk> {
        &self.tape
    }

    fn tape_mut(&mut self) -> &mut Tape<Disk> {
        &mut self.tape
    }

    fn unmount_all(&mut self) {
        self.mounts.clear();
    }

    fn with(&self, disk: Disk) -> Self {
        Self {
            tape: Tape::new(disk),
            mounts: Vec::new(),
        }
    }

    fn world(&self) -> World {
        let disk = self.tape.now();
        let mut world = World {
            blank: disk.lower.as_ref().map(|(tree, _)| tree.clone()),
            ..World::default()
        };
        let mut pins = Vec::new();
        for (path, item) in &disk.items {
            let shown = path.to_string_lossy().into_owned();
            match (item, path.strip_prefix(PAST_ROOTS)) {
                // Nobody looks there again: what is in it is as good as gone.
                _ if path.starts_with(SCRATCH) => {}
                (Item::Root(_, tree), _) if path == Path::new(ROOT) => {
                    world.root = Some(tree.clone());
                }
                (Item::Root(_, tree), Ok(name)) => {
                    let name = name.to_string_lossy().into_owned();
                    world.past.insert(name, tree.clone());
                }
                (Item::Root(_, tree), Err(_)) => {
                    world.strays.insert(shown, tree.clone());
                }
                (Item::File, Ok(_)) => pins.push(shown),
                (Item::File | Item::Directory, _) => {
                    // Directories of ours come and go.
                    let ours = ["", PAST_ROOTS, "past-roots/.pinned"];
                    if !ours.contains(&&*shown) {
                        world.bystanders.insert(shown, Tree::new());
                    }
                }
            }
        }
        world.standing = BTreeMap::from([("pins".into(), pins.join(" "))]);
        world
    }

    fn live(sim: &SimOverlay, note: &str) -> bool {
        let has_root = sim.tree(ROOT).is_some();
        if has_root {
            sim.put(note, note);
        }
        has_root
    }
}
