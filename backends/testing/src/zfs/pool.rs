//! A pool as values: datasets, snapshots, and the rules of the acts on them.
//!
//! The rules are those of the DSL (`module/zfs/dsl_*.c`), or stricter. What refers to a dataset
//! or snapshot refers to its guid, so that a rename needs no care, as in the pool itself.

use crate::tree::{Leaf, Tree};
use rustix::io::Errno;
use state_zfs::{DatasetKind, Property};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

pub(super) type Answer<T> = Result<T, Errno>;

#[derive(Debug, Clone, PartialEq, Hash)]
pub(super) struct Snap {
    pub(super) short: String,
    pub(super) guid: u64,
    pub(super) createtxg: u64,
    pub(super) creation: i64,
    pub(super) holds: Vec<String>,
    pub(super) is_bookmark: bool,
    pub(super) content: Rc<Tree>,
}

#[derive(Debug, Clone, PartialEq, Hash)]
pub(super) struct Dataset {
    pub(super) kind: DatasetKind,
    pub(super) guid: u64,
    pub(super) createtxg: u64,
    pub(super) creation: i64,
    /// The guid of the snapshot it is a clone of.
    pub(super) origin: Option<u64>,
    /// The guid of the dataset whose key it uses.
    pub(super) key_of: Option<u64>,
    pub(super) properties: BTreeMap<String, String>,
    /// Snapshots and bookmarks, oldest first.
    pub(super) snaps: Vec<Snap>,
    pub(super) content: Rc<Tree>,
    /// Bytes written since the newest snapshot, or since the origin.
    pub(super) written: u64,
}

#[derive(Debug, Clone, PartialEq, Hash)]
pub(super) struct Pool {
    pub(super) name: String,
    pub(super) is_read_only: bool,
    /// The guid of the dataset.
    pub(super) bootfs: Option<u64>,
    pub(super) clock: i64,
    pub(super) datasets: BTreeMap<String, Dataset>,
    txg: u64,
    next_guid: u64,
}

fn parent(name: &str) -> Option<&str> {
    name.rsplit_once('/').map(|(parent, _)| parent)
}

pub(super) fn split(snapshot: &str) -> Answer<(&str, &str)> {
    snapshot
        .split_once(['@', '#'])
        .filter(|(dataset, short)| !dataset.is_empty() && !short.is_empty())
        .ok_or(Errno::INVAL)
}

fn is_inside(name: &str, ancestor: &str) -> bool {
    name.strip_prefix(ancestor)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Properties that only an encryption root may have, or that are fixed at creation.
const FIXED: [&str; 8] = [
    "encryption",
    "keyformat",
    "keylocation",
    "pbkdf2iters",
    "casesensitivity",
    "normalization",
    "utf8only",
    "origin",
];

impl Pool {
    pub(super) fn new(name: &str) -> Self {
        let mut pool = Self {
            name: name.into(),
            is_read_only: false,
            bootfs: None,
            clock: 0,
            datasets: BTreeMap::new(),
            txg: 4,
            next_guid: 1000,
        };
        let top = pool.blank_dataset();
        pool.datasets.insert(name.into(), top);
        pool
    }

    fn guid(&mut self) -> u64 {
        // Guids are random: neither ordered nor near each other.
        self.next_guid += 1;
        self.next_guid.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn blank_dataset(&mut self) -> Dataset {
        Dataset {
            kind: DatasetKind::Filesystem,
            guid: self.guid(),
            createtxg: self.txg,
            creation: self.clock,
            origin: None,
            key_of: None,
            properties: BTreeMap::new(),
            snaps: Vec::new(),
            content: Rc::default(),
            written: 0,
        }
    }

    /// Every act is a sync task of its own: it opens a new transaction group.
    pub(super) fn next_txg(&mut self) {
        self.txg += 1;
    }

    // ---- looks ----

    pub(super) fn dataset(&self, name: &str) -> Answer<&Dataset> {
        self.datasets.get(name).ok_or(Errno::NOENT)
    }

    pub(super) fn dataset_mut(&mut self, name: &str) -> Answer<&mut Dataset> {
        self.datasets.get_mut(name).ok_or(Errno::NOENT)
    }

    /// The dataset and everything below it, parents before children.
    pub(super) fn below(&self, top: &str) -> Vec<(&String, &Dataset)> {
        let mut all: Vec<_> = self
            .datasets
            .iter()
            .filter(|(name, _)| is_inside(name, top))
            .collect();
        all.sort_by_key(|(name, _)| name.split('/').collect::<Vec<_>>());
        all
    }

    pub(super) fn name_of(&self, guid: u64) -> Option<&String> {
        let found = self.datasets.iter().find(|(_, d)| d.guid == guid);
        found.map(|(name, _)| name)
    }

    /// Which dataset holds a snapshot, and which of its snapshots it is.
    pub(super) fn home_of(&self, snapshot: u64) -> Option<(&String, usize)> {
        self.datasets.iter().find_map(|(name, dataset)| {
            let at = |snap: &Snap| snap.guid == snapshot && !snap.is_bookmark;
            Some((name, dataset.snaps.iter().position(at)?))
        })
    }

    pub(super) fn snap(&self, name: &str) -> Answer<&Snap> {
        let (dataset, short) = split(name)?;
        let is_bookmark = name.contains('#');
        let mut snaps = self.dataset(dataset)?.snaps.iter();
        snaps
            .find(|snap| snap.short == short && snap.is_bookmark == is_bookmark)
            .ok_or(Errno::NOENT)
    }

    pub(super) fn clones_of(&self, snapshot: u64) -> Vec<String> {
        let mut clones: Vec<String> = self
            .datasets
            .iter()
            .filter(|(_, dataset)| dataset.origin == Some(snapshot))
            .map(|(name, _)| name.clone())
            .collect();
        clones.sort();
        clones
    }

    /// The tree of a dataset or snapshot with its children's (of a snapshot: those that have one
    /// of the same short name), each as a nested volume under its relative name.
    pub(super) fn tree(&self, name: &str) -> Answer<Tree> {
        let (top, short) = match split(name) {
            Ok((top, short)) => (top, Some(short)),
            Err(_) => (name, None),
        };
        self.dataset(top)?;
        if short.is_some() {
            self.snap(name)?;
        }
        let mut tree = Tree::new();
        for (child, dataset) in self.below(top) {
            let content = match short {
                None => &dataset.content,
                Some(short) => match self.snap(&format!("{child}@{short}")) {
                    Ok(snap) => &snap.content,
                    Err(_) => continue,
                },
            };
            let at = child[top.len()..].trim_start_matches('/');
            if !at.is_empty() {
                tree.insert(at.into(), Leaf::Volume);
            }
            let moved = |(path, leaf): (&std::path::PathBuf, &Leaf)| {
                (Path::new(at).join(path), leaf.clone())
            };
            tree.extend(content.iter().map(moved));
        }
        Ok(tree)
    }

    // ---- acts ----

    pub(super) fn writable(&self) -> Answer<()> {
        if self.is_read_only {
            return Err(Errno::ROFS);
        }
        Ok(())
    }

    fn new_name(&self, name: &str) -> Answer<()> {
        if self.datasets.contains_key(name) {
            return Err(Errno::EXIST);
        }
        self.dataset(parent(name).ok_or(Errno::INVAL)?)?;
        Ok(())
    }

    pub(super) fn create(&mut self, name: &str, properties: &[Property]) -> Answer<()> {
        self.new_name(name)?;
        let key_of = self.dataset(parent(name).expect("checked"))?.key_of;
        let mut dataset = self.blank_dataset();
        dataset.key_of = key_of;
        self.datasets.insert(name.into(), dataset);
        self.set(name, properties).map(drop)
    }

    pub(super) fn snapshot(&mut self, names: &[String]) -> Answer<()> {
        for name in names {
            let (dataset, _) = split(name)?;
            self.dataset(dataset)?;
            if self.snap(name).is_ok() {
                return Err(Errno::EXIST);
            }
        }
        for name in names {
            let guid = self.guid();
            let (createtxg, creation) = (self.txg, self.clock);
            let (dataset, short) = split(name)?;
            let dataset = self.dataset_mut(dataset)?;
            dataset.snaps.push(Snap {
                short: short.into(),
                guid,
                createtxg,
                creation,
                holds: Vec::new(),
                is_bookmark: false,
                content: dataset.content.clone(),
            });
            dataset.written = 0;
        }
        Ok(())
    }

    pub(super) fn bookmark(&mut self, snapshot: &str, short: &str) -> Answer<()> {
        let mark = Snap {
            short: short.into(),
            is_bookmark: true,
            holds: Vec::new(),
            ..self.snap(snapshot)?.clone()
        };
        self.dataset_mut(split(snapshot)?.0)?.snaps.push(mark);
        Ok(())
    }

    pub(super) fn rollback(&mut self, snapshot: &str) -> Answer<()> {
        let wanted = self.snap(snapshot)?.clone();
        if wanted.is_bookmark {
            return Err(Errno::INVAL);
        }
        let dataset = self.dataset_mut(split(snapshot)?.0)?;
        let newer = |snap: &&Snap| snap.guid != wanted.guid && snap.createtxg >= wanted.createtxg;
        if dataset.snaps.iter().any(|snap| newer(&snap)) {
            return Err(Errno::EXIST);
        }
        dataset.content = wanted.content;
        dataset.written = 0;
        Ok(())
    }

    pub(super) fn clone_snapshot(
        &mut self,
        snapshot: &str,
        to: &str,
        properties: &[Property],
    ) -> Answer<()> {
        let snap = self.snap(snapshot)?.clone();
        if snap.is_bookmark {
            return Err(Errno::INVAL);
        }
        self.new_name(to)?;
        if properties.iter().any(|p| FIXED.contains(&p.name.as_str())) {
            return Err(Errno::INVAL);
        }
        let key_of = self.dataset(split(snapshot)?.0)?.key_of;
        let mut dataset = self.blank_dataset();
        dataset.origin = Some(snap.guid);
        dataset.content = snap.content;
        // A clone uses its origin's key, wherever it is put.
        dataset.key_of = key_of;
        self.datasets.insert(to.into(), dataset);
        self.set(to, properties).map(drop)
    }

    pub(super) fn promote(&mut self, name: &str) -> Answer<()> {
        let clone = self.dataset(name)?;
        let origin = clone.origin.ok_or(Errno::INVAL)?;
        let (other, at) = self.home_of(origin).expect("an origin exists");
        let other = other.clone();
        let old = self.dataset(&other)?;
        let txg = old.snaps[at].createtxg;
        let (moved, stay): (Vec<Snap>, Vec<Snap>) = old
            .snaps
            .iter()
            .cloned()
            .partition(|snap| !snap.is_bookmark && snap.createtxg <= txg);
        let taken = |snap: &Snap| {
            let mut snaps = clone.snaps.iter();
            snaps.any(|own| own.short == snap.short && own.is_bookmark == snap.is_bookmark)
        };
        if moved.iter().any(taken) {
            return Err(Errno::EXIST);
        }
        let (old_guid, old_origin, old_key) = (old.guid, old.origin, old.key_of);
        let clone_guid = clone.guid;
        let swaps_key = old_key == Some(old_guid) && clone.key_of == old_key;

        let old = self.dataset_mut(&other)?;
        old.snaps = stay;
        old.origin = Some(origin);
        let location = swaps_key
            .then(|| old.properties.remove("keylocation"))
            .flatten();
        let clone = self.dataset_mut(name)?;
        clone.snaps.splice(0..0, moved);
        clone.origin = old_origin;
        if let Some(location) = location {
            clone.properties.insert("keylocation".into(), location);
        }
        if swaps_key {
            for dataset in self.datasets.values_mut() {
                if dataset.key_of == Some(old_guid) {
                    dataset.key_of = Some(clone_guid);
                }
            }
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> Answer<()> {
        if let Ok((dataset, _)) = split(from) {
            let (new_dataset, new_short) = split(to)?;
            if dataset != new_dataset {
                return Err(Errno::XDEV);
            }
            let guid = self.snap(from)?.guid;
            if self.snap(to).is_ok() {
                return Err(Errno::EXIST);
            }
            let mut snaps = self.dataset_mut(dataset)?.snaps.iter_mut();
            let snap = snaps.find(|snap| snap.guid == guid && !snap.is_bookmark);
            snap.ok_or(Errno::INVAL)?.short = new_short.into();
            return Ok(());
        }
        let dataset = self.dataset(from)?;
        if parent(from).is_none() || is_inside(to, from) {
            return Err(Errno::INVAL);
        }
        self.new_name(to)?;
        let new_parent = self.dataset(parent(to).expect("checked"))?;
        // A dataset that inherits its key may not leave its encryption root.
        if dataset.key_of.is_some_and(|key| key != dataset.guid)
            && dataset.key_of != new_parent.key_of
        {
            return Err(Errno::ACCESS);
        }
        let names: Vec<String> = self
            .below(from)
            .into_iter()
            .map(|(n, _)| n.clone())
            .collect();
        for name in names {
            let dataset = self.datasets.remove(&name).expect("listed");
            self.datasets
                .insert(format!("{to}{}", &name[from.len()..]), dataset);
        }
        Ok(())
    }

    pub(super) fn destroy(&mut self, name: &str) -> Answer<()> {
        if let Ok((dataset, _)) = split(name) {
            let snap = self.snap(name)?;
            if !snap.is_bookmark {
                if !snap.holds.is_empty() {
                    return Err(Errno::BUSY);
                }
                if !self.clones_of(snap.guid).is_empty() {
                    return Err(Errno::EXIST);
                }
            }
            let (guid, is_bookmark) = (snap.guid, snap.is_bookmark);
            self.dataset_mut(dataset)?
                .snaps
                .retain(|snap| snap.guid != guid || snap.is_bookmark != is_bookmark);
            return Ok(());
        }
        let dataset = self.dataset(name)?;
        let guid = dataset.guid;
        if parent(name).is_none() {
            return Err(Errno::INVAL);
        }
        if self.below(name).len() > 1 || dataset.snaps.iter().any(|snap| !snap.is_bookmark) {
            return Err(Errno::EXIST);
        }
        if self.bootfs == Some(guid) {
            self.bootfs = None;
        }
        self.datasets.remove(name);
        Ok(())
    }

    pub(super) fn set(&mut self, name: &str, properties: &[Property]) -> Answer<bool> {
        let dataset = self.dataset_mut(name)?;
        let mut is_new = false;
        for property in properties {
            if FIXED.contains(&property.name.as_str()) && dataset.key_of != Some(dataset.guid) {
                return Err(Errno::ACCESS);
            }
            let (key, value) = (property.name.clone(), property.value.clone());
            is_new |= dataset.properties.insert(key, value.clone()) != Some(value);
        }
        Ok(is_new)
    }
}
