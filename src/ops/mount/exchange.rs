//! Before anything of a store is in place: an exchange that a power cut interrupted is finished,
//! and a tree that waited for this boot takes the store's place.

use crate::context::Context;
use crate::engine;
use crate::ops::waiting::{self, Note, Swap, What};
use crate::ops::{belongings, restore};
use crate::persist::{Entry, PersistTree};
use crate::record::Failure;
use crate::settings::Settings;
use rustix::fs::CWD;
use state_api::{Error, Outcome, Refusal, Result, SnapshotStore};
use state_linux::stat::Stat;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What was found.
#[derive(Default)]
pub(super) struct Exchanges {
    /// Stores of which nothing may be put in place, and why: they may hold a part of each tree.
    pub(super) unfit: BTreeMap<PathBuf, String>,
    /// What became of the trees that waited; in a dry run, what would.
    pub(super) swaps: Vec<Swap>,
    /// What else went wrong.
    pub(super) troubles: Vec<anyhow::Error>,
}

/// Finishes and makes the exchanges of all stores of which nothing is in place yet.
pub(super) fn finish(cx: &Context, settings: &Settings, tree: &PersistTree) -> Exchanges {
    let is_mounted =
        |entry: &Entry| Stat::of(CWD, cx.rooted(&entry.path)).is_ok_and(|stat| stat.is_mount_point);
    let mut exchanges = Exchanges::default();
    for (store, _) in tree.stores() {
        let at = cx.rooted(store);
        let is_used = (tree.entries()).any(|entry| entry.store == *store && is_mounted(entry));
        if is_used || !at.is_dir() {
            continue;
        }
        let engine = match engine::store(&at) {
            // Who may not look at the filesystem cannot have exchanged anything on it either.
            Err(error) if is_denied(&error) => continue,
            engine => engine,
        };
        let others = || {
            tree.stores()
                .map(|(other, _)| other)
                .filter(|other| *other != store)
        };
        let ready = |what: &What| all_ready(cx, others(), what);
        match engine.and_then(|engine| of_store((cx, settings), engine, store, &at, &ready)) {
            Ok(swap) => exchanges.swaps.extend(swap),
            Err(error) if cx.dry_run && is_denied(&error) => {}
            Err(error) => {
                let why = format!("finishing an interrupted exchange: {error}");
                exchanges.unfit.insert(store.to_owned(), why);
                continue;
            }
        }
        // Also what a cut after an exchange has left.
        let brought = || belongings::bring(&*engine::store(&at)?, &at);
        match (!cx.dry_run).then(brought) {
            Some(Err(error)) if !is_denied(&error) => exchanges.troubles.push(error.into()),
            _ => {}
        }
    }
    exchanges
}

/// What became of the tree that waited for this store, or was being put in its place.
///
/// # Errors
/// The store may hold a part of each of two trees.
fn of_store(
    (cx, settings): (&Context, &Settings),
    mut engine: Box<dyn SnapshotStore>,
    store: &Path,
    at: &Path,
    ready: &dyn Fn(&What) -> Result<()>,
) -> Result<Option<Swap>> {
    let is_finished = !cx.dry_run && engine.recover()? == Outcome::Made;
    let note = Note::read(at);
    let waits = engine.waiting()?.is_some();
    if !waits && !is_finished {
        return Ok(None);
    }
    let mut swap = Swap {
        store: store.to_owned(),
        what: note.map(|note| note.what),
        at: cx.now,
        failure: None,
    };
    if cx.dry_run || !waits {
        return Ok(Some(swap));
    }
    let fits = restore::demand_fit(cx, settings, at, &engine.survey()?.shape);
    let fits = fits.and_then(|()| swap.what.as_ref().map_or(Ok(()), ready));
    if let Err(error) = fits.and_then(|()| put_in_place(&mut *engine, at)) {
        swap.failure = Some(Failure {
            error: error.to_string(),
            hint: error.hint(),
        });
        // The old tree is whole, or this is not the end of it.
        engine.recover()?;
    }
    Ok(Some(swap))
}

/// Refuses a part of what belongs together, if the restore was interrupted before the rest of it waited.
fn all_ready<'a>(
    cx: &Context,
    mut others: impl Iterator<Item = &'a Path>,
    what: &What,
) -> Result<()> {
    others.try_for_each(
        |other| match waiting::is_announced_only(&cx.rooted(other), what)? {
            false => Ok(()),
            true => Err(Refusal::Unsafe {
                fact: format!(
                    "the restore was interrupted: {}, which belongs to it, is not ready",
                    other.display()
                ),
                cure: "the same `state restore` goes on; `state undo` calls it off".into(),
            }
            .into()),
        },
    )
}

fn put_in_place(engine: &mut dyn SnapshotStore, at: &Path) -> Result<()> {
    restore::Done::forget(at)?;
    waiting::exchange(engine, at)?;
    restore::forget_paths(at)
}

fn is_denied(error: &Error) -> bool {
    matches!(error, Error::Os { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied)
}
