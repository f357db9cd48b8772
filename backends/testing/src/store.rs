//! A snapshot store in a temporary directory: the model that the store suite is tried on, and a
//! store for tests of what lies above the seam.

use crate::tree::{self, Tree};
use state_api::{
    Error, Identity, Incoming, Outcome, Result, Shape, Snapshot, SnapshotName, SnapshotStore,
    StoreCapabilities, StoreFacts, View,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

#[derive(Debug)]
struct State {
    dir: tempfile::TempDir,
    snapshots: BTreeMap<SnapshotName, (u64, Tree)>,
    made: u64,
    in_use: bool,
    has_snapshots: bool,
}

/// A store with whole-tree snapshots. The value is a handle: clones are the same store.
#[derive(Debug, Clone)]
pub struct SimStore {
    state: Rc<RefCell<State>>,
}

impl SimStore {
    /// An empty store; `has_snapshots: false` makes it one like ext4.
    ///
    /// # Panics
    /// If there is no temporary directory.
    pub fn new(has_snapshots: bool) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join("live")).expect("an empty directory");
        let state = State {
            dir,
            snapshots: BTreeMap::new(),
            made: 0,
            in_use: true,
            has_snapshots,
        };
        Self {
            state: Rc::new(RefCell::new(state)),
        }
    }

    /// Where the live tree is.
    pub fn path(&self) -> PathBuf {
        self.at("live")
    }

    /// Whether somebody has it mounted: then nothing is exchanged.
    pub fn set_in_use(&self, in_use: bool) {
        self.state.borrow_mut().in_use = in_use;
    }

    fn at(&self, name: &str) -> PathBuf {
        self.state.borrow().dir.path().join(name)
    }

    fn has(&self, name: &str) -> bool {
        self.at(name).exists()
    }

    fn needs_snapshots(&self, what: &'static str) -> Result<()> {
        if self.state.borrow().has_snapshots {
            return Ok(());
        }
        Err(Error::Unsupported {
            engine: "simulated",
            what,
        })
    }

    fn content(&self) -> Result<Tree> {
        tree::read(&self.open_live()?).map_err(|e| Error::os("reading the store", e))
    }

    fn waits(&self) -> Option<Incoming> {
        (Incoming::ALL.into_iter()).find(|incoming| self.has(names(*incoming)[1]))
    }

    fn must_be_idle(&self) -> Result<()> {
        if self.state.borrow().in_use {
            return Err(state_api::Refusal::InUse {
                what: "the store".into(),
                by: "its mount".into(),
            }
            .into());
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        fs::rename(self.at(from), self.at(to))
            .map_err(|e| Error::os(format!("renaming {from} to {to}"), e))
    }

    fn discard(&self, name: &str) -> Result<Outcome> {
        if !self.has(name) {
            return Ok(Outcome::AlreadySo);
        }
        fs::remove_dir_all(self.at(name))
            .map_err(|e| Error::os(format!("deleting {name}"), e))
            .map(|()| Outcome::Made)
    }
}

/// What a tree is called, and what it is called while it waits.
fn names(incoming: Incoming) -> [&'static str; 2] {
    match incoming {
        Incoming::Staged => ["staged", "waiting"],
        Incoming::Replaced => ["replaced", "returning"],
    }
}

fn open(at: &Path) -> Result<OwnedFd> {
    let dir = File::open(at).map_err(|e| Error::os(format!("opening {}", at.display()), e))?;
    Ok(dir.into())
}

fn missing(what: &str) -> Error {
    Error::Missing { what: what.into() }
}

impl SnapshotStore for SimStore {
    fn capabilities(&self) -> StoreCapabilities {
        let snapshots = self.state.borrow().has_snapshots;
        StoreCapabilities {
            snapshots,
            atomic_nested: snapshots,
            changes: false,
        }
    }

    fn survey(&self) -> Result<StoreFacts> {
        Ok(StoreFacts {
            engine: "simulated",
            filesystem: "simulated".into(),
            path: self.path(),
            shape: Shape::Directory {
                path: "live".into(),
            },
            nested: Vec::new(),
            layout: String::new(),
            foreign_mounts: Vec::new(),
            identity: Some(Identity(format!("{:?}", self.content()?))),
            free_bytes: 1 << 30,
            total_bytes: 1 << 32,
            keeps_reserved: false,
            is_interrupted: false,
            has_staged: self.has("staged"),
            has_replaced: self.has("replaced"),
        })
    }

    fn list(&self) -> Result<Vec<Snapshot>> {
        self.needs_snapshots("listing snapshots")?;
        let state = self.state.borrow();
        let mut all: Vec<Snapshot> = state
            .snapshots
            .iter()
            .map(|(name, (sequence, tree))| Snapshot {
                name: name.clone(),
                taken_at: None,
                sequence: *sequence,
                identity: Some(Identity(format!("{tree:?}"))),
            })
            .collect();
        all.sort_by_key(|snapshot| snapshot.sequence);
        Ok(all)
    }

    fn create(&mut self, name: &SnapshotName) -> Result<Snapshot> {
        self.needs_snapshots("taking a snapshot")?;
        let tree = self.content()?;
        let mut state = self.state.borrow_mut();
        if state.snapshots.contains_key(name) {
            let doing = format!("taking the snapshot {name}");
            return Err(Error::os(doing, rustix::io::Errno::EXIST));
        }
        state.made += 1;
        let sequence = state.made;
        let identity = Some(Identity(format!("{tree:?}")));
        state.snapshots.insert(name.clone(), (sequence, tree));
        Ok(Snapshot {
            name: name.clone(),
            taken_at: None,
            sequence,
            identity,
        })
    }

    fn delete(&mut self, name: &SnapshotName) -> Result<Outcome> {
        self.needs_snapshots("deleting a snapshot")?;
        let was = self.state.borrow_mut().snapshots.remove(name);
        Ok(was.map_or(Outcome::AlreadySo, |_| Outcome::Made))
    }

    fn open(&self, name: &SnapshotName) -> Result<View> {
        self.needs_snapshots("opening a snapshot")?;
        let state = self.state.borrow();
        let found = state.snapshots.get(name);
        let (_, tree) = found.ok_or_else(|| missing(&format!("snapshot {name}")))?;
        let os = |e| Error::os(format!("opening the snapshot {name}"), e);
        let keep = tempfile::tempdir().map_err(os)?;
        tree::write(tree, keep.path()).map_err(os)?;
        Ok(View::frozen(self::open(keep.path())?).keeping(keep))
    }

    fn open_replaced(&self) -> Result<Option<OwnedFd>> {
        let has = self.has("replaced");
        has.then(|| open(&self.at("replaced"))).transpose()
    }

    fn open_live(&self) -> Result<View> {
        Ok(View::live(open(&self.path())?))
    }

    fn stage(&mut self) -> Result<OwnedFd> {
        let at = self.at("staged");
        if !at.exists() {
            DirBuilder::new()
                .mode(0o700)
                .create(&at)
                .map_err(|e| Error::os("making the staging directory", e))?;
        }
        open(&at)
    }

    fn demand_unused(&self) -> Result<()> {
        self.must_be_idle()
    }

    fn exchange(&mut self) -> Result<Outcome> {
        self.must_be_idle()?;
        if !self.has("staged") {
            return Err(missing("a staged tree"));
        }
        self.discard("replaced")?;
        self.rename("live", "replaced")?;
        self.rename("staged", "live")?;
        Ok(Outcome::Made)
    }

    fn exchange_back(&mut self) -> Result<Outcome> {
        self.must_be_idle()?;
        if !self.has("replaced") {
            return Err(missing("a replaced tree"));
        }
        self.rename("live", "aside")?;
        self.rename("replaced", "live")?;
        self.rename("aside", "replaced")?;
        Ok(Outcome::Made)
    }

    fn restage(&mut self) -> Result<Outcome> {
        if !self.has("replaced") {
            return Err(missing("a replaced tree"));
        }
        self.rename("replaced", "staged")?;
        Ok(Outcome::Made)
    }

    fn postpone(&mut self, incoming: Incoming) -> Result<Outcome> {
        let [name, waiting] = names(incoming);
        match self.waits() {
            Some(already) if already == incoming => return Ok(Outcome::AlreadySo),
            Some(_) => return Err(missing("a free place to wait in")),
            None if !self.has(name) => return Err(missing(name)),
            None => {}
        }
        if incoming == Incoming::Staged {
            self.discard("replaced")?;
        }
        self.rename(name, waiting)?;
        Ok(Outcome::Made)
    }

    fn waiting(&self) -> Result<Option<Incoming>> {
        Ok(self.waits())
    }

    fn call_off(&mut self) -> Result<Outcome> {
        let Some(incoming) = self.waits() else {
            return Ok(Outcome::AlreadySo);
        };
        let [name, waiting] = names(incoming);
        self.rename(waiting, name)?;
        Ok(Outcome::Made)
    }

    fn exchange_waiting(&mut self) -> Result<Outcome> {
        self.must_be_idle()?;
        self.waits().ok_or_else(|| missing("a tree that waits"))?;
        self.call_off()?;
        // A restored tree replaces; one that was replaced returns.
        match self.has("staged") {
            true => self.exchange(),
            false => self.exchange_back(),
        }
    }

    fn discard_staged(&mut self) -> Result<Outcome> {
        self.discard("staged")
    }

    fn discard_replaced(&mut self) -> Result<Outcome> {
        self.discard("replaced")
    }
}
