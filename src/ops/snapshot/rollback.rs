//! Giving a store the content of a snapshot.

use super::compare::open;
use super::{Store, one_store};
use crate::context::Context;
use crate::copy::{self, Copied, Fidelity};
use crate::failure::Failure;
use crate::ops::belongings;
use crate::ops::restore::{is_of_a_restore, refuse_if_used};
use crate::paths::Typed;
use crate::progress::{Progress, Total, Unit, Watch};
use crate::wanted::Wanted;
use anyhow::Context as _;
use serde::Serialize;
use state_api::{Error, Outcome, SnapshotName, SnapshotStore, View};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

/// What rolling a store back did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rollback {
    /// Whether it was carried out (false: a dry run).
    pub executed: bool,
    /// The store.
    pub store: PathBuf,
    /// The snapshot whose content it has now.
    pub name: SnapshotName,
    /// What was copied out of the snapshot; `None` in a dry run.
    pub copied: Option<Copied>,
    /// Whether the store was exchanged.
    pub outcome: Outcome,
}

/// Gives a store the content of a snapshot. The tree that is there now is kept for `state undo`;
/// the snapshot stays as it is.
///
/// # Errors
/// The store is in use, the disk is full, or the run was interrupted: the store is as it was. It is
/// refused while a tree that was replaced before is still kept, unless that is given up.
pub fn rollback(
    cx: &Context,
    named: Option<&Path>,
    to: &Wanted,
    forget_replaced: bool,
    progress: &dyn Progress,
) -> anyhow::Result<Rollback> {
    let _lock = (!cx.dry_run).then(|| cx.lock()).transpose()?;
    rollback_in(cx, one_store(cx, named, to)?, to, forget_replaced, progress)
}

pub(super) fn rollback_in(
    cx: &Context,
    mut store: Store,
    to: &Wanted,
    forget_replaced: bool,
    progress: &dyn Progress,
) -> anyhow::Result<Rollback> {
    let (name, view) = open(&store, to)?;
    nothing_waits(&store)?;
    match forget_replaced {
        false => nothing_is_lost(&mut store)?,
        true if cx.dry_run => {}
        true => belongings::bring(&*store.engine, &store.engine.survey()?.path)?,
    }
    let mut report = Rollback {
        executed: false,
        store: store.path.clone(),
        name,
        copied: None,
        outcome: Outcome::AlreadySo,
    };
    if cx.dry_run {
        // The exchange itself says so, after everything was copied.
        refuse_if_used(&store.engine.survey()?.path)?;
        return Ok(report);
    }
    let doing = format!("rolling {} back to {}", report.store.display(), report.name);
    let watch = cx.watch(progress);
    match put_back(watch, &mut *store.engine, &view) {
        Ok((copied, outcome)) => {
            report.executed = true;
            report.copied = Some(copied);
            report.outcome = outcome;
            let at = store.engine.survey()?.path;
            belongings::bring(&*store.engine, &at).context(doing)?;
            Ok(report)
        }
        Err(cause) => Err(cause).context(doing),
    }
}

/// Refuses what the next boot would undo: it would put another tree in the store's place, and keep what is rolled back to
/// as the replaced one, where the tree that was rolled back is then.
fn nothing_waits(store: &Store) -> anyhow::Result<()> {
    if store.engine.waiting()?.is_none() {
        return Ok(());
    }
    let fact = format!(
        "the next boot puts another tree in the place of {}",
        store.path.display()
    );
    let hint = format!("`state undo {}` calls that off", Typed(&store.path));
    Err(Failure::refused(fact).hint(hint).into())
}

/// Refuses to give up what an earlier restore or rollback left for somebody.
fn nothing_is_lost(store: &mut Store) -> anyhow::Result<()> {
    let facts = store.engine.survey()?;
    let path = store.path.display();
    if facts.has_replaced {
        let fact = format!("{path} still keeps the tree that was replaced before");
        return Err(Failure::refused(fact)
            .hint(format!(
                "`state undo {}` puts it back; --forget-replaced gives it up for this rollback",
                Typed(&store.path)
            ))
            .into());
    }
    if facts.has_staged && is_of_a_restore(store.engine.stage()?.as_fd())? {
        let fact = format!("an interrupted restore is staged for {path}");
        return Err(Failure::refused(fact)
            .hint("the same `state restore` finishes it; --forget-replaced gives it up for this rollback")
            .into());
    }
    Ok(())
}

fn put_back(
    watch: Watch<'_>,
    store: &mut dyn SnapshotStore,
    view: &View,
) -> Result<(Copied, Outcome), Error> {
    // What an interrupted run staged may be of another snapshot.
    store.discard_staged()?;
    let staged = store.stage()?;
    let is_ours = |path: &Path| path == Path::new(".state");
    let copied = watch.stage("copying the snapshot", Unit::Bytes, Total::Unknown, || {
        copy::tree(view, &staged, &is_ours, Fidelity::Exact, watch)
    });
    drop(staged);
    let copied = copied.map_err(|cause| discarding(store, cause))?;
    match store.exchange() {
        Ok(outcome) => Ok((copied, outcome)),
        Err(cause @ Error::Refused(_)) => Err(discarding(store, cause)),
        // It may have got half-way: nothing is deleted, the next exchange finishes it.
        Err(cause) => Err(cause),
    }
}

fn discarding(store: &mut dyn SnapshotStore, cause: Error) -> Error {
    match store.discard_staged() {
        Ok(_) => cause,
        Err(recovery) => Error::Recovery {
            cause: Box::new(cause),
            recovery: Box::new(recovery),
        },
    }
}
