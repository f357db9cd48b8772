//! Setting the scene on a simulated machine, and looking at it.

use super::pool::{Pool, split};
use super::{Layout, Machine, SimZfs};
use crate::rig::Rig;
use crate::tape::Tape;
use crate::tree::{self, Leaf, Tree};
use rustix::io::Errno;
use state_zfs::{DatasetKind, Property};
use std::collections::BTreeMap;
use std::rc::Rc;

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
            Ok(())
        });
    }

    /// Makes a symlink.
    pub fn link(&self, dataset: &str, path: &str, to: &str) {
        self.scene(|pool| {
            let dataset = pool.dataset_mut(dataset)?;
            Rc::make_mut(&mut dataset.content).insert(path.into(), Leaf::Symlink(to.into()));
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
