//! `state snapshot diff`: what differs between two snapshots.

use super::{Store, list_of, one_store};
use crate::context::Context;
use crate::diff::{self, Change};
use crate::paths::Shown;
use crate::progress::{Progress, Total, Unit, Watch};
use crate::wanted::Wanted;
use anyhow::Context as _;
use serde::Serialize;
use state_api::{SnapshotName, View};
use std::path::{Path, PathBuf};

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
    progress: &dyn Progress,
) -> anyhow::Result<Differences> {
    diff_in(cx.watch(progress), one_store(cx, named, from)?, from, to)
}

pub(super) fn diff_in(
    watch: Watch<'_>,
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
    let places = store.engine.changes(&from, to.as_ref(), usize::MAX);
    let doing = format!("comparing {} with {from}", Shown(&store.path));
    let mut found = watch.stage(&doing, Unit::Items, Total::Unknown, || {
        match places.unwrap_or_default() {
            Some(places) => diff::compare_at(&places, &old, &new, &is_ours, watch),
            None => diff::compare(Some(&old), &new, &is_ours, watch),
        }
    })?;
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

pub(super) fn open(store: &Store, wanted: &Wanted) -> anyhow::Result<(SnapshotName, View)> {
    let snapshots = list_of(store)?;
    let name = &wanted
        .find(&snapshots, "snapshot", |one| one.name.as_str())?
        .name;
    let doing = || format!("opening snapshot {name} of {}", store.path.display());
    Ok((name.clone(), store.engine.open(name).with_context(doing)?))
}
