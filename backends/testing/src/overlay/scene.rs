//! Setting the scene on a simulated machine, and looking at it.

use super::{Disk, Item, Machine, PAST_ROOTS, ROOT, SimOverlay};
use crate::rig::Rig;
use crate::tape::Tape;
use crate::tree::{Leaf, Tree, tree};
use state_overlay::Origin;
use std::collections::BTreeMap;
use std::path::Path;

/// Setting a scene, and looking at it. None of these counts as an act; errors panic.
impl SimOverlay {
    /// An installed system that holds these files, never reset yet.
    pub fn installed(files: &[(&str, &str)]) -> Self {
        Self::of(Machine {
            tape: Tape::new(Disk {
                lower: Some((tree(files), 0)),
                items: BTreeMap::new(),
                is_read_only: false,
            }),
            mounts: Vec::new(),
        })
    }

    fn scene(&self, change: impl FnOnce(&mut Disk)) {
        self.machine.borrow_mut().tape.meanwhile(change);
    }

    /// Puts a root under a name, as a reset begins one; parents are made.
    pub fn root(&self, at: &str, sequence: u64, over: Option<&str>) {
        self.scene(|disk| {
            let (lower, upgrades) = disk.lower.clone().expect("a lower layer");
            let origin = Origin {
                sequence,
                lower: format!("upgrade {upgrades}"),
                over: over.map(|name| name.parse().expect("a past root's name")),
            };
            let seen = match over {
                None => lower,
                Some(name) => match &disk.items[&Path::new(PAST_ROOTS).join(name)] {
                    Item::Root(_, tree) => tree.clone(),
                    other => panic!("{other:?} is no root"),
                },
            };
            for parent in Path::new(at).ancestors().skip(1) {
                disk.items.insert(parent.into(), Item::Directory);
            }
            disk.items.insert(at.into(), Item::Root(origin, seen));
        });
    }

    /// Writes a file in root; parents are made.
    pub fn put(&self, path: &str, text: &str) {
        self.put_in(ROOT, path, text);
    }

    /// Writes a file in a root; parents are made.
    pub fn put_in(&self, root: &str, path: &str, text: &str) {
        self.scene(|disk| {
            let Some(Item::Root(_, seen)) = disk.items.get_mut(Path::new(root)) else {
                panic!("there is no root at {root}");
            };
            for (path, leaf) in tree(&[(path, text)]) {
                if leaf != Leaf::Directory || !seen.contains_key(&path) {
                    seen.insert(path, leaf);
                }
            }
        });
    }

    /// Makes a plain directory or a plain file where something of ours could be.
    pub fn stranger(&self, at: &str, is_directory: bool) {
        let item = if is_directory {
            Item::Directory
        } else {
            Item::File
        };
        self.scene(|disk| {
            for parent in Path::new(at).ancestors().skip(1) {
                disk.items.insert(parent.into(), Item::Directory);
            }
            disk.items.insert(at.into(), item);
        });
    }

    /// Installs a file in the lower layer, as an upgrade does while no overlay is mounted.
    pub fn upgrade(&self, path: &str, text: &str) {
        self.scene(|disk| {
            let (lower, upgrades) = disk.lower.as_mut().expect("a lower layer");
            lower.extend(tree(&[(path, text)]));
            *upgrades += 1;
        });
    }

    /// Takes the installed system away.
    pub fn uninstall(&self) {
        self.scene(|disk| disk.lower = None);
    }

    /// Forces the disk read-only.
    pub fn force_read_only(&self) {
        self.scene(|disk| disk.is_read_only = true);
    }

    /// Mounts the overlay of a root.
    pub fn mount(&self, root: &str, at: &str) {
        self.machine
            .borrow_mut()
            .mounts
            .push((root.into(), at.into()));
    }

    /// What is seen of a root.
    pub fn tree(&self, root: &str) -> Option<Tree> {
        match self.machine.borrow().tape.now().items.get(Path::new(root)) {
            Some(Item::Root(_, tree)) => Some(tree.clone()),
            _ => None,
        }
    }

    /// The usual machine: a root that was lived in.
    pub fn machine() -> Self {
        let sim = Self::installed(&[("etc/conf", "as shipped"), ("sbin/init", "init")]);
        sim.root(ROOT, 1, None);
        sim.put("lived in", "outgoing");
        sim.rewound()
    }

    /// The same machine, its history forgotten.
    #[must_use]
    pub fn rewound(mut self) -> Self {
        self.rewind();
        self
    }
}
