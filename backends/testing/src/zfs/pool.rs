//! A pool as values: datasets, snapshots, and the rules of the acts on them.
//!
//! The rules are those of the DSL (`module/zfs/dsl_*.c`), or stricter. What refers to a dataset
//! or snapshot refers to its guid, so that a rename needs no care, as in the pool itself.

use crate::tree::{Leaf, Tree};
use rustix::io::Errno;
use state_zfs::DatasetKind;
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
}

/// What is in its pool.
#[derive(Debug, Clone, PartialEq, Hash)]
pub struct Pool {
    pub(super) name: String,
    pub(super) is_read_only: bool,
    /// The guid of the dataset.
    pub(super) bootfs: Option<u64>,
    pub(super) clock: i64,
    pub(super) datasets: BTreeMap<String, Dataset>,
    pub(super) txg: u64,
    next_guid: u64,
}

pub(super) fn parent(name: &str) -> Option<&str> {
    name.rsplit_once('/').map(|(parent, _)| parent)
}

pub(super) fn split(snapshot: &str) -> Answer<(&str, &str)> {
    snapshot
        .split_once(['@', '#'])
        .filter(|(dataset, short)| !dataset.is_empty() && !short.is_empty())
        .ok_or(Errno::INVAL)
}

pub(super) fn is_inside(name: &str, ancestor: &str) -> bool {
    name.strip_prefix(ancestor)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

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

    pub(super) fn guid(&mut self) -> u64 {
        // Guids are random: neither ordered nor near each other.
        self.next_guid += 1;
        self.next_guid.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    pub(super) fn blank_dataset(&mut self) -> Dataset {
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
        }
    }

    /// Every act is a sync task of its own: it opens a new transaction group.
    pub(super) fn next_txg(&mut self) {
        self.txg += 1;
    }

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
}
