//! A machine on a simulated ZFS pool.

mod acts;
mod kernel;
mod pool;
mod scene;

use crate::rig::World;
use crate::sim::{self, Sim};
use crate::tape::Tape;
use crate::tree::{Leaf, Tree};
use pool::Pool;
use std::collections::BTreeMap;
use std::path::PathBuf;

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

/// A simulated machine on ZFS.
#[derive(Debug, Clone)]
pub struct Machine {
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
pub type SimZfs = Sim<Machine>;

impl Default for SimZfs {
    fn default() -> Self {
        Self::new(Layout::default())
    }
}

impl sim::Machine for Machine {
    type Disk = Pool;

    fn tape(&self) -> &Tape<Pool> {
        &self.tape
    }

    fn tape_mut(&mut self) -> &mut Tape<Pool> {
        &mut self.tape
    }

    fn unmount_all(&mut self) {
        self.mounts.clear();
    }

    fn with(&self, disk: Pool) -> Self {
        Self {
            layout: self.layout.clone(),
            tape: Tape::new(disk),
            mounts: BTreeMap::new(),
        }
    }

    fn world(&self) -> World {
        let (pool, layout) = (self.tape.now(), &self.layout);
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

    fn live(sim: &SimZfs, note: &str) -> bool {
        let root = sim.layout().root;
        let is_root = sim.seen(|pool| pool.dataset(&root).is_ok());
        if is_root {
            sim.put(&root, note, note);
        }
        is_root
    }
}
