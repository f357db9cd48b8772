//! A store on ZFS: a dataset of its own, or a directory in one, with the datasets mounted in it.
//!
//! Its snapshots are `DATASET@state-NAME`, taken of all these datasets in one transaction. A
//! restored tree is exchanged inside the dataset, entry by entry under a journal or as a
//! directory: so the dataset keeps its properties, its snapshots, and whatever is sent from them.

use crate::changes::{differing, held};
use crate::layout::{below, split};
use crate::live::view::{Detached, directory_in};
use crate::plan::free;
use crate::{Dataset, DatasetKind, Kernel, Live};
use chrono::DateTime;
use rustix::fs::CWD;
use rustix::io::Errno;
use state_api::{
    Changes, Error, Extent, Graft, Identity, Incoming, Outcome, Refusal, Result, Shape, Snapshot,
    SnapshotName, SnapshotStore, StoreCapabilities, StoreFacts, View,
};
use state_linux::{mount, mountinfo, users};
use state_plain::PlainStore;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What the short names of our snapshots begin with.
const PREFIX: &str = "state-";

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

/// A dataset mounted in the store.
struct Child {
    dataset: String,
    /// Where, from the store's top.
    at: PathBuf,
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

    /// The datasets mounted in the store now, parents before children.
    fn children(&self) -> Result<Vec<Child>> {
        let mounted = |dataset: Dataset| {
            let inside = |at: &PathBuf| Some(at.strip_prefix(&self.path).ok()?.to_owned());
            let at = dataset.mounted_at.iter().find_map(inside)?;
            let is_child = dataset.kind == DatasetKind::Filesystem && dataset.name != self.dataset;
            is_child.then_some(Child {
                dataset: dataset.name,
                at,
            })
        };
        let datasets = self.kernel.datasets(&self.dataset)?;
        let mut children: Vec<_> = datasets.into_iter().filter_map(mounted).collect();
        children.sort_by(|a, b| a.at.cmp(&b.at));
        Ok(children)
    }

    /// Where in the store a dataset belongs, if it is of it. One that is not mounted now is where
    /// its name says.
    fn place(&self, mounted: &[Child], dataset: &str) -> Option<PathBuf> {
        if let Some(child) = mounted.iter().find(|child| child.dataset == dataset) {
            return Some(child.at.clone());
        }
        let rel = below(&self.dataset, dataset).unwrap_or_default();
        let rel = Path::new(rel.trim_start_matches('/'));
        Some(rel.strip_prefix(&self.inside).ok()?.to_owned())
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
        let states = self.kernel.states(&self.dataset)?;
        let all = self.kernel.snapshots(&self.dataset)?;
        let own = all.iter().filter(|s| split(&s.name).0 == self.dataset);
        let described = own.filter_map(|top| {
            let short = split(&top.name).1;
            let name: SnapshotName = short.strip_prefix(PREFIX)?.parse().ok()?;
            let members = states.iter().filter(|s| split(&s.name).1 == short);
            let identity: Vec<_> = members
                .map(|s| format!("{}:{}", split(&s.name).0, s.unchanged_since))
                .collect();
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

    /// Destroys what a deletion that was interrupted left: snapshots of children alone.
    fn clear(&mut self, name: &SnapshotName) -> Result<()> {
        for member in self.members(name)? {
            free(&member)?;
            self.kernel.destroy(&member.name)?;
        }
        Ok(())
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
            live_changes: false,
        }
    }

    fn survey(&self) -> Result<StoreFacts> {
        let facts = self.plain.survey()?;
        let nested: Vec<_> = self.children()?.into_iter().map(|c| c.at).collect();
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
        if self.members(name)?.iter().any(|s| s.name == top) {
            return Err(os(doing(), Errno::EXIST));
        }
        self.clear(name)?;
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
        let existed = members.iter().any(|s| s.name == top);
        if existed {
            self.kernel.destroy(&top)?;
        }
        self.clear(name)?;
        Ok(match existed {
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
        let mounted = self.children()?;
        for member in members.iter().filter(|s| s.name != top) {
            let dataset = split(&member.name).0;
            let Some(at) = self.place(&mounted, dataset) else {
                continue;
            };
            let mount = Detached::read_only(&member.name)?;
            let dir = mount.top()?;
            view.grafts.push(Graft { at, dir });
            view = view.keeping(mount);
        }
        view.grafts.sort_by(|a, b| a.at.cmp(&b.at));
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
        let mut sides = Vec::new();
        for name in [old, new] {
            let side = held(&states, &format!("{PREFIX}{name}"));
            if !side.contains_key(&*self.dataset) {
                return Err(Error::Missing {
                    what: format!("snapshot {name}"),
                });
            }
            sides.push(side);
        }
        let differing = differing(&sides[0], &sides[1]);
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
