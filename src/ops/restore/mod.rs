//! `state restore`: an archive, or one path out of it, staged, verified, swapped in.
//!
//! Nothing that is there is touched before everything that was asked for has been staged and
//! compared with the manifest. What was there is kept.

mod before;
mod done;
mod drift;
mod foresee;
mod marker;
mod opened;
mod owners;
mod path;
mod place;
mod report;
mod scan;
mod swap;
mod undo;

pub(in crate::ops) use before::forget_paths;
pub(in crate::ops) use done::Done;
pub use opened::{Chosen, Data, Opened, choose};
pub(in crate::ops) use path::refuse_if_used;
pub(in crate::ops) use place::demand_fit;
pub use report::{Kept, Lost, Report, Restored};
pub use undo::{How, Undo, Undone, undo};

use super::archives::Which;
use super::belongings;
use crate::archive::compare;
use crate::archive::extract::{Job, Loss};
use crate::archive::owners::Owners;
use crate::archive::read::Archive;
use crate::context::Context;
use crate::engine;
use crate::failure::Failure;
use crate::progress::{Progress, Total, Unit};
use crate::settings::Settings;
use anyhow::Context as _;
use chrono::{DateTime, Utc};
use marker::Marker;
use owners::Used;
use state_api::{SnapshotStore, View};
use state_linux::confine::{Confinement, confined};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What is asked of a restore.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only this path of the machine.
    pub path: Option<PathBuf>,
    /// Where the archive is.
    pub which: Which,
    /// Its id; by default the newest complete one.
    pub archive: Option<String>,
    /// Restore into the store at this directory.
    pub into: Option<PathBuf>,
    /// Which of the archive's stores, by the directory it was mounted at.
    pub store: Option<PathBuf>,
    /// Restore although nobody vouches for who made the archive.
    pub allow_unsigned: bool,
    /// Give up the tree that an earlier restore replaced and that is still kept.
    pub forget_replaced: bool,
    /// Never leave it to the next boot: a store that is in use by then is refused.
    pub now: bool,
}

/// Whether a staging directory holds what an interrupted restore put there.
///
/// # Errors
/// It cannot be looked at.
pub(in crate::ops) fn is_of_a_restore(stage: BorrowedFd<'_>) -> state_api::Result<bool> {
    Ok(matches!(Marker::look(stage)?, marker::Found::Marker(_)))
}

/// One store to be restored.
struct Task {
    /// Its number in the archive.
    store: usize,
    /// What it was called there.
    name: PathBuf,
    /// Where it goes, as a person named it.
    into: PathBuf,
    engine: Box<dyn SnapshotStore>,
    entries: u64,
    bytes: u64,
    /// When an earlier run of the same command restored it.
    earlier: Option<DateTime<Utc>>,
    /// Whether an earlier run of this restore left it to the next boot.
    waits: bool,
    /// Whether its exchange was interrupted, which a dry run leaves as it is.
    is_cut: bool,
}

/// Restores, or makes the plan of it: what [`choose`] finds, and [`Opened::run`] does with that.
///
/// # Errors
/// Those of both. Nothing was changed.
pub fn run(cx: &Context, options: &Options, progress: &dyn Progress) -> anyhow::Result<Report> {
    let chosen = choose(cx, options)?;
    let data = chosen.data()?;
    data.open()?.run(cx, progress)
}

/// Restores whole stores.
fn stores(
    cx: &Context,
    opened: &Opened<'_>,
    settings: &Settings,
    progress: &dyn Progress,
) -> anyhow::Result<Report> {
    let (archive, options) = (&opened.archive, opened.chosen.options);
    let _lock = (!cx.dry_run).then(|| cx.lock()).transpose()?;
    let (mut tasks, used) = tasks(cx, opened, settings, progress)?;
    let (owners, about_owners) = used.owners(cx, options, settings, archive.machine())?;
    let mut report = Report::planned(opened, &tasks);
    report.machine_root = match tasks.first() {
        Some(task) => place::machine_root(options, &task.name)?,
        None => None,
    };
    let is_new = report.machine_root.is_some();
    let drift = drift::notes(cx, settings, archive.machine(), is_new);
    report.notes.extend(drift);
    report.notes.extend(opened.notes());
    report
        .notes
        .extend(drift::smaller(archive.machine(), &tasks));
    report.notes.extend(about_owners);
    for task in tasks.iter().filter(|task| task.is_cut) {
        let into = task.into.display();
        report.notes.push(format!(
            "the exchange of {into} was interrupted: that is finished before anything else"
        ));
    }
    let can_wait = !options.now
        && tasks
            .iter()
            .all(|task| place::is_declared(cx, settings, &task.into));
    if cx.dry_run {
        swap::foresee(cx, &tasks, can_wait, &mut report)?;
        return Ok(report);
    }
    for (task, restored) in tasks.iter_mut().zip(&mut report.stores) {
        restored.is_resumed = task.waits;
        if !task.waits && task.earlier.is_none() {
            stage(cx, archive, &owners, task, restored, progress)?;
        }
    }
    tasks.retain(|task| task.earlier.is_none()); // those are there
    swap::carry_out(cx, archive, &mut tasks, can_wait, &mut report)?;
    report.executed = true;
    Ok(report)
}

/// Which store goes where.
fn tasks(
    cx: &Context,
    opened: &Opened<'_>,
    settings: &Settings,
    progress: &dyn Progress,
) -> anyhow::Result<(Vec<Task>, Used)> {
    let (archive, options) = (&opened.archive, opened.chosen.options);
    let mut tasks = Vec::new();
    let stores = &archive.machine().stores;
    let named = |bytes: &[u8]| PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
    let wanted = |name: &Path| options.store.as_deref().is_none_or(|wanted| wanted == name);
    for (n, store) in stores.iter().enumerate() {
        let name = named(&store.path.0);
        if !wanted(&name) {
            continue;
        }
        let into = place::of(cx, options, settings, &name)?;
        let engine = engine::store(&into)
            .with_context(|| format!("looking at the store {}", into.display()))?;
        tasks.push(Task {
            store: n,
            name,
            into,
            engine,
            entries: 0,
            bytes: 0,
            earlier: None,
            waits: false,
            is_cut: false,
        });
    }
    if let ([first, second, ..], Some(_)) = (&tasks[..], &options.into)
        && first.into == second.into
    {
        let names: Vec<_> = tasks
            .iter()
            .map(|task| task.name.display().to_string())
            .collect();
        return Err(Failure::usage(
            "--into is one directory, and the archive holds several stores",
        )
        .hint(format!("choose one with --store: {}", names.join(", ")))
        .into());
    }
    if tasks.is_empty() {
        let names: Vec<_> = stores
            .iter()
            .map(|s| named(&s.path.0).display().to_string())
            .collect();
        return Err(Failure::usage("the archive holds no such store")
            .hint(format!("it holds {}", names.join(", ")))
            .into());
    }
    let mut used = Used::default();
    let weights = opened.weights(cx.watch(progress))?;
    for task in &mut tasks {
        let weight = &weights[task.store];
        used.add(&weight.used);
        (task.entries, task.bytes) = (weight.entries, weight.bytes);
    }
    if let ([task], [_]) = (&mut tasks[..], &stores[..]) {
        // What is in files with holes is known for all stores together only.
        task.bytes = task.bytes.max(archive.index().totals.bytes);
    }
    for task in &mut tasks {
        let shape = task.engine.survey()?.shape;
        place::demand_fit(cx, settings, &task.into, &shape)?;
        swap::finish(cx, task, archive)?;
        if options.forget_replaced && !cx.dry_run {
            belongings::bring(&*task.engine, &task.into)?;
        }
    }
    let is_begun = swap::is_begun(&tasks, archive)?;
    for task in tasks.iter_mut().filter(|task| task.earlier.is_none()) {
        let facts = task.engine.survey()?;
        task.waits = swap::waits(task, archive)?;
        if task.waits || task.is_cut {
            continue;
        }
        // One replaced tree is kept: a second restore would give up the only original.
        let done = Done::read(&task.into).filter(|_| facts.has_replaced && !facts.has_staged);
        let is_new = place::machine_root(options, &task.name)?.is_some();
        let of = Marker::of(archive, task.store);
        if is_begun || is_new && !options.forget_replaced {
            task.earlier = done.as_ref().and_then(|done| done.when(&of));
            if task.earlier.is_some() {
                continue;
            }
        }
        if facts.has_replaced && !options.forget_replaced {
            let into = task.into.display();
            if let Some(when) = done.as_ref().and_then(|done| done.when(&of)) {
                return Err(Failure::refused(format!(
                    "{into} has got this archive already, at {}, and keeps the tree that it replaced",
                    when.format("%F %R")
                ))
                .hint(format!(
                    "`state undo {into}` puts that back; --forget-replaced gives it up, and restores once more"
                ))
                .into());
            }
            let goes_on = match &done {
                Some(done) if is_new => {
                    format!("--archive {} goes on with what is there; ", done.archive())
                }
                _ => String::new(),
            };
            return Err(Failure::refused(format!(
                "{into} still keeps the tree that an earlier restore replaced"
            ))
            .hint(format!(
                "{goes_on}`state undo {into}` puts it back; --forget-replaced gives it up for this restore"
            ))
            .into());
        }
        // A block for every entry on top: names and small files take at least that.
        room(
            &task.into,
            task.bytes.saturating_add(task.entries.saturating_mul(4096)),
            facts.free_bytes,
        )?;
    }
    Ok((tasks, used))
}

/// Refuses to begin what has no room.
pub(super) fn room(into: &Path, needed: u64, free: u64) -> anyhow::Result<()> {
    // What an interrupted run has staged is counted as free space only when it is gone; a disk
    // that is truly too small is found out while staging, and nothing is lost by that either.
    if needed <= free {
        return Ok(());
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    Err(Failure::refused(format!(
        "{} has {} MiB free, and {} MiB are needed beside what is there",
        into.display(),
        free >> 20,
        mib(needed)
    ))
    .hint("the old tree is kept until the new one is in place: make room, or use a larger disk")
    .into())
}

/// Stages one store and compares it with the manifest.
fn stage(
    cx: &Context,
    archive: &Archive<'_>,
    owners: &Owners,
    task: &mut Task,
    restored: &mut Restored,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    let doing = || format!("staging {}", task.into.display());
    let marker = Marker::of(archive, task.store);
    let mut stage = task.engine.stage().with_context(doing)?;
    let found = Marker::look(stage.as_fd()).with_context(doing)?;
    restored.is_resumed = found == marker::Found::Marker(marker.clone());
    if !restored.is_resumed {
        if found != marker::Found::Nothing {
            drop(stage);
            task.engine.discard_staged().with_context(doing)?;
            stage = task.engine.stage().with_context(doing)?;
        }
        marker.write(stage.as_fd()).with_context(doing)?;
    }
    let job = Job {
        archive,
        store: task.store,
        under: None,
        owners,
        interrupt: cx.interrupt,
    };
    progress.begin("restoring", Unit::Bytes, Total::About(task.bytes));
    let (losses, confinement) = staged(&job, &stage, progress).with_context(doing)?;
    (restored.losses, restored.confinement) = (losses, Some(confinement));
    rustix::fs::syncfs(&stage)
        .map_err(|e| state_api::Error::os("writing what was staged to the disk", e))?;
    Ok(())
}

/// Extracts into `stage` and compares with the manifest, where nothing else can be written.
pub(super) fn staged(
    job: &Job<'_>,
    stage: &OwnedFd,
    progress: &dyn Progress,
) -> anyhow::Result<(Vec<Lost>, Confinement)> {
    confined(Some(stage.as_fd()), |confinement| {
        let mut seen = 0;
        let losses = job.extract(stage.as_fd(), &mut |now| {
            progress.advance(now.bytes - seen);
            progress.see(now.entries, now.path);
            seen = now.bytes;
        });
        progress.end();
        let losses = losses?;
        let view = View::frozen(stage.try_clone().context("opening it again")?);
        // Of one store of several it is not known beforehand.
        let is_all = job.under.is_none() && job.archive.machine().stores.len() == 1;
        let total = match is_all {
            true => Total::Is(job.archive.index().totals.entries),
            false => Total::Unknown,
        };
        progress.begin("comparing with the manifest", Unit::Items, total);
        let differences = compare(job, &view, &mut |now| {
            progress.advance(1);
            progress.see(0, now.path);
        });
        progress.end();
        let differences = differences.context("checking it")?;
        Ok((merge(losses, differences), confinement))
    })
}

/// The losses with their causes, and of the differences those that no cause explains.
fn merge(losses: Vec<Loss>, differences: Vec<Loss>) -> Vec<Lost> {
    let about = |loss: &Loss| (loss.path.clone(), loss.aspect.clone());
    let explained: std::collections::BTreeSet<_> = losses.iter().map(about).collect();
    let others = differences
        .into_iter()
        .filter(|loss| !explained.contains(&about(loss)));
    losses
        .iter()
        .cloned()
        .chain(others)
        .map(Into::into)
        .collect()
}
