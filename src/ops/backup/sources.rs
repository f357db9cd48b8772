//! The stores that are archived: surveyed, frozen where they can be, opened.

use super::Names;
use crate::archive::label::Id;
use crate::archive::machine::Store;
use crate::archive::manifest::{Bytes, Missing};
use crate::archive::member::name;
use crate::archive::select::{Choice, Selection};
use crate::archive::write::path_bytes;
use crate::context::Context;
use crate::engine;
use crate::failure::Failure;
use crate::persist::{Anchors, PersistTree};
use crate::program::Program;
use crate::settings::Class;
use anyhow::Context as _;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use state_api::{SnapshotName, SnapshotStore, StoreFacts, View};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How the snapshots begin that are made for an archive and deleted after it.
const SNAPSHOT: &str = "archive-";

/// One store.
pub(super) struct Source {
    /// Where it is on the machine.
    pub(super) path: PathBuf,
    pub(super) facts: StoreFacts,
    pub(super) has_snapshots: bool,
    engine: Box<dyn SnapshotStore>,
    snapshot: Option<SnapshotName>,
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
    ) -> anyhow::Result<Self> {
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
                facts,
                engine,
                snapshot: None,
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

    /// Takes a snapshot of every store that can. Those of interrupted runs go first.
    pub(super) fn freeze(&mut self, id: &Id) -> anyhow::Result<()> {
        for source in self.0.iter_mut().filter(|source| source.has_snapshots) {
            let doing = || format!("taking a snapshot of {}", source.path.display());
            for old in source.engine.list().with_context(doing)? {
                if old.name.as_str().starts_with(SNAPSHOT) {
                    source.engine.delete(&old.name).with_context(doing)?;
                }
            }
            let name: SnapshotName = format!("{SNAPSHOT}{id}").parse().with_context(doing)?;
            source.engine.create(&name).with_context(doing)?;
            source.snapshot = Some(name);
        }
        Ok(())
    }

    /// Deletes the snapshots again; what stays, and why.
    pub(super) fn thaw(&mut self) -> Vec<String> {
        let mut notes = Vec::new();
        for source in &mut self.0 {
            if let Some(name) = source.snapshot.take()
                && let Err(error) = source.engine.delete(&name)
            {
                notes.push(format!("the snapshot {name} stays: {error}"));
            }
        }
        notes
    }

    pub(super) fn open(
        &self,
        tree: &PersistTree,
        exclude: &GlobSet,
    ) -> anyhow::Result<Vec<Opened>> {
        let opened = self.0.iter().map(|source| -> anyhow::Result<Opened> {
            let view = match &source.snapshot {
                Some(name) => source.engine.open(name),
                None => source.engine.open_live(),
            };
            let view =
                view.with_context(|| format!("opening the store {}", source.path.display()))?;
            let selection = Selection::of(tree, &source.path, exclude.clone());
            // What is mounted inside the live tree is found by walking; a snapshot hides it.
            let hidden = source
                .facts
                .foreign_mounts
                .iter()
                .filter(|_| view.is_frozen);
            let incomplete = hidden
                .filter(|at| selection.choose(at) == Choice::Take)
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
pub(super) fn exclude(patterns: &[String]) -> anyhow::Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        set.add(glob.map_err(|error| Failure::usage(format!("[archive] exclude: {error}")))?);
    }
    Ok(set.build()?)
}

/// Names by number, out of passwd(5) or group(5) of the machine. The first of a number counts.
pub(super) fn names(cx: &Context, file: &str) -> Names {
    parse_names(&std::fs::read(cx.rooted(file)).unwrap_or_default())
}

fn parse_names(text: &[u8]) -> Names {
    let mut names = Names::new();
    for line in text.split(|b| *b == b'\n') {
        let mut fields = line.split(|b| *b == b':');
        let (name, id) = (fields.next(), fields.nth(1));
        let id = id.and_then(|id| std::str::from_utf8(id).ok()?.parse().ok());
        if let (Some(name), Some(id)) = (name.filter(|name| !name.is_empty()), id) {
            names.entry(id).or_insert_with(|| Bytes(name.to_vec()));
        }
    }
    names
}

/// What the running NixOS says it is.
pub(super) fn nixos(cx: &Context) -> Option<serde_json::Value> {
    if cx.root_dir != Path::new("/") || Program::NixosVersion.find().is_none() {
        return None;
    }
    let doing = "asking for the version of NixOS";
    let said = Program::NixosVersion
        .run(doing, ["--json"], Duration::from_secs(20))
        .ok()?;
    serde_json::from_slice(&said).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_a_number_counts() {
        let names = parse_names(b"root:x:0:0:::\ntoor:x:0:0\n\n:x:5:\nbad\nann:x:1000:\nx:y:z:\n");
        let found: Vec<_> = names
            .iter()
            .map(|(id, name)| (*id, name.0.as_slice()))
            .collect();
        assert_eq!(found, [(0, &b"root"[..]), (1000, b"ann")]);
    }
}
