//! A machine on a simulated ZFS pool.

mod acts;
mod kernel;
mod pool;
mod scene;

use crate::rig::{Rig, World};
use crate::tape::{Fault, Tape};
use crate::tree::{Leaf, Tree};
use pool::Pool;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::rc::Rc;

/// Where things are in a simulated pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The root dataset.
    pub root: String,
    /// The short name of its blank.
    pub blank: String,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            root: "rpool/local/root".into(),
            blank: "blank".into(),
        }
    }
}

impl Layout {
    /// The pool's name.
    pub fn pool(&self) -> &str {
        self.root.split('/').next().expect("there is a first part")
    }

    /// The dataset that past roots are children of.
    pub fn past_roots(&self) -> String {
        let (parent, _) = self.root.rsplit_once('/').expect("root is not the pool");
        format!("{parent}/past-roots")
    }

    /// The blank's full name.
    pub fn blank_name(&self) -> String {
        format!("{}@{}", self.root, self.blank)
    }
}

#[derive(Debug, Clone)]
struct Machine {
    layout: Layout,
    tape: Tape<Pool>,
    /// Mount points by the guid of the dataset.
    mounts: BTreeMap<u64, Vec<PathBuf>>,
}

/// A complete, deterministic pool in memory, stricter than a real one: what zfs(8) does silently
/// and no engine may ask for (touching something mounted, mounting in the middle of a reset)
/// panics.
///
/// Every act is on the disk when it returns. The value is a handle: clones are the same machine.
#[derive(Debug, Clone)]
pub struct SimZfs {
    machine: Rc<RefCell<Machine>>,
}

impl Default for SimZfs {
    fn default() -> Self {
        Self::new(Layout::default())
    }
}

impl Rig for SimZfs {
    fn fork(&self) -> Self {
        Self::of(self.machine.borrow().clone())
    }

    fn world(&self) -> World {
        let machine = self.machine.borrow();
        let (pool, layout) = (machine.tape.now(), &machine.layout);
        let (root, past_roots) = (&layout.root, layout.past_roots());
        let mut world = World {
            root: pool.tree(root).ok(),
            ..World::default()
        };
        let mut careless = Vec::new();
        let mut pins = Vec::new();
        for (name, dataset) in &pool.datasets {
            let is_in = |top: &str| name == top || name.starts_with(&format!("{top}/"));
            if is_in(root) || *name == past_roots {
                continue;
            }
            let tree = || pool.tree(name).expect("listed");
            if let Some(past) = name.strip_prefix(&format!("{past_roots}/")) {
                if !past.contains('/') {
                    world.past.insert(past.into(), tree());
                    let local = |key: &str| dataset.properties.get(key).map(String::as_str);
                    if local("canmount") != Some("noauto") || local("readonly") != Some("on") {
                        careless.push(past.to_owned());
                    }
                    if local("org.state:pinned") == Some("on") {
                        pins.push(past.to_owned());
                    }
                }
            } else if name.starts_with(&format!("{root}.")) || name.starts_with(&format!("{root}-"))
            {
                world.strays.insert(name.clone(), tree());
            } else {
                let mut all = Tree::clone(&dataset.content);
                all.insert(
                    "<properties>".into(),
                    Leaf::file(&format!("{:?}", dataset.properties)),
                );
                let snaps: Vec<_> = dataset.snaps.iter().map(|s| (&s.short, s.guid)).collect();
                all.insert("<snapshots>".into(), Leaf::file(&format!("{snaps:?}")));
                world.bystanders.insert(name.clone(), all);
            }
        }
        // In the middle of a plan the blank is with a past root.
        let homes: Vec<String> = [root.clone()]
            .into_iter()
            .chain(world.past.keys().map(|past| format!("{past_roots}/{past}")))
            .collect();
        let find = |short: &str| {
            let mut names = homes.iter().map(|home| format!("{home}@{short}"));
            names.find(|name| pool.snap(name).is_ok())
        };
        let blank = find(&layout.blank);
        // With the snapshots of children, each wherever it is.
        let whole = |short: &str| {
            let mut all = pool.tree(&find(short)?).ok()?;
            for home in &homes {
                for (child, _) in pool.below(home).iter().skip(1) {
                    let at = &child[home.len() + 1..];
                    if let Ok(tree) = pool.tree(&format!("{child}@{short}")) {
                        all.insert(at.into(), Leaf::Volume);
                        let inside = tree.into_iter();
                        all.extend(inside.map(|(p, leaf)| (PathBuf::from(at).join(p), leaf)));
                    }
                }
            }
            Some(all)
        };
        world.previous = whole(&format!("{}-previous", layout.blank));
        world.blank = whole(&layout.blank);
        let mut standing = BTreeMap::from([
            ("careless past roots".into(), careless.join(" ")),
            ("pins".into(), pins.join(" ")),
        ]);
        if let Some(name) = blank {
            let guid = pool.snap(&name).expect("found").guid;
            // Where it is may change: after a reset to a past root it stays with the outgoing one.
            standing.insert("blank".into(), guid.to_string());
        }
        if let Some(boots) = pool.bootfs.and_then(|guid| pool.name_of(guid)) {
            standing.insert("bootfs".into(), boots.clone());
        }
        for (name, dataset) in pool.below(root) {
            for (key, value) in &dataset.properties {
                standing.insert(format!("{name} {key}"), value.clone());
            }
            if let Some(key) = dataset.key_of.and_then(|guid| pool.name_of(guid)) {
                standing.insert(format!("encryption root of {name}"), key.clone());
            }
        }
        world.standing = standing;
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
        let back = |pool: &Pool| {
            Self::of(Machine {
                layout: machine.layout.clone(),
                tape: Tape::new(pool.clone()),
                mounts: BTreeMap::new(),
            })
        };
        machine.tape.frames().iter().map(back).collect()
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
        let root = self.layout().root;
        let is_root = self.seen(|pool| pool.dataset(&root).is_ok());
        if is_root {
            self.put(&root, note, note);
        }
        is_root
    }
}
