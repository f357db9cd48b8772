//! `state undo`: what a restore replaced is put back, and what the restore had put in place is kept
//! in its stead.

use super::before::Before;
use super::done::Done;
use super::path::refuse_if_used;
use super::place::demand_fit;
use super::swap::user_of;
use crate::config;
use crate::context::Context;
use crate::engine;
use crate::failure::Failure;
use crate::ops::belongings;
use crate::ops::waiting::{self, Note, What};
use anyhow::Context as _;
use serde::Serialize;
use state_api::{Error, Incoming, Result, SnapshotStore};
use std::path::{Path, PathBuf};

/// What `state undo` put back.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Undone {
    /// The stores, or paths in stores.
    pub stores: Vec<Undo>,
    /// Whether it was done; a dry run stops before.
    pub executed: bool,
}

/// A store, or a path in one, that is what it was, or will be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Undo {
    /// Where.
    #[serde(serialize_with = "crate::paths::serialize")]
    pub path: PathBuf,
    /// How.
    #[serde(flatten)]
    pub how: How,
}

/// How something is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "how")]
pub enum How {
    /// It is put back now.
    Now,
    /// The next boot puts it back.
    AtBoot {
        /// Who uses it until then.
        waits_for: String,
    },
    /// What waited for the next boot was dropped.
    Dropped,
    /// The next boot does not put it back any more.
    CalledOff,
}

/// What can be put back in one store.
enum Kept {
    /// The whole tree.
    Tree(Box<dyn SnapshotStore>, How),
    /// One path.
    Path(Before),
}

/// Puts back what the last restore replaced, be it a tree or one path: in the store at `dir`, or
/// in every store that has something to put back. What waits for the next boot is called off. A
/// declared store that is in use is put back by the next boot, unless it has to be `now`.
///
/// # Errors
/// There is nothing to put back, or it is in use and cannot wait for a boot.
pub fn undo(cx: &Context, dir: Option<&Path>, now: bool) -> anyhow::Result<Undone> {
    let settings = match dir {
        Some(_) => config::load(cx).unwrap_or_default(), // of no use on a live medium
        None => config::load(cx)?,
    };
    let stores = settings.persist.keys();
    let waiting_ones: Vec<PathBuf> = stores.map(|store| cx.rooted(store)).collect();
    let candidates = match dir {
        Some(dir) => vec![std::path::absolute(dir).context("resolving the directory")?],
        None => waiting_ones.clone(),
    };
    let _lock = (!cx.dry_run).then(|| cx.lock()).transpose()?;
    let mut found = Vec::new();
    for store in candidates {
        let doing = || format!("looking at the store {}", store.display());
        let mut engine = engine::store(&store).with_context(doing)?;
        if !cx.dry_run {
            engine.recover().with_context(doing)?;
        }
        let kept = match engine.waiting().with_context(doing)? {
            Some(Incoming::Staged) => Some(Kept::Tree(engine, How::Dropped)),
            // Undone already, only not yet: then it is now, or never.
            Some(Incoming::Replaced) if now => Some(Kept::Tree(engine, How::Now)),
            Some(Incoming::Replaced) => Some(Kept::Tree(engine, How::CalledOff)),
            // Noted, and gone: there is nothing to call off but the note.
            None if Note::read(&store).is_some() => Some(Kept::Tree(engine, How::Dropped)),
            None => {
                let can_wait = !now && waiting_ones.contains(&store);
                last(&store, engine, can_wait).with_context(doing)?
            }
        };
        found.extend(kept.map(|kept| (store, kept)));
    }
    if found.is_empty() {
        return Err(Failure::refused("no restore has replaced anything that is still kept").into());
    }
    wait_together(&mut found, &waiting_ones);
    for (store, kept) in &found {
        if let Kept::Tree(engine, How::Now | How::AtBoot { .. }) = kept {
            demand_fit(cx, &settings, store, &engine.survey()?.shape)?;
        }
    }
    if !cx.dry_run {
        carry_out(cx, &mut found, if now { &[] } else { &waiting_ones })?;
    }
    let what = |(store, kept): (PathBuf, Kept)| match kept {
        Kept::Tree(_, how) => Undo { path: store, how },
        Kept::Path(before) => Undo {
            path: before.place(&store),
            how: How::Now,
        },
    };
    Ok(Undone {
        stores: found.into_iter().map(what).collect(),
        executed: !cx.dry_run,
    })
}

/// Puts all of it back. A tree that is found to be in use only now waits for the next boot, and all that belongs to it.
fn carry_out(
    cx: &Context,
    found: &mut [(PathBuf, Kept)],
    waiting_ones: &[PathBuf],
) -> anyhow::Result<()> {
    let doing = |place: &Path| format!("putting {} back", place.display());
    for n in 0..found.len() {
        let (store, Kept::Tree(engine, how)) = &mut found[n] else {
            continue;
        };
        let put = put_tree_back(cx, &mut **engine, store, how);
        // Only trying shows who keeps a volume mounted.
        let user = match *how == How::Now && waiting_ones.contains(store) {
            true => user_of(put),
            false => put.map(|()| None),
        };
        let Some(waits_for) = user.with_context(|| doing(store))? else {
            continue;
        };
        *how = How::AtBoot { waits_for };
        for (store, kept) in found[..n].iter_mut().rev() {
            if let Kept::Tree(engine, How::Now) = kept {
                engine.exchange_back().with_context(|| doing(store))?;
            }
        }
        wait_together(found, waiting_ones);
        for (store, kept) in &mut found[..=n] {
            if let Kept::Tree(engine, how @ How::AtBoot { .. }) = kept {
                put_tree_back(cx, &mut **engine, store, how).with_context(|| doing(store))?;
            }
        }
    }
    for (store, kept) in found {
        match kept {
            Kept::Tree(engine, How::Now) => {
                belongings::bring(&**engine, store).with_context(|| doing(store))?;
            }
            Kept::Tree(..) => {}
            Kept::Path(before) => {
                let place = before.place(store);
                refuse_if_used(&place)?;
                let put = before.put_back(store);
                put.map_err(|e| Error::os(doing(&place), e))?;
            }
        }
    }
    Ok(())
}

/// What belongs together goes back together: if one tree waits for the next boot, so do all that can.
fn wait_together(found: &mut [(PathBuf, Kept)], waiting_ones: &[PathBuf]) {
    let user = found.iter().find_map(|(_, kept)| match kept {
        Kept::Tree(_, How::AtBoot { waits_for }) => Some(waits_for.clone()),
        _ => None,
    });
    let Some(waits_for) = user else {
        return;
    };
    for (store, kept) in found {
        if let Kept::Tree(_, how @ How::Now) = kept
            && waiting_ones.contains(store)
        {
            let waits_for = waits_for.clone();
            *how = How::AtBoot { waits_for };
        }
    }
}

/// What the last restore replaced in the store at `store`.
fn last(store: &Path, engine: Box<dyn SnapshotStore>, can_wait: bool) -> Result<Option<Kept>> {
    // A tree that is exchanged takes such directories with it: what is here came later.
    if let Some(before) = Before::last(store)? {
        return Ok(Some(Kept::Path(before)));
    }
    if !engine.survey()?.has_replaced {
        return Ok(None);
    }
    let user = match can_wait {
        true => user_of(engine.demand_unused())?,
        false => None,
    };
    let how = user.map_or(How::Now, |waits_for| How::AtBoot { waits_for });
    Ok(Some(Kept::Tree(engine, how)))
}

fn put_tree_back(
    cx: &Context,
    engine: &mut dyn SnapshotStore,
    store: &Path,
    how: &How,
) -> Result<()> {
    match how {
        How::Now => {
            Done::forget(store)?;
            match engine.waiting()? {
                Some(_) => waiting::exchange(engine, store),
                None => engine.exchange_back().map(drop),
            }
        }
        How::AtBoot { .. } => waiting::postpone(cx, engine, store, What::Undo),
        How::CalledOff => waiting::call_off(engine, store),
        How::Dropped => {
            waiting::call_off(engine, store)?;
            engine.discard_staged().map(drop)
        }
    }
}
