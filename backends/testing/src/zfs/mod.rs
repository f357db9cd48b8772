//! A machine on a simulated ZFS pool.

mod kernel;
mod pool;

use crate::rig::{Rig, World};
use crate::tape::{Fault, Tape};
use crate::tree::{self, Leaf, Tree};
use pool::{Pool, split};
use rustix::io::Errno;
use state_zfs::{DatasetKind, Property};
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

/// Setting a scene, and looking at it. None of these counts as an act; errors panic.
impl SimZfs {
    /// An empty pool.
    pub fn new(layout: Layout) -> Self {
        Self::of(Machine {
            tape: Tape::new(Pool::new(layout.pool())),
            layout,
            mounts: BTreeMap::new(),
        })
    }

    fn of(machine: Machine) -> Self {
        Self {
            machine: Rc::new(RefCell::new(machine)),
        }
    }

    /// Where root and blank are.
    pub fn layout(&self) -> Layout {
        self.machine.borrow().layout.clone()
    }

    fn scene<T>(&self, change: impl FnOnce(&mut Pool) -> Result<T, Errno>) -> T {
        let mut machine = self.machine.borrow_mut();
        let answer = machine.tape.meanwhile(|pool| {
            let answer = change(pool)?;
            pool.next_txg();
            Ok::<T, Errno>(answer)
        });
        machine.tape.commit();
        answer.expect("the scene can be set")
    }

    fn seen<T>(&self, look: impl FnOnce(&Pool) -> T) -> T {
        look(self.machine.borrow().tape.now())
    }

    /// Makes a dataset, parents included; `properties` as `name=value`.
    pub fn dataset(&self, name: &str, properties: &[&str]) {
        let properties: Vec<Property> = properties
            .iter()
            .map(|text| text.split_once('=').expect("name=value"))
            .map(|(name, value)| Property::new(name, value))
            .collect();
        self.scene(|pool| {
            let slashes = name.match_indices('/').map(|(at, _)| at);
            for at in slashes {
                if pool.dataset(&name[..at]).is_err() {
                    pool.create(&name[..at], &[])?;
                }
            }
            pool.create(name, &properties)
        });
    }

    /// Makes a dataset an encryption root, with the key for it and all below it.
    pub fn encrypt(&self, name: &str) {
        self.scene(|pool| {
            let key = pool.dataset(name)?.guid;
            let names: Vec<String> = pool.below(name).iter().map(|(n, _)| (*n).clone()).collect();
            for name in names {
                pool.dataset_mut(&name)?.key_of = Some(key);
            }
            pool.set(name, &[Property::new("keylocation", "prompt")])
        });
    }

    /// Turns a dataset into a block volume.
    pub fn block_volume(&self, name: &str) {
        self.scene(|pool| {
            pool.dataset_mut(name)?.kind = DatasetKind::Volume;
            Ok(())
        });
    }

    /// Takes a snapshot.
    pub fn snapshot_of(&self, name: &str) {
        self.scene(|pool| pool.snapshot(&[name.into()]));
    }

    /// Makes a clone.
    pub fn clone_of(&self, snapshot: &str, to: &str) {
        self.scene(|pool| pool.clone_snapshot(snapshot, to, &[]));
    }

    /// Promotes a clone.
    pub fn promoted(&self, name: &str) {
        self.scene(|pool| pool.promote(name));
    }

    /// Makes a bookmark of a snapshot.
    pub fn bookmark_of(&self, snapshot: &str, short: &str) {
        self.scene(|pool| pool.bookmark(snapshot, short));
    }

    /// Puts a hold on a snapshot.
    pub fn hold(&self, snapshot: &str, tag: &str) {
        let (dataset, short) = split(snapshot).expect("a snapshot's name");
        self.scene(|pool| {
            let mut snaps = pool.dataset_mut(dataset)?.snaps.iter_mut();
            let snap = snaps.find(|snap| snap.short == short);
            snap.ok_or(Errno::NOENT)?.holds.push(tag.into());
            Ok(())
        });
    }

    /// Destroys a dataset or snapshot, if nothing stands in the way.
    pub fn destroyed(&self, name: &str) {
        self.scene(|pool| pool.destroy(name));
    }

    /// Renames a dataset or snapshot.
    pub fn renamed(&self, from: &str, to: &str) {
        self.scene(|pool| pool.rename(from, to));
    }

    /// Sets a local property.
    pub fn set_property(&self, dataset: &str, name: &str, value: &str) {
        self.scene(|pool| pool.set(dataset, &[Property::new(name, value)]));
    }

    /// Writes a file, with the directories it needs.
    pub fn put(&self, dataset: &str, path: &str, text: &str) {
        self.scene(|pool| {
            let dataset = pool.dataset_mut(dataset)?;
            let content = Rc::make_mut(&mut dataset.content);
            content.extend(tree::tree(&[(path, text)]));
            dataset.written += 4096;
            Ok(())
        });
    }

    /// Makes a symlink.
    pub fn link(&self, dataset: &str, path: &str, to: &str) {
        self.scene(|pool| {
            let dataset = pool.dataset_mut(dataset)?;
            Rc::make_mut(&mut dataset.content).insert(path.into(), Leaf::Symlink(to.into()));
            dataset.written += 512;
            Ok(())
        });
    }

    /// Sets the pool's `bootfs`.
    pub fn boots(&self, dataset: &str) {
        self.scene(|pool| {
            pool.bootfs = Some(pool.dataset(dataset)?.guid);
            Ok(())
        });
    }

    /// Imports the pool read-only, or read-write again.
    pub fn import_read_only(&self, read_only: bool) {
        self.scene(|pool| {
            pool.is_read_only = read_only;
            Ok(())
        });
    }

    /// Sets the clock, in seconds since 1970.
    pub fn set_clock(&self, seconds: i64) {
        self.scene(|pool| {
            pool.clock = seconds;
            Ok(())
        });
    }

    /// Mounts a dataset.
    pub fn mount(&self, dataset: &str, at: &str) {
        let guid = self.seen(|pool| pool.dataset(dataset).map(|d| d.guid));
        let guid = guid.expect("a dataset");
        let mut machine = self.machine.borrow_mut();
        machine.mounts.entry(guid).or_default().push(at.into());
    }

    /// Unmounts everything.
    pub fn unmount_all(&self) {
        self.machine.borrow_mut().mounts.clear();
    }

    /// The tree of a dataset or snapshot, children included.
    pub fn tree(&self, name: &str) -> Option<Tree> {
        self.seen(|pool| pool.tree(name).ok())
    }

    /// The names of all datasets.
    pub fn names(&self) -> Vec<String> {
        self.seen(|pool| pool.datasets.keys().cloned().collect())
    }

    /// The full names of all snapshots and bookmarks with their guids.
    pub fn snapshots(&self) -> BTreeMap<String, u64> {
        self.seen(|pool| {
            let mut all = BTreeMap::new();
            for (name, dataset) in &pool.datasets {
                for snap in &dataset.snaps {
                    let sign = if snap.is_bookmark { '#' } else { '@' };
                    all.insert(format!("{name}{sign}{}", snap.short), snap.guid);
                }
            }
            all
        })
    }

    /// The local properties of a dataset.
    pub fn properties(&self, dataset: &str) -> BTreeMap<String, String> {
        self.seen(|pool| pool.dataset(dataset).expect("a dataset").properties.clone())
    }

    /// The same machine, its history forgotten.
    #[must_use]
    pub fn rewound(mut self) -> Self {
        self.rewind();
        self
    }

    /// The Erase-your-darlings layout: an empty blank on root, a root that was lived in and has
    /// local properties, a store, and bystanders; a space and a colon in names.
    pub fn machine(layout: Layout) -> Self {
        let sim = Self::new(layout);
        let Layout { root, .. } = sim.layout();
        let pool = sim.layout().pool().to_owned();
        sim.set_clock(1);
        let local = [
            "mountpoint=legacy",
            "compression=zstd",
            "org.example:note=two words",
        ];
        sim.dataset(&root, &local);
        sim.put(&root, "usr/sbin/init", "init");
        sim.link(&root, "sbin", "usr/sbin");
        sim.snapshot_of(&sim.layout().blank_name());
        sim.dataset(&format!("{pool}/safe/persist"), &["mountpoint=legacy"]);
        sim.put(&format!("{pool}/safe/persist"), "key", "key");
        sim.snapshot_of(&format!("{pool}/safe/persist@state-daily"));
        sim.dataset(&format!("{pool}/local/nix"), &[]);
        sim.put(&format!("{pool}/local/nix"), "store", "store");
        sim.dataset(&format!("{pool}/local/a name: with"), &[]);
        sim.boots(&root);
        sim.put(&root, "lived in", "outgoing");
        sim.rewound()
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
