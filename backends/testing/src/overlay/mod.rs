//! A machine on a simulated overlay.
//!
//! A root is kept as the tree that is seen through all its layers: what a layer holds alone is
//! overlayfs's business, and the real one is asked in the engine's own tests.

mod kernel;
mod scene;

use crate::rig::{Rig, World};
use crate::tape::{Fault, Tape};
use crate::tree::Tree;
use state_overlay::Origin;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::rc::Rc;

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

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Disk {
    /// The installed system, and how often it was upgraded.
    lower: Option<(Tree, u32)>,
    /// By path, the directory of the upper layers being the empty one.
    items: BTreeMap<PathBuf, Item>,
    is_read_only: bool,
}

#[derive(Debug, Clone)]
struct Machine {
    tape: Tape<Disk>,
    mounts: Vec<(PathBuf, PathBuf)>,
}

/// A complete, deterministic stack of layers in memory. What overlayfs leaves undefined and no
/// engine may do (moving a layer that is mounted) panics.
///
/// The value is a handle: clones are the same machine. [`Rig::fork`] makes another one.
#[derive(Debug, Clone)]
pub struct SimOverlay {
    machine: Rc<RefCell<Machine>>,
}

impl SimOverlay {
    fn of(machine: Machine) -> Self {
        Self {
            machine: Rc::new(RefCell::new(machine)),
        }
    }
}

impl Rig for SimOverlay {
    fn fork(&self) -> Self {
        Self::of(self.machine.borrow().clone())
    }

    fn world(&self) -> World {
        let machine = self.machine.borrow();
        let disk = machine.tape.now();
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

    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.machine.borrow().tape.now().hash(&mut hasher);
        hasher.finish()
    }

    fn rewind(&mut self) {
        let mut machine = self.machine.borrow_mut();
        machine.mounts.clear();
        machine.tape.rewind();
    }

    fn comebacks(&self) -> Vec<Self> {
        let machine = self.machine.borrow();
        let frames = machine.tape.frames().iter();
        let back = |disk: &Disk| {
            Self::of(Machine {
                tape: Tape::new(disk.clone()),
                mounts: Vec::new(),
            })
        };
        frames.map(back).collect()
    }

    fn frames(&self) -> usize {
        self.machine.borrow().tape.frames().len()
    }

    fn is_durable(&self) -> bool {
        self.machine.borrow().tape.is_durable()
    }

    fn fail(&mut self, fault: Option<Fault>) {
        self.machine.borrow_mut().tape.fail(fault);
    }

    fn acts(&self) -> usize {
        self.machine.borrow().tape.acts()
    }

    fn live(&mut self, note: &str) -> bool {
        let has_root = self.tree(ROOT).is_some();
        if has_root {
            self.put(note, note);
        }
        has_root
    }
}
