//! A store on ZFS: a dataset of its own, or a directory in one, with the datasets mounted in it.
//!
//! Its snapshots are `DATASET@state-NAME`, taken of all these datasets in one transaction. A
//! restored tree is exchanged inside the dataset, entry by entry under a journal or as a
//! directory: so the dataset keeps its properties, its snapshots, and whatever is sent from them.

mod children;

use crate::changes::{Held, differing, held, written};
use crate::layout::split;
use crate::live::State;
use crate::live::view::{Detached, directory_in};
use crate::plan::free;
use crate::{Kernel, Live};
use chrono::DateTime;
use rustix::fs::CWD;
use rustix::io::Errno;
use state_api::{
    ChangedInodes, Changes, Error, Extent, Graft, Identity, Incoming, Inodes, Outcome, Refusal,
    Result, Shape, Snapshot, SnapshotName, SnapshotStore, StoreCapabilities, StoreFacts, View,
};
use state_linux::{mount, mountinfo, users};
use state_plain::PlainStore;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What the short names of our snapshots begin with.
const PREFIX: &str = "state-";

/// How much of a dataset's stream is read to learn which inodes differ: it holds all that was written, of what is
/// excluded as well. A walk costs less than more of it.
const MOST_STREAM: u64 = 1 << 30;

/// A store on ZFS.
#[derive(Debug)]
pub struct ZfsStore {
    kernel: Live,
    path: PathBuf,
    /// The dataset that holds it.
    dataset: String,
    /// Its path from that dataset's top.
    inside: PathBuf,
    /// Exchanges trees.
    plain: PlainStore,
}

impl ZfsStore {
    /// The store at `path`: an absolute path without symlinks or `..`.
    ///
    /// # Errors
    /// There is none, or it is not on ZFS.
    pub fn open(path: &Path) -> Result<Self> {
        let mounts = mountinfo::read().map_err(|error| os("reading what is mounted", error))?;
        let mount = users::mount_of(path, &mounts).filter(|mount| mount.filesystem == "zfs");
        let dataset = mount.and_then(|mount| mount.source.to_str());
        let (Some(mount), Some(dataset)) = (mount, dataset) else {
            return Err(Refusal::NotWhatItClaims {
                name: path.display().to_string(),
                expected: "on a ZFS dataset".into(),
            }
            .into());
        };
        if dataset.contains('@') {
            return Err(Refusal::ReadOnly {
                what: format!("{}, a snapshot,", path.display()),
            }
            .into());
        }
        let from_mount = path.strip_prefix(&mount.at).unwrap_or(path);
        let inside = mount.root.join(from_mount);
        Ok(Self {
            kernel: Live::new(),
            path: path.to_owned(),
            dataset: dataset.to_owned(),
            inside: inside.strip_prefix("/").unwrap_or(&inside).to_owned(),
            plain: PlainStore::new(path),
        })
    }

    /// The full name of a snapshot of one of the store's datasets.
    fn snapshot_of(&self, dataset: &str, name: &SnapshotName) -> String {
        format!("{dataset}@{PREFIX}{name}")
    }

    /// Everything that has a snapshot of this name, the store's own dataset first.
    fn members(&self, name: &SnapshotName) -> Result<Vec<crate::ZfsSnapshot>> {
        let short = format!("{PREFIX}{name}");
        let mut members = self.kernel.snapshots(&self.dataset)?;
        members.retain(|s| s.name.contains('@') && split(&s.name).1 == short);
        members.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(members)
    }

    /// Our snapshots, oldest first. Two have the same identity when nothing was written to any
    /// dataset between them; every snapshot counts for that, also those of others.
    fn described(&self) -> Result<Vec<Snapshot>> {
        let mut states = self.kernel.states(&self.dataset)?;
        states.sort_by_key(|state| state.createtxg);
        let own = states.iter().filter(|s| split(&s.name).0 == self.dataset);
        let described = own.filter_map(|top| {
            let short = split(&top.name).1;
            let name: SnapshotName = short.strip_prefix(PREFIX)?.parse().ok()?;
            let members = states.iter().filter(|s| split(&s.name).1 == short);
            let mut identity: Vec<_> = members
                .map(|s| format!("{}:{}", split(&s.name).0, s.unchanged_since))
                .collect();
            identity.sort();
            Some(Snapshot {
                taken_at: name
                    .taken_at()
                    .or_else(|| DateTime::from_timestamp(top.creation_seconds, 0)),
                name,
                sequence: top.createtxg,
                identity: Some(Identity(identity.join(","))),
            })
        });
        Ok(described.collect())
    }

    /// What this snapshot of the store holds.
    fn held<'s>(&self, states: &'s [State], name: &SnapshotName) -> Result<Held<'s>> {
        let held = held(states, &format!("{PREFIX}{name}"));
        match held.contains_key(&*self.dataset) {
            true => Ok(held),
            false => Err(Error::Missing {
                what: format!("snapshot {name}"),
            }),
        }
    }
}

fn os(doing: impl Into<String>, error: impl Into<std::io::Error>) -> Error {
    Error::os(doing, error)
}

/// A directory and what is mounted in it as separate trees, which is what a snapshot of it looks
/// like, too.
fn live(path: &Path) -> Result<(OwnedFd, OwnedFd)> {
    let opened = || {
        let tree = mount::clone_tree(CWD, path, false)?;
        let top = mount::open_top(&tree)?;
        Ok::<_, std::io::Error>((tree, top))
    };
    opened().map_err(|error| os(format!("opening {}", path.display()), error))
}

impl SnapshotStore for ZfsStore {
    fn capabilities(&self) -> StoreCapabilities {
        StoreCapabilities {
            snapshots: true,
            atomic_nested: true,
            changes: true,
        }
    }

    fn survey(&self) -> Result<StoreFacts> {
        let facts = self.plain.survey()?;
        let (guid, children) = self.with_children()?;
        let nested: Vec<_> = children.iter().map(|child| child.at.clone()).collect();
        let mut foreign_mounts = facts.foreign_mounts;
        foreign_mounts.retain(|at| !nested.contains(at));
        Ok(StoreFacts {
            engine: "zfs",
            filesystem: "zfs".into(),
            shape: if self.inside.as_os_str().is_empty() {
                Shape::Volume {
                    name: self.dataset.clone(),
                }
            } else {
                Shape::Directory {
                    path: self.inside.clone(),
                }
            },
            nested,
            layout: self.layout(
                guid,
                children.iter().map(|child| (Some(child.guid), &*child.at)),
            ),
            foreign_mounts,
            // What is written but not on the disk yet is not counted anywhere.
            identity: None,
            ..facts
        })
    }

    fn list(&self) -> Result<Vec<Snapshot>> {
        self.described()
    }

    fn create(&mut self, name: &SnapshotName) -> Result<Snapshot> {
        let doing = || format!("taking the snapshot {name}");
        let top = self.snapshot_of(&self.dataset, name);
        let left = self.members(name)?;
        if left.iter().any(|s| s.name == top) {
            return Err(os(doing(), Errno::EXIST));
        }
        // A deletion that was interrupted left those of children alone.
        for left in left {
            free(&left)?;
            self.kernel.destroy(&left.name)?;
        }
        let mut names = vec![top];
        for child in self.children()? {
            names.push(self.snapshot_of(&child.dataset, name));
        }
        self.kernel.snapshot(&names)?;
        let made = self.described()?.into_iter().find(|s| s.name == *name);
        made.ok_or_else(|| Error::Missing {
            what: format!("snapshot {name}"),
        })
    }

    fn delete(&mut self, name: &SnapshotName) -> Result<Outcome> {
        let members = self.members(name)?;
        members.iter().try_for_each(free)?;
        let top = self.snapshot_of(&self.dataset, name);
        // The store's own goes first: without it the rest is no snapshot any more.
        let (own, others): (Vec<_>, Vec<_>) = members.iter().partition(|s| s.name == top);
        for member in own.iter().chain(&others) {
            self.kernel.destroy(&member.name)?;
        }
        Ok(match !own.is_empty() {
            true => Outcome::Made,
            false => Outcome::AlreadySo,
        })
    }

    fn open(&self, name: &SnapshotName) -> Result<View> {
        let members = self.members(name)?;
        let top = self.snapshot_of(&self.dataset, name);
        if !members.iter().any(|s| s.name == top) {
            return Err(Error::Missing {
                what: format!("snapshot {name}"),
            });
        }
        let mount = Detached::read_only(&top)?;
        let dir = directory_in(&mount.top()?, &self.inside)?;
        let mut view = View::frozen(dir).keeping(mount);
        let (guid, mounted) = self.with_children()?;
        let mut guids = BTreeMap::new();
        for member in members.iter().filter(|s| s.name != top) {
            let dataset = split(&member.name).0;
            let Some(at) = self.place(&mounted, dataset) else {
                continue;
            };
            let child = mounted.iter().find(|child| child.dataset == dataset);
            guids.insert(at.clone(), child.map(|child| child.guid));
            let mount = Detached::read_only(&member.name)?;
            let dir = mount.top()?;
            view.grafts.push(Graft { at, dir });
            view = view.keeping(mount);
        }
        view.grafts.sort_by(|a, b| a.at.cmp(&b.at));
        view.layout = self.layout(guid, guids.iter().map(|(at, guid)| (*guid, &**at)));
        Ok(view)
    }

    fn open_replaced(&self) -> Result<Option<OwnedFd>> {
        self.plain.open_replaced()
    }

    fn open_live(&self) -> Result<View> {
        let (tree, dir) = live(&self.path)?;
        let mut view = View::live(dir).keeping(tree);
        for child in self.children()? {
            let (tree, dir) = live(&self.path.join(&child.at))?;
            view.grafts.push(Graft { at: child.at, dir });
            view = view.keeping(tree);
        }
        Ok(view)
    }

    /// Which datasets differ is known, not where in them: `zfs diff` leaves out files.
    fn changes(
        &self,
        old: &SnapshotName,
        new: Option<&SnapshotName>,
        _most: usize,
    ) -> Result<Option<Changes>> {
        let Some(new) = new else {
            return Ok(None); // what is not on the disk yet is not counted anywhere
        };
        let states = self.kernel.states(&self.dataset)?;
        let [old, new] = [self.held(&states, old)?, self.held(&states, new)?];
        let differing = differing(&old, &new);
        if differing.contains(&*self.dataset) {
            return Ok(None);
        }
        let mounted = self.children()?;
        let mut changes = Changes::none();
        for at in differing.iter().filter_map(|d| self.place(&mounted, d)) {
            changes.add(at, Extent::Whole);
        }
        Ok(Some(changes))
    }

    /// What an incremental stream would send of each dataset.
    fn changed_inodes(
        &self,
        old: &SnapshotName,
        new: &SnapshotName,
    ) -> Result<Option<ChangedInodes>> {
        let states = self.kernel.states(&self.dataset)?;
        let [held_old, held_new] = [self.held(&states, old)?, self.held(&states, new)?];
        let (guid, mounted) = self.with_children()?;
        let places = mounted.iter().map(|child| (Some(child.guid), &*child.at));
        let mut changed = ChangedInodes {
            layout: self.layout(guid, places),
            ..ChangedInodes::default()
        };
        for dataset in differing(&held_old, &held_new) {
            let at = match dataset == self.dataset {
                true => Some(PathBuf::new()),
                false => self.place(&mounted, dataset),
            };
            let Some(at) = at else {
                continue; // it lies beside the store
            };
            let is_in_both = held_old.contains_key(dataset) && held_new.contains_key(dataset);
            let [short_old, short_new] = [old, new].map(|name| format!("{PREFIX}{name}"));
            let bytes = written(&states, dataset, &short_old, &short_new);
            let numbers = match is_in_both && bytes <= MOST_STREAM {
                true => {
                    let (old, new) = (
                        self.snapshot_of(dataset, old),
                        self.snapshot_of(dataset, new),
                    );
                    self.kernel.changed_objects(&old, &new, MOST_STREAM)?
                }
                false => None,
            };
            let inodes = numbers.map_or(Inodes::All, Inodes::Numbers);
            changed.volumes.insert(at, inodes);
        }
        Ok(Some(changed))
    }

    fn stage(&mut self) -> Result<OwnedFd> {
        self.plain.stage()
    }

    fn demand_unused(&self) -> Result<()> {
        self.plain.demand_unused()
    }

    fn exchange(&mut self) -> Result<Outcome> {
        self.plain.exchange()
    }

    fn recover(&mut self) -> Result<Outcome> {
        self.plain.recover()
    }

    fn exchange_back(&mut self) -> Result<Outcome> {
        self.plain.exchange_back()
    }

    fn restage(&mut self) -> Result<Outcome> {
        self.plain.restage()
    }

    fn postpone(&mut self, incoming: Incoming) -> Result<Outcome> {
        self.plain.postpone(incoming)
    }

    fn waiting(&self) -> Result<Option<Incoming>> {
        self.plain.waiting()
    }

    fn call_off(&mut self) -> Result<Outcome> {
        self.plain.call_off()
    }

    fn exchange_waiting(&mut self) -> Result<Outcome> {
        self.plain.exchange_waiting()
    }

    fn discard_staged(&mut self) -> Result<Outcome> {
        self.plain.discard_staged()
    }

    fn discard_replaced(&mut self) -> Result<Outcome> {
        self.plain.discard_replaced()
    }
}
