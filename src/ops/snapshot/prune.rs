//! `state snapshot prune`: deletes what no rule keeps.

use super::{List, Listed, Store, judged, stores};
use crate::context::Context;
use crate::retention::Reason;
use crate::settings::Keep;
use crate::wanted::Wanted;
use anyhow::Context as _;
use serde::Serialize;
use state_api::{Error, Snapshot, SnapshotName};
use std::path::{Path, PathBuf};

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

pub(super) fn prune_in(
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
