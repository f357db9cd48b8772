//! `state snapshot`: snapshots of the persist tree, inside the filesystems that hold it.

mod rollback;

pub use rollback::{Rollback, rollback};

use crate::context::Context;
use crate::diff::{self, Change};
use crate::failure::Failure;
use crate::ops::backup::is_of_archive;
use crate::retention::{self, Item, Reason, Verdict};
use crate::settings::{Class, Keep, Settings};
use crate::wanted::Wanted;
use crate::{config, engine, paths};
use anyhow::Context as _;
use serde::Serialize;
use state_api::{Error, Snapshot, SnapshotName, SnapshotStore, View};
use std::path::{Path, PathBuf};

/// A store as the verbs here see it.
struct Store {
    /// Where the machine has it.
    path: PathBuf,
    engine: Box<dyn SnapshotStore>,
}

/// The stores that are meant: the one named, or all whose content is not mere cache.
fn stores(cx: &Context, named: Option<&Path>) -> anyhow::Result<(Settings, Vec<Store>)> {
    let settings = config::load(cx)?;
    if let Some(named) = named
        && !settings.persist.contains_key(named)
    {
        let stores: Vec<_> = settings
            .persist
            .keys()
            .map(|p| p.display().to_string())
            .collect();
        return Err(
            Failure::usage(format!("{} is not a store", paths::Shown(named)))
                .hint(format!("the stores are {}", stores.join(", ")))
                .into(),
        );
    }
    let meant = settings.persist.iter().filter(|(path, store)| match named {
        Some(named) => *path == named,
        None => store.class != Class::Cache,
    });
    let mut open = Vec::new();
    for (path, _) in meant {
        let engine = engine::store(&cx.rooted(path))
            .with_context(|| format!("opening the store {}", path.display()))?;
        open.push(Store {
            path: path.clone(),
            engine,
        });
    }
    if open.is_empty() {
        return Err(Failure::usage("the configuration has no store").into());
    }
    Ok((settings, open))
}

/// Exactly one store: the one named, or the only one.
fn one_store(cx: &Context, named: Option<&Path>) -> anyhow::Result<Store> {
    let (_, mut stores) = stores(cx, named)?;
    match (stores.pop(), stores.is_empty()) {
        (Some(store), true) => Ok(store),
        _ => Err(Failure::usage("there are several stores")
            .hint("say which with `--store PATH`")
            .into()),
    }
}

/// Those that can take snapshots; none is a failure.
fn with_snapshots(stores: Vec<Store>) -> anyhow::Result<Vec<Store>> {
    let engine = stores
        .first()
        .map(|store| store.engine.survey().map(|facts| facts.engine));
    let able: Vec<_> = stores
        .into_iter()
        .filter(|store| store.engine.capabilities().snapshots)
        .collect();
    if able.is_empty() {
        let engine = engine.transpose()?.unwrap_or("plain");
        return Err(Error::Unsupported {
            engine,
            what: "taking snapshots",
        }
        .into());
    }
    Ok(able)
}

/// One store's new snapshot.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Created {
    /// The store.
    pub store: PathBuf,
    /// Its snapshot; `None` in a dry run.
    pub snapshot: Option<Snapshot>,
}

/// What taking snapshots did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Create {
    /// Whether it was carried out (false: a dry run).
    pub executed: bool,
    /// The name, the same in every store.
    pub name: SnapshotName,
    /// Each store.
    pub stores: Vec<Created>,
}

/// Takes a snapshot of every store that can have one, under one name: by default the time.
///
/// # Errors
/// No store can, the name is taken, or the disk is full.
pub fn create(
    cx: &Context,
    named: Option<&Path>,
    name: Option<SnapshotName>,
) -> anyhow::Result<Create> {
    let _lock = (!cx.dry_run).then(|| cx.lock()).transpose()?;
    create_in(cx, with_snapshots(stores(cx, named)?.1)?, name)
}

fn create_in(
    cx: &Context,
    mut stores: Vec<Store>,
    name: Option<SnapshotName>,
) -> anyhow::Result<Create> {
    let mut taken = Vec::new();
    for store in &stores {
        taken.extend(list_of(store)?.into_iter().map(|snapshot| snapshot.name));
    }
    let name = name.unwrap_or_else(|| SnapshotName::at(cx.now, |name| taken.contains(name)));
    if taken.contains(&name) {
        return Err(Failure::refused(format!("a snapshot {name} exists")).into());
    }
    let mut created = Vec::new();
    for store in &mut stores {
        if cx.interrupt.is_set() {
            return Err(Error::Interrupted.into());
        }
        let doing = || format!("taking a snapshot of {}", store.path.display());
        let snapshot = if cx.dry_run {
            None
        } else {
            Some(store.engine.create(&name).with_context(doing)?)
        };
        created.push(Created {
            store: store.path.clone(),
            snapshot,
        });
    }
    Ok(Create {
        executed: !cx.dry_run,
        name,
        stores: created,
    })
}

fn list_of(store: &Store) -> anyhow::Result<Vec<Snapshot>> {
    let doing = || format!("listing the snapshots of {}", store.path.display());
    store.engine.list().with_context(doing)
}

/// A snapshot and what the rules say about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listed {
    /// The snapshot.
    #[serde(flatten)]
    pub snapshot: Snapshot,
    /// Why it is kept; empty: the next `prune` deletes it.
    pub kept_by: Vec<Reason>,
}

/// The snapshots of one store, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct List {
    /// The store.
    pub store: PathBuf,
    /// Whether its filesystem can have snapshots.
    pub has_snapshots: bool,
    /// What there is.
    pub snapshots: Vec<Listed>,
}

/// Lists the snapshots of every store.
///
/// # Errors
/// A store cannot be read.
pub fn list(cx: &Context, named: Option<&Path>) -> anyhow::Result<Vec<List>> {
    let (settings, stores) = stores(cx, named)?;
    stores
        .iter()
        .map(|store| judged(cx, store, &settings.snapshots.keep))
        .collect()
}

fn judged(cx: &Context, store: &Store, policy: &Keep) -> anyhow::Result<List> {
    let has_snapshots = store.engine.capabilities().snapshots;
    let snapshots = if has_snapshots {
        list_of(store)?
    } else {
        vec![]
    };
    let items: Vec<Item<SnapshotName>> = snapshots
        .iter()
        .map(|snapshot| Item {
            name: snapshot.name.clone(),
            at: snapshot.name.taken_at(), // a name given by hand is kept
            sequence: snapshot.sequence,
        })
        .collect();
    let verdicts = retention::keep(&items, policy, cx.now);
    let listed = verdicts
        .into_iter()
        .filter_map(|Verdict { name, kept_by }| {
            let kept_by = match is_of_archive(&name) {
                true => vec![Reason::Backup],
                false => kept_by,
            };
            let snapshot = snapshots
                .iter()
                .find(|snapshot| snapshot.name == name)?
                .clone();
            Some(Listed { snapshot, kept_by })
        });
    Ok(List {
        store: store.path.clone(),
        has_snapshots,
        snapshots: listed.collect(),
    })
}

/// What pruning did about one snapshot.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pruned {
    /// The store.
    pub store: PathBuf,
    /// Which.
    pub name: SnapshotName,
    /// Why it is kept; empty: it goes.
    pub kept_by: Vec<Reason>,
    /// Why it could not be deleted; the others were all the same.
    pub failure: Option<String>,
}

/// What pruning did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prune {
    /// Whether it was carried out (false: a dry run).
    pub executed: bool,
    /// Every snapshot, by store, oldest first.
    pub snapshots: Vec<Pruned>,
}

impl Prune {
    /// How many could not be deleted.
    pub fn failures(&self) -> usize {
        self.snapshots
            .iter()
            .filter(|one| one.failure.is_some())
            .count()
    }
}

/// Deletes the snapshots that no rule keeps, or exactly those named.
///
/// # Errors
/// A name fits none; a store cannot be read; the run was interrupted.
pub fn prune(cx: &Context, named: Option<&Path>, only: &[Wanted]) -> anyhow::Result<Prune> {
    let _lock = (!cx.dry_run).then(|| cx.lock()).transpose()?;
    let (settings, stores) = stores(cx, named)?;
    prune_in(cx, stores, &settings.snapshots.keep, only)
}

fn prune_in(
    cx: &Context,
    mut stores: Vec<Store>,
    policy: &Keep,
    only: &[Wanted],
) -> anyhow::Result<Prune> {
    let mut lists = Vec::new();
    for store in &stores {
        lists.push(judged(cx, store, policy)?);
    }
    let by_name = chosen(&lists, only)?;
    let mut snapshots = Vec::new();
    for (store, list) in stores.iter_mut().zip(lists) {
        for Listed { snapshot, kept_by } in list.snapshots {
            let kept_by = match &by_name {
                None => kept_by,
                Some(names) if names.contains(&snapshot.name) => vec![],
                Some(_) => continue,
            };
            if cx.interrupt.is_set() {
                return Err(Error::Interrupted).context("deleting snapshots");
            }
            let failure = if kept_by.is_empty() && !cx.dry_run {
                store
                    .engine
                    .delete(&snapshot.name)
                    .err()
                    .map(|error| error.to_string())
            } else {
                None
            };
            snapshots.push(Pruned {
                store: list.store.clone(),
                name: snapshot.name,
                kept_by,
                failure,
            });
        }
    }
    Ok(Prune {
        executed: !cx.dry_run,
        snapshots,
    })
}

/// The names that are meant, if any were given. One may be in several stores.
fn chosen(lists: &[List], only: &[Wanted]) -> anyhow::Result<Option<Vec<SnapshotName>>> {
    if only.is_empty() {
        return Ok(None);
    }
    let mut all: Vec<&Snapshot> = Vec::new();
    for listed in lists.iter().flat_map(|list| &list.snapshots) {
        if !all.iter().any(|one| one.name == listed.snapshot.name) {
            all.push(&listed.snapshot);
        }
    }
    all.sort_by_key(|one| (one.taken_at, one.sequence));
    let mut names = Vec::new();
    for wanted in only {
        names.push(
            wanted
                .find(&all, "snapshot", |one| one.name.as_str())?
                .name
                .clone(),
        );
    }
    Ok(Some(names))
}

/// What differs between two snapshots, or a snapshot and the store as it is now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Differences {
    /// The store.
    pub store: PathBuf,
    /// The older side.
    pub from: SnapshotName,
    /// The newer side; `None`: the store as it is now.
    pub to: Option<SnapshotName>,
    /// What changed, by the paths on the machine.
    pub changes: Vec<Change>,
    /// What could not be compared.
    pub unreadable: Vec<String>,
}

/// Compares two snapshots, or a snapshot with the store as it is now.
///
/// # Errors
/// A name fits none; a side cannot be opened; the run was interrupted.
pub fn diff(
    cx: &Context,
    named: Option<&Path>,
    from: &Wanted,
    to: Option<&Wanted>,
) -> anyhow::Result<Differences> {
    diff_in(cx, one_store(cx, named)?, from, to)
}

fn diff_in(
    cx: &Context,
    store: Store,
    from: &Wanted,
    to: Option<&Wanted>,
) -> anyhow::Result<Differences> {
    let (from, old) = open(&store, from)?;
    let (to, new) = match to {
        Some(wanted) => {
            let (name, view) = open(&store, wanted)?;
            (Some(name), view)
        }
        None => (None, store.engine.open_live()?),
    };
    let is_ours = |path: &Path| path == Path::new(".state");
    // Whatever keeps the engine from telling, a walk finds out.
    let places = store.engine.changes(&from, to.as_ref());
    let mut found = match places.unwrap_or_default() {
        Some(places) => diff::compare_at(&places, &old, &new, &is_ours, cx.interrupt)?,
        None => diff::compare(Some(&old), &new, &is_ours, cx.interrupt)?,
    };
    let below = store.path.strip_prefix("/").unwrap_or(&store.path);
    for change in &mut found.changes {
        change.lies_below(below);
    }
    Ok(Differences {
        store: store.path,
        from,
        to,
        changes: found.changes,
        unreadable: found.unreadable.iter().map(ToString::to_string).collect(),
    })
}

fn open(store: &Store, wanted: &Wanted) -> anyhow::Result<(SnapshotName, View)> {
    let snapshots = list_of(store)?;
    let name = &wanted
        .find(&snapshots, "snapshot", |one| one.name.as_str())?
        .name;
    let doing = || format!("opening snapshot {name} of {}", store.path.display());
    Ok((name.clone(), store.engine.open(name).with_context(doing)?))
}

#[cfg(test)]
mod tests;
