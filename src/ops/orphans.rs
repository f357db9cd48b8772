//! `state orphans`: what lies in the stores and no entry declares; its quarantine.

mod find;

pub use find::Orphan;

use super::mount;
use crate::anchor::Found;
use crate::config;
use crate::context::Context;
use crate::failure::{Class, Failure, message};
use crate::paths::{self, Shown};
use crate::persist::{Anchors, PersistTree};
use crate::progress::{Progress, Total, Unit};
use crate::quarantine::{self, Batch, Why};
use chrono::{DateTime, Utc};
use serde::Serialize;
use state_api::Error;
use state_linux::users;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The orphans and the quarantines of the stores.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What no entry declares.
    pub orphans: Vec<Orphan>,
    /// What was taken away, and can be brought back.
    pub quarantine: Vec<Held>,
    /// What somebody should know: stores that could not be looked at, and the like.
    pub notes: Vec<String>,
}

/// One directory of a quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The store it is in.
    #[serde(serialize_with = "paths::serialize")]
    pub store: PathBuf,
    /// Its name.
    pub name: String,
    /// Why it is there.
    pub why: Why,
    /// From when on it may be deleted.
    pub expires: DateTime<Utc>,
    /// What it holds, relative to the store.
    #[serde(serialize_with = "paths::serialize_all")]
    pub paths: Vec<PathBuf>,
}

/// What was moved or deleted, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Whether anything was done, or only planned.
    pub executed: bool,
    /// The paths, as on the machine below their stores.
    #[serde(serialize_with = "paths::serialize_all")]
    pub paths: Vec<PathBuf>,
    /// The directories of quarantines they went into, came from, or were deleted with.
    pub names: Vec<String>,
    /// What was not moved, and why.
    pub failed: Vec<String>,
}

impl Moved {
    /// What is to be said of it when not all was done.
    ///
    /// # Errors
    /// Something was not done.
    pub fn ended(&self) -> anyhow::Result<()> {
        let Some(first) = self.failed.first() else {
            return Ok(());
        };
        let class = match self.paths.is_empty() {
            true => Class::Refused,
            false => Class::Partial,
        };
        let fact = match self.failed.len() {
            1 => first.clone(),
            n => format!("{first}, and {} more like it", n - 1),
        };
        Err(Failure::new(class, fact).into())
    }
}

/// The stores, opened.
struct Stores {
    tree: PersistTree,
    anchors: Anchors,
}

/// Directories of quarantines, with their stores.
type Batches<'a> = Vec<(&'a Path, Batch)>;

impl Stores {
    fn open(cx: &Context) -> anyhow::Result<Self> {
        let settings = config::load(cx)?;
        let tree = mount::tree(cx, &settings)?;
        let erases = settings.root.is_some();
        let anchors = Anchors::open(&cx.root_dir, &tree, erases, BTreeMap::new())?;
        Ok(Self { tree, anchors })
    }

    fn find(
        &self,
        cx: &Context,
        progress: &dyn Progress,
    ) -> anyhow::Result<(Vec<Orphan>, Vec<String>)> {
        let (mut orphans, mut notes) = (Vec::new(), Vec::new());
        for (store, _) in self.tree.stores() {
            if let Some(why) = self.anchors.why_missing(store) {
                notes.push(format!("the store {} cannot be used: {why}", Shown(store)));
            }
        }
        for (store, anchor) in self.anchors.stores() {
            let doing = format!("looking for orphans in {}", Shown(store));
            let watch = cx.watch(progress);
            watch.stage(&doing, Unit::Items, Total::Unknown, || {
                find::orphans(watch, &self.tree, (store, anchor), &mut orphans, &mut notes)
            })?;
        }
        for unknown in self.tree.unresolved() {
            notes.push(format!(
                "entries of the user {} cannot be placed, so what is theirs may be among these",
                unknown.user
            ));
        }
        Ok((orphans, notes))
    }

    /// The directories of all quarantines.
    fn batches(&self) -> anyhow::Result<(Batches<'_>, Vec<String>)> {
        let (mut all, mut notes) = (Vec::new(), Vec::new());
        for (store, anchor) in self.anchors.stores() {
            let (batches, strange) = quarantine::list(anchor)?;
            all.extend(batches.into_iter().map(|batch| (store, batch)));
            notes.extend(strange);
        }
        Ok((all, notes))
    }

    /// Those that are named: whole, or by their first letters.
    fn named(&self, names: &[String]) -> anyhow::Result<Batches<'_>> {
        let (mut all, _) = self.batches()?;
        for name in names {
            let found = all.iter().filter(|(_, batch)| batch.name.starts_with(name));
            if found.count() == 0 {
                let what = format!("the quarantine {name}");
                return Err(Error::Missing { what }.into());
            }
        }
        all.retain(|(_, batch)| names.iter().any(|name| batch.name.starts_with(name)));
        Ok(all)
    }

    fn store(&self, store: &Path) -> anyhow::Result<&crate::anchor::Anchor> {
        Ok(self.anchors.locate(store)?.0)
    }
}

/// Lists them.
///
/// # Errors
/// There is no configuration, or a store cannot be read.
pub fn list(cx: &Context, progress: &dyn Progress) -> anyhow::Result<Report> {
    let stores = Stores::open(cx)?;
    let (orphans, mut notes) = stores.find(cx, progress)?;
    let (batches, strange) = stores.batches()?;
    notes.extend(strange);
    let mut held = Vec::new();
    for (store, batch) in batches {
        held.push(Held {
            store: store.to_owned(),
            paths: batch.held()?,
            name: batch.name,
            why: batch.journal.why,
            expires: batch.journal.expires,
        });
    }
    Ok(Report {
        orphans,
        quarantine: held,
        notes,
    })
}

/// Moves orphans into the quarantines of their stores: those at `wanted`, or all.
///
/// # Errors
/// Nothing of what was asked may be moved, or a store cannot be written.
pub fn take(
    cx: &Context,
    wanted: &[PathBuf],
    days: u32,
    progress: &dyn Progress,
) -> anyhow::Result<Moved> {
    let _lock = (!cx.dry_run).then(|| cx.lock()).transpose()?;
    let stores = Stores::open(cx)?;
    let (mut orphans, _) = stores.find(cx, progress)?;
    match wanted {
        [] => refuse_uncertain(&stores.tree)?,
        wanted => {
            for path in wanted {
                if !orphans.iter().any(|orphan| orphan.source == *path) {
                    let fact = format!("{} is no orphan", Shown(path));
                    return Err(Failure::usage(fact)
                        .hint("`state orphans` lists them, by their paths in the store")
                        .into());
                }
            }
            orphans.retain(|orphan| wanted.contains(&orphan.source));
        }
    }
    let mut moved = Moved {
        executed: !cx.dry_run,
        ..Moved::default()
    };
    let mut by_store: BTreeMap<&Path, Vec<&Orphan>> = BTreeMap::new();
    for orphan in &orphans {
        let users = users::of(&cx.rooted(&orphan.source)).unwrap_or_default();
        let user = users.first().map(ToString::to_string);
        match user.or_else(|| find::link_into(cx, orphan)) {
            None => by_store.entry(&orphan.store).or_default().push(orphan),
            Some(user) => {
                (moved.failed).push(format!("{} is in use by {user}", Shown(&orphan.source)))
            }
        }
    }
    for (store, orphans) in by_store {
        let anchor = stores.store(store)?;
        let relative = |orphan: &&Orphan| {
            let path = orphan.source.strip_prefix(store);
            path.unwrap_or(&orphan.source).to_owned()
        };
        let paths: Vec<PathBuf> = orphans.iter().map(relative).collect();
        if cx.dry_run {
            moved
                .paths
                .extend(orphans.iter().map(|orphan| orphan.source.clone()));
            continue;
        }
        let batch = Batch::begin(anchor, (cx.now, days, Why::Orphan), paths.clone())?;
        for (orphan, path) in orphans.iter().zip(&paths) {
            if cx.interrupt.is_set() {
                return Err(Error::Interrupted.into());
            }
            match batch.take(anchor, path) {
                Ok(()) => moved.paths.push(orphan.source.clone()),
                Err(error) => moved.failed.push(message(&error.into())),
            }
        }
        moved.names.push(batch.name);
    }
    Ok(moved)
}

/// While nobody can say where entries belong, nobody can say what is an orphan.
fn refuse_uncertain(tree: &PersistTree) -> anyhow::Result<()> {
    match tree.unresolved().first() {
        None => Ok(()),
        Some(unknown) => {
            let user = &unknown.user;
            let fact = format!("what belongs to the entries of the user {user} is not known");
            Err(Failure::refused(fact)
                .hint(format!(
                    "make the user, take {user}'s entries out, or name the orphans"
                ))
                .into())
        }
    }
}

/// Moves what quarantines of these names hold back to where it was.
///
/// # Errors
/// There is none of that name, or a store cannot be written.
pub fn restore(cx: &Context, names: &[String]) -> anyhow::Result<Moved> {
    let _lock = (!cx.dry_run).then(|| cx.lock()).transpose()?;
    let stores = Stores::open(cx)?;
    let mut moved = Moved {
        executed: !cx.dry_run,
        ..Moved::default()
    };
    for (store, batch) in stores.named(names)? {
        let anchor = stores.store(store)?;
        let mut is_all = true;
        for path in batch.held()? {
            if cx.interrupt.is_set() {
                return Err(Error::Interrupted.into());
            }
            let shown = store.join(&path);
            if let Ok(Found::Here(..)) = anchor.find(&path) {
                is_all = false;
                moved.failed.push(format!(
                    "{} stands there now: move it away, then restore this one",
                    Shown(&shown)
                ));
                continue;
            }
            let done = match cx.dry_run {
                true => Ok(()),
                false => batch.give_back(anchor, &path),
            };
            match done {
                Ok(()) => moved.paths.push(shown),
                Err(error) => {
                    is_all = false;
                    moved.failed.push(message(&error.into()));
                }
            }
        }
        moved.names.push(batch.name.clone());
        if is_all && !cx.dry_run {
            batch.delete(anchor)?;
        }
    }
    Ok(moved)
}

/// Deletes quarantines for ever: those of these names, or all that have expired.
///
/// # Errors
/// There is none of that name, or a store cannot be written.
pub fn purge(cx: &Context, names: &[String], progress: &dyn Progress) -> anyhow::Result<Moved> {
    let _lock = (!cx.dry_run).then(|| cx.lock()).transpose()?;
    let stores = Stores::open(cx)?;
    let batches = match names {
        [] => {
            let (mut all, _) = stores.batches()?;
            // By a clock that is behind nothing has expired.
            all.retain(|(_, batch)| batch.journal.expires <= cx.now);
            all
        }
        names => stores.named(names)?,
    };
    let mut moved = Moved {
        executed: !cx.dry_run,
        ..Moved::default()
    };
    let total = Total::Is(batches.len() as u64);
    let delete = || {
        for (store, batch) in batches {
            if cx.interrupt.is_set() {
                return Err(Error::Interrupted.into());
            }
            moved.names.push(batch.name.clone());
            moved
                .paths
                .extend(batch.held()?.iter().map(|path| store.join(path)));
            if !cx.dry_run {
                progress.see(0, batch.name.as_bytes());
                batch.delete(stores.store(store)?)?;
            }
            progress.advance(1);
        }
        anyhow::Ok(())
    };
    let watch = cx.watch(progress);
    watch.stage("deleting quarantines", Unit::Items, total, delete)?;
    Ok(moved)
}
