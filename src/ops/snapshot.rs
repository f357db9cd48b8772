//! `state snapshot`: snapshots of the persist tree, inside the filesystems that hold it.

mod compare;
mod prune;
mod rollback;

pub use compare::{Differences, diff};
pub use prune::{Prune, Pruned, prune};
pub use rollback::{Rollback, rollback};

use crate::context::Context;
use crate::failure::Failure;
use crate::ops::backup::is_of_archive;
use crate::retention::{self, Item, Reason, Verdict};
use crate::settings::{Class, Keep, Settings};
use crate::wanted::Wanted;
use crate::{config, engine, paths};
use anyhow::Context as _;
use serde::Serialize;
use state_api::{Error, Snapshot, SnapshotName, SnapshotStore};
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

/// Exactly one store: the one named, the only one, or the only one with such a snapshot.
fn one_store(cx: &Context, named: Option<&Path>, wanted: &Wanted) -> anyhow::Result<Store> {
    choose(stores(cx, named)?.1, wanted)
}

fn choose(mut stores: Vec<Store>, wanted: &Wanted) -> anyhow::Result<Store> {
    if stores.len() > 1 {
        let mut holding = Vec::new();
        for store in with_snapshots(stores)? {
            let names = list_of(&store)?;
            let found = wanted.find(&names, "snapshot", |one| one.name.as_str());
            match found {
                Err(Error::Unlisted { .. }) => {}
                _ => holding.push(store),
            }
        }
        stores = holding;
    }
    match (stores.pop(), stores.is_empty()) {
        (Some(store), true) => Ok(store),
        (Some(store), false) => {
            stores.push(store);
            let named = stores
                .iter()
                .map(|store| paths::Shown(&store.path).to_string());
            let fact = format!("several stores have the snapshot {wanted}");
            let hint = format!(
                "say which with `--store`: {}",
                named.collect::<Vec<_>>().join(", ")
            );
            Err(Failure::usage(fact).hint(hint).into())
        }
        (None, _) => Err(Error::Unlisted {
            what: format!("the snapshot {wanted}"),
            listed_by: "state snapshot list",
        }
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
    create_now(cx, named, name)
}

/// The same for who holds the lock.
pub(super) fn create_now(
    cx: &Context,
    named: Option<&Path>,
    name: Option<SnapshotName>,
) -> anyhow::Result<Create> {
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

#[cfg(test)]
mod tests;
