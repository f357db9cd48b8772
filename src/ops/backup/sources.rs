//! The stores that are archived: surveyed, frozen where they can be, opened.

use crate::archive::label::Id;
use crate::archive::machine::Store;
use crate::archive::manifest::{Bytes, Missing};
use crate::archive::member::name;
use crate::archive::select::{Choice, Selection};
use crate::archive::write::{Told, path_bytes};
use crate::context::Context;
use crate::engine;
use crate::failure::Failure;
use crate::persist::{Anchors, PersistTree};
use crate::settings::Class;
use anyhow::Context as _;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use sha2::{Digest, Sha256};
use state_api::{Changes, SnapshotName, SnapshotStore, StoreFacts, View};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How the snapshots begin that are made for an archive. That of the last one is kept.
const SNAPSHOT: &str = "archive-";

/// If more inodes than that changed, something of the archive has: which they are is looked for
/// once, in the snapshot.
const FEW: usize = 256;

/// Whether an archive was made from this snapshot, or was to be.
pub(crate) fn is_of_archive(name: &SnapshotName) -> bool {
    name.as_str().starts_with(SNAPSHOT)
}

/// One store.
pub(super) struct Source {
    /// Where it is on the machine.
    pub(super) path: PathBuf,
    pub(super) facts: StoreFacts,
    pub(super) has_snapshots: bool,
    engine: Box<dyn SnapshotStore>,
    selection: Selection,
    /// What stands for the selection in the names of snapshots: see [`terms`].
    terms: String,
    /// The one that this run took.
    snapshot: Option<SnapshotName>,
    /// Whether that was found to hold the volumes that the terms are about, where they were.
    is_as_surveyed: bool,
}

impl Source {
    /// What the snapshot for an archive of this selection is called.
    fn name(&self, id: &Id) -> anyhow::Result<SnapshotName> {
        Ok(format!("{SNAPSHOT}{id}-{}", self.terms).parse()?)
    }

    /// The snapshot that the archive `id` was made from, if it still stands.
    pub(super) fn snapshot_of(&self, id: &Id) -> Option<View> {
        let name = self.name(id).ok()?;
        self.engine.open(&name).ok()
    }

    /// What of it is archived.
    pub(super) fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Mounts inside it that should be archived and of which a snapshot has nothing.
    fn hidden(&self) -> impl Iterator<Item = &PathBuf> {
        let mounts = self.facts.foreign_mounts.iter();
        mounts.filter(|at| self.selection.choose(at) == Choice::Take)
    }

    /// Whether the filesystem says that everything that is selected is as it was in the archive.
    fn is_as_in(&self, id: &Id) -> bool {
        let told = self
            .name(id)
            .ok()
            .map(|kept| self.engine.changes(&kept, None, FEW));
        // Without that snapshot, or if it is not to be compared with, the tree is walked.
        match told {
            Some(Ok(Some(changes))) => {
                self.hidden().next().is_none() && reached(&self.selection, &changes).is_empty()
            }
            _ => false,
        }
    }
}

impl Source {
    /// Where what was frozen for this run may differ from the archive `last`, as far as the
    /// filesystem can tell.
    fn told(&self, last: &Id) -> Option<Told> {
        let (old, new) = (self.name(last).ok()?, self.snapshot.as_ref()?);
        if self.hidden().next().is_some() || !self.is_as_surveyed {
            return None;
        }
        // Without the older snapshot, or if it is not to be compared with, the tree is walked.
        if let Some(inodes) = self.engine.changed_inodes(&old, new).ok()? {
            let is_as_surveyed = inodes.layout == self.facts.layout;
            return is_as_surveyed.then_some(Told::Inodes(inodes));
        }
        let places = self.engine.changes(&old, Some(new), usize::MAX).ok()??;
        Some(Told::Places(places))
    }

    fn thaw(&mut self) -> Option<String> {
        let name = self.snapshot.take()?;
        let error = self.engine.delete_lazily(&name).err()?;
        Some(format!("the snapshot {name} stays: {error}"))
    }

    fn keep(&mut self) -> Vec<String> {
        let Some(name) = self.snapshot.take() else {
            return Vec::new();
        };
        let mut notes = Vec::new();
        // A volume that was mounted elsewhere meanwhile is not where the name says.
        let is_useful = self.engine.capabilities().changes && self.is_as_surveyed;
        let all = self.engine.list().unwrap_or_else(|error| {
            notes.push(format!("snapshots of earlier archives may stay: {error}"));
            Vec::new()
        });
        for old in all.iter().map(|one| &one.name) {
            if is_of_archive(old)
                && !(is_useful && *old == name)
                && let Err(error) = self.engine.delete_lazily(old)
            {
                notes.push(format!("the snapshot {old} stays: {error}"));
            }
        }
        notes
    }
}

/// Whoever fails leaves no snapshot.
impl Drop for Sources {
    fn drop(&mut self) {
        self.thaw();
    }
}

/// Those of the changes that a walk comes to: in what is archived, and in the directories that
/// lead to it.
fn reached(selection: &Selection, changes: &Changes) -> Changes {
    let is_reached = |path: &Path| {
        // No walk goes into a directory that is left out.
        let mut all = path.ancestors();
        all.all(|at| matches!(selection.choose(at), Choice::Take | Choice::Lead))
    };
    let mut reached = Changes::none();
    for (path, extent) in changes.places().filter(|(path, _)| is_reached(path)) {
        reached.add(path.to_owned(), extent);
    }
    reached
}

/// A digest of all that decides, besides the trees themselves, what of a store is archived, the volumes that it
/// is made of included. It stands in the snapshot's name: what was selected otherwise has another one and is not
/// found.
fn terms(tree: &PersistTree, store: &Path, patterns: &[String], layout: &str) -> String {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update(bytes.len().to_le_bytes());
        hash.update(bytes);
    };
    add(env!("CARGO_PKG_VERSION").as_bytes());
    add(store.as_os_str().as_bytes());
    for pattern in patterns {
        add(pattern.as_bytes());
    }
    add(layout.as_bytes());
    for (path, class) in tree.stores() {
        add(path.as_os_str().as_bytes());
        add(&[u8::from(class == Class::Backup)]);
    }
    for entry in tree.entries() {
        add(entry.path.as_os_str().as_bytes());
        add(entry.store.as_os_str().as_bytes());
    }
    let digest = hash.finalize();
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// All stores of class `backup`.
pub(super) struct Sources(pub(super) Vec<Source>);

/// A store opened for reading.
pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) view: View,
    pub(super) selection: Selection,
    pub(super) incomplete: Vec<Missing>,
}

impl Sources {
    pub(super) fn survey(
        cx: &Context,
        tree: &PersistTree,
        must_be_mounted: bool,
        patterns: &[String],
    ) -> anyhow::Result<Self> {
        let excluded = exclude(patterns)?;
        let stores = tree.stores().filter(|(_, class)| *class == Class::Backup);
        // The directory that a store is mounted at is empty: so would the newest archive be.
        let anchors = Anchors::open(&cx.root_dir, tree, must_be_mounted, BTreeMap::new())?;
        let sources = stores.map(|(path, _)| -> anyhow::Result<Source> {
            let doing = || format!("looking at the store {}", path.display());
            if let Some(why) = anchors.why_missing(path) {
                return Err(anyhow::Error::from(
                    Failure::refused(why).hint("mount the store first"),
                )
                .context(doing()));
            }
            let engine = engine::store(&cx.rooted(path)).with_context(doing)?;
            let facts = engine.survey().with_context(doing)?;
            Ok(Source {
                path: path.to_owned(),
                has_snapshots: engine.capabilities().snapshots,
                engine,
                selection: Selection::of(tree, path, excluded.clone()),
                terms: terms(tree, path, patterns, &facts.layout),
                facts,
                snapshot: None,
                is_as_surveyed: false,
            })
        });
        let sources: Vec<_> = sources.collect::<Result<_, _>>()?;
        if sources.is_empty() {
            return Err(Failure::usage("no store of class \"backup\" is declared")
                .hint("declare one: [persist.\"/persist\"] with the paths to keep")
                .into());
        }
        Ok(Self(sources))
    }

    /// What the stores are called in an archive.
    pub(super) fn names(&self) -> Vec<Bytes> {
        let name = |source: &Source| Bytes(source.path.as_os_str().as_bytes().to_vec());
        self.0.iter().map(name).collect()
    }

    /// Whether the filesystems say, without a look at the trees, that all that is archived is as
    /// it was in the archive `id`. `false`: they do not say so.
    pub(super) fn are_as_in(&self, id: &Id) -> bool {
        self.0.iter().all(|source| source.is_as_in(id))
    }

    /// Takes a snapshot of every store that can. Others for archives go first, but for those of
    /// the archive `last`. After a loss of power either may be there or not: the next run walks if
    /// that of the last archive is missing, and deletes those of no archive. What stays of them, and why.
    pub(super) fn freeze(&mut self, id: &Id, last: Option<&Id>) -> anyhow::Result<Vec<String>> {
        let mut notes = Vec::new();
        for source in self.0.iter_mut().filter(|source| source.has_snapshots) {
            let doing = || format!("taking a snapshot of {}", source.path.display());
            let kept = last.map(|last| format!("{SNAPSHOT}{last}-"));
            let is_kept = |name: &SnapshotName| {
                kept.as_ref()
                    .is_some_and(|kept| name.as_str().starts_with(kept))
            };
            for old in source.engine.list().with_context(doing)? {
                // Somebody may hold it, or have made a clone of it.
                if is_of_archive(&old.name)
                    && !is_kept(&old.name)
                    && let Err(error) = source.engine.delete_lazily(&old.name)
                {
                    notes.push(format!("the snapshot {} stays: {error}", old.name));
                }
            }
            let name = source.name(id).with_context(doing)?;
            source.engine.create_lazily(&name).with_context(doing)?;
            source.snapshot = Some(name);
        }
        Ok(notes)
    }

    /// What the filesystems tell of where the frozen stores may differ from the archive `last`, whose
    /// snapshots are kept. `None`: one does not tell, and everything has to be looked at.
    pub(super) fn told(&self, last: &Id) -> Option<Vec<Told>> {
        self.0.iter().map(|source| source.told(last)).collect()
    }

    /// Those of the places in each store that a walk comes to.
    pub(super) fn reached(&self, places: Vec<Changes>) -> Vec<Changes> {
        let each = self.0.iter().zip(places);
        each.map(|(source, places)| reached(&source.selection, &places))
            .collect()
    }

    /// Deletes the snapshots again; what stays, and why.
    pub(super) fn thaw(&mut self) -> Vec<String> {
        let sources = self.0.iter_mut();
        sources.filter_map(Source::thaw).collect()
    }

    /// Keeps the snapshots for the next run, where it can be told what differs from them, and
    /// deletes the others for archives; what stays, and why.
    pub(super) fn keep(&mut self) -> Vec<String> {
        self.0.iter_mut().flat_map(Source::keep).collect()
    }

    pub(super) fn open(&mut self) -> anyhow::Result<Vec<Opened>> {
        let opened = self.0.iter_mut().map(|source| -> anyhow::Result<Opened> {
            let view = match &source.snapshot {
                Some(name) => source.engine.open(name),
                None => source.engine.open_live(),
            };
            let view =
                view.with_context(|| format!("opening the store {}", source.path.display()))?;
            source.is_as_surveyed = view.layout == source.facts.layout;
            let selection = source.selection.clone();
            // What is mounted inside the live tree is found by walking; a snapshot hides it.
            let hidden = source.hidden().filter(|_| view.is_frozen);
            let incomplete = hidden
                .map(|at| Missing {
                    path: Bytes(name(path_bytes(at))),
                    why: "another filesystem is mounted there, which no snapshot contains".into(),
                })
                .collect();
            let entries = selection.declared().iter();
            let store = Store {
                path: Bytes(source.path.as_os_str().as_bytes().to_vec()),
                engine: source.facts.engine.to_owned(),
                filesystem: source.facts.filesystem.clone(),
                total_bytes: source.facts.total_bytes,
                is_frozen: view.is_frozen,
                identity: source.facts.identity.as_ref().map(|id| id.0.clone()),
                entries: entries.map(|path| Bytes(name(path_bytes(path)))).collect(),
            };
            Ok(Opened {
                store,
                view,
                selection,
                incomplete,
            })
        });
        opened.collect()
    }
}

/// The patterns of `[archive] exclude`.
fn exclude(patterns: &[String]) -> anyhow::Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        set.add(glob.map_err(|error| Failure::usage(format!("[archive] exclude: {error}")))?);
    }
    Ok(set.build()?)
}

#[cfg(test)]
mod tests;
