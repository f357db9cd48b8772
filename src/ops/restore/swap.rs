//! Making what is staged the stores: now, or at the next boot where a store is in use.

use super::done::Done;
use super::marker::Marker;
use super::{Report, Task, before};
use crate::archive::read::Archive;
use crate::context::Context;
use crate::failure::Failure;
use crate::ops::belongings;
use crate::ops::waiting::{self, Note, What};
use anyhow::Context as _;
use state_api::{Error, Incoming, Outcome, Refusal};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

/// The unit that puts what waits in place, if not the initrd's.
const MOUNT_UNIT: &str = "/etc/systemd/system/state-mount.service";

fn what(archive: &Archive<'_>) -> What {
    What::Restore {
        archive: archive.label().id.to_string(),
        manifest_sha256: archive.label().manifest_sha256,
    }
}

/// Whether the same archive waits for the next boot already.
///
/// # Errors
/// Something else waits.
pub(super) fn waits(task: &Task, archive: &Archive<'_>) -> anyhow::Result<bool> {
    let into = task.into.display();
    let Some(incoming) = task.engine.waiting()? else {
        return Ok(false);
    };
    let noted = Note::read(&task.into).map(|note| note.what);
    if incoming == Incoming::Staged && noted == Some(what(archive)) {
        return Ok(true);
    }
    let (fact, cure) = match noted {
        Some(what) => (
            format!("the next boot puts {what} in the place of {into}"),
            format!("`state undo {into}` calls that off"),
        ),
        // The note goes right before the exchange.
        None => (
            format!("something was interrupted right before it put a tree in the place of {into}"),
            "the next boot does it; `state undo` calls it off".into(),
        ),
    };
    Err(Failure::refused(fact).hint(cure).into())
}

/// Whether an earlier run was interrupted between two stores: one waits for what the other has got, or has got it just now.
///
/// # Errors
/// What waits cannot be looked at.
pub(super) fn is_begun(tasks: &[Task], archive: &Archive<'_>) -> state_api::Result<bool> {
    for task in tasks {
        // The note goes right before the exchange.
        let is_it = |note: Note| note.what == what(archive);
        let may_wait = Note::read(&task.into).is_none_or(is_it);
        if task.is_cut || task.earlier.is_some() || may_wait && task.engine.waiting()?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Finishes an exchange in which an earlier run was interrupted. If that run was of this restore, it is done then.
///
/// # Errors
/// It was of another restore: the tree that it replaced is nothing to give up unseen.
pub(super) fn finish(cx: &Context, task: &mut Task, archive: &Archive<'_>) -> anyhow::Result<()> {
    if cx.dry_run {
        task.is_cut = task.engine.survey()?.is_interrupted;
        return Ok(());
    }
    if task.engine.recover()? == Outcome::AlreadySo {
        return Ok(());
    }
    let of = Marker::of(archive, task.store);
    task.earlier = Done::read(&task.into).and_then(|done| done.when(&of));
    if task.earlier.is_some() {
        return Ok(());
    }
    let into = task.into.display();
    Err(Failure::refused(format!(
        "an earlier restore was interrupted while {into} was exchanged; that is finished now, and what was there before is kept"
    ))
    .hint(format!("look at it; `state undo {into}` goes back"))
    .into())
}

/// Who uses a store, in words; the first of several.
fn user(tasks: &[Task]) -> state_api::Result<Option<(PathBuf, String)>> {
    for task in tasks.iter().filter(|task| task.earlier.is_none()) {
        if let Some(by) = user_of(task.engine.demand_unused())? {
            return Ok(Some((task.into.clone(), by)));
        }
    }
    Ok(None)
}

/// Who uses it, if that is why it was refused.
pub(super) fn user_of<T>(demanded: state_api::Result<T>) -> state_api::Result<Option<String>> {
    match demanded {
        Ok(_) => Ok(None),
        Err(Error::Refused(Refusal::InUse { by, .. })) => Ok(Some(by)),
        Err(error) => Err(error),
    }
}

/// Says of a plan what would wait, and what would be in the way.
///
/// # Errors
/// The users cannot be looked for.
pub(super) fn foresee(
    cx: &Context,
    tasks: &[Task],
    can_wait: bool,
    report: &mut Report,
) -> anyhow::Result<()> {
    match user(tasks)? {
        None => {}
        Some((_, by)) if can_wait => wait(cx, report, &by),
        Some((store, by)) => report.notes.push(format!(
            "{} is in use by {by}: it is staged all the same, and refused when it is to be swapped in",
            store.display()
        )),
    }
    Ok(())
}

/// Notes that all of it waits: what belongs together is put in place together.
fn wait(cx: &Context, report: &mut Report, by: &str) {
    for store in &mut report.stores {
        store.waits_for = Some(by.to_owned());
    }
    if cx.root_dir == Path::new("/") && !cx.rooted(MOUNT_UNIT).exists() {
        report.notes.push(format!(
            "{MOUNT_UNIT} is not there: if nothing runs `state mount` at boot, the tree waits for ever (`state init --install-boot`)"
        ));
    }
}

/// Swaps all of them in, or leaves all of them to the next boot if one is in use.
///
/// # Errors
/// Nothing is swapped in. What is staged stays, for the next run.
pub(super) fn carry_out(
    cx: &Context,
    archive: &Archive<'_>,
    tasks: &mut [Task],
    can_wait: bool,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut user = user(tasks)?.map(|(_, by)| by);
    if user.is_none() || !can_wait {
        match all_now(cx, archive, tasks) {
            Ok(()) => {
                report
                    .stores
                    .iter_mut()
                    .for_each(|store| store.is_swapped = true);
                for task in &*tasks {
                    let brought = belongings::bring(&*task.engine, &task.into);
                    let note = |error| format!("{error}: the next boot tries again");
                    report.notes.extend(brought.err().map(note));
                }
                return Ok(());
            }
            // Only trying shows who keeps a volume mounted.
            Err(error) => match (in_use(&error), can_wait) {
                (Some(by), true) => user = Some(by),
                (Some(_), false) => {
                    return Err(error.context(
                        Failure::refused("everything is staged and verified, and waits").hint(
                            "stop what uses it and run the same command again, or run it from a rescue system",
                        ),
                    ));
                }
                (None, _) => return Err(error),
            },
        }
    }
    all_at_boot(cx, archive, tasks)?;
    wait(cx, report, &user.unwrap_or_default());
    Ok(())
}

/// Who uses the store that this is about.
fn in_use(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| match cause.downcast_ref() {
        Some(Error::Refused(Refusal::InUse { by, .. })) => Some(by.clone()),
        _ => None,
    })
}

fn all_now(cx: &Context, archive: &Archive<'_>, tasks: &mut [Task]) -> anyhow::Result<()> {
    let waited: Vec<_> = tasks.iter().map(|task| task.waits).collect();
    if tasks.len() > 1 {
        // What is cut between two of them is finished by the next boot.
        all_at_boot(cx, archive, tasks)?;
        tasks.iter_mut().for_each(|task| task.waits = true);
    }
    for n in 0..tasks.len() {
        if let Err(error) = now(cx, archive, &mut tasks[n]) {
            // All or nothing: those that were swapped in go out again.
            for done in tasks[..n].iter_mut().rev() {
                take_back(cx, archive, done)
                    .with_context(|| format!("{error}; putting {} back", done.into.display()))?;
            }
            for (task, waited) in tasks.iter_mut().zip(waited) {
                task.waits = waited;
            }
            call_off(tasks, &error)?;
            mark(archive, tasks)?;
            return Err(error);
        }
        before::forget_paths(&tasks[n].into)?;
    }
    Ok(())
}

fn now(cx: &Context, archive: &Archive<'_>, task: &mut Task) -> anyhow::Result<()> {
    let doing = format!("swapping in {}", task.into.display());
    if !task.waits {
        unmark(cx, archive, task)?;
        Note::remove(&task.into)?; // of a run that was killed: nothing waits
    }
    match task.engine.survey()?.keeps_reserved {
        true => Done::new(Marker::of(archive, task.store), cx.now).write(&task.into)?,
        false => Done::forget(&task.into)?,
    }
    let exchanged = match task.waits {
        true => waiting::exchange(&mut *task.engine, &task.into),
        false => task.engine.exchange().map(drop),
    };
    exchanged.context(doing)
}

/// What is staged is whole, and is noted where that is found once the tree is in place, by whoever finishes the exchange. It counts
/// for nothing while something is staged. A store that keeps its reserved directory gets it right before the exchange.
fn unmark(cx: &Context, archive: &Archive<'_>, task: &mut Task) -> state_api::Result<()> {
    let stage = task.engine.stage()?;
    Marker::remove(stage.as_fd())?;
    match task.engine.survey()?.keeps_reserved {
        true => Ok(()),
        false => Done::new(Marker::of(archive, task.store), cx.now).write(&path_of(&stage)),
    }
}

/// As if it had not been swapped in: it is staged, or waits, again.
fn take_back(cx: &Context, archive: &Archive<'_>, task: &mut Task) -> state_api::Result<()> {
    task.engine.exchange_back()?;
    task.engine.restage()?;
    Done::forget(&task.into)?;
    if task.waits {
        waiting::postpone(cx, &mut *task.engine, &task.into, what(archive))?;
    }
    Ok(())
}

fn path_of(stage: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", stage.as_raw_fd()).into()
}

/// What is staged is a stage again, which the next run adopts.
fn mark(archive: &Archive<'_>, tasks: &mut [Task]) -> anyhow::Result<()> {
    for task in tasks.iter_mut().filter(|task| !task.waits) {
        if task.engine.survey()?.has_staged {
            let stage = task.engine.stage()?;
            Done::forget(&task.into)?;
            Done::forget(&path_of(&stage))?;
            Marker::of(archive, task.store).write(stage.as_fd())?;
        }
    }
    Ok(())
}

fn all_at_boot(cx: &Context, archive: &Archive<'_>, tasks: &mut [Task]) -> anyhow::Result<()> {
    // What was given up is deleted before any waits: that may take long, and a boot in the middle of it would exchange some
    // of what belongs together.
    for task in tasks.iter_mut().filter(|task| !task.waits) {
        task.engine.discard_replaced()?;
    }
    let all = tasks.iter().map(|task| &*task.into);
    let mut postponed = waiting::announce(cx, all, &what(archive)).context("noting what waits");
    for task in tasks.iter_mut().filter(|task| !task.waits) {
        let doing = format!("leaving {} to the next boot", task.into.display());
        postponed = postponed.and_then(|()| {
            unmark(cx, archive, task)
                .and_then(|()| waiting::postpone(cx, &mut *task.engine, &task.into, what(archive)))
                .context(doing)
        });
    }
    if let Err(error) = postponed {
        call_off(tasks, &error)?;
        mark(archive, tasks)?;
        return Err(error);
    }
    Ok(())
}

/// What this run has left to the next boot is not left to it after all.
fn call_off(tasks: &mut [Task], cause: &anyhow::Error) -> anyhow::Result<()> {
    for task in tasks.iter_mut().filter(|task| !task.waits) {
        waiting::call_off(&mut *task.engine, &task.into)
            .with_context(|| format!("{cause}; calling {} off", task.into.display()))?;
    }
    Ok(())
}
