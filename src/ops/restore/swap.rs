//! Making what is staged the stores: now, or at the next boot where a store is in use.

use super::done::Done;
use super::marker::{Found, Marker};
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
    let what = noted.map_or("another tree".into(), |what| what.to_string());
    Err(
        Failure::refused(format!("the next boot puts {what} in the place of {into}"))
            .hint(format!("`state undo {into}` calls that off"))
            .into(),
    )
}

/// Whether an earlier run was interrupted between two stores: one of them is still staged.
///
/// # Errors
/// What is staged cannot be looked at.
pub(super) fn is_begun(
    cx: &Context,
    tasks: &mut [Task],
    archive: &Archive<'_>,
) -> anyhow::Result<bool> {
    for task in tasks.iter_mut().filter(|_| !cx.dry_run) {
        if task.engine.survey()?.has_staged {
            let found = Marker::look(task.engine.stage()?.as_fd())?;
            if found == Found::Marker(Marker::of(archive, task.store)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Finishes an exchange in which an earlier run was interrupted. If that run was of this restore, it is done then.
///
/// # Errors
/// It was of another restore: the tree that it replaced is nothing to give up unseen.
pub(super) fn finish(cx: &Context, task: &mut Task, archive: &Archive<'_>) -> anyhow::Result<()> {
    if cx.dry_run || task.engine.recover()? == Outcome::AlreadySo {
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
    for n in 0..tasks.len() {
        if let Err(error) = now(cx, archive, &mut tasks[n]) {
            // All or nothing: those that were swapped in go out again.
            for done in tasks[..n].iter_mut().rev() {
                take_back(cx, archive, done)
                    .with_context(|| format!("{error}; putting {} back", done.into.display()))?;
            }
            mark(archive, tasks)?;
            return Err(error);
        }
        before::forget_paths(&tasks[n].into)?;
    }
    Ok(())
}

fn now(cx: &Context, archive: &Archive<'_>, task: &mut Task) -> anyhow::Result<()> {
    let doing = || format!("swapping in {}", task.into.display());
    let done = Done::new(Marker::of(archive, task.store), cx.now);
    if task.waits {
        waiting::exchange(&mut *task.engine, &task.into).with_context(doing)?;
        return Ok(done.write(&task.into)?);
    }
    let stage = task.engine.stage()?;
    Marker::remove(stage.as_fd())?;
    Note::remove(&task.into)?; // of a run that was killed: nothing waits
    // Where it is found once the tree is in place, by whoever finishes this exchange. It counts for nothing while something
    // is staged.
    Done::forget(&task.into)?;
    match task.engine.survey()?.keeps_reserved {
        true => done.write(&task.into)?,
        false => done.write(&path_of(&stage))?,
    }
    drop(stage);
    task.engine.exchange().with_context(doing).map(drop)
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
    for n in 0..tasks.len() {
        let task = &mut tasks[n];
        if task.waits {
            continue;
        }
        let postponed = Marker::remove(task.engine.stage()?.as_fd())
            .and_then(|()| waiting::postpone(cx, &mut *task.engine, &task.into, what(archive)));
        if let Err(error) = postponed {
            let doing = format!("leaving {} to the next boot", task.into.display());
            for done in tasks[..n].iter_mut().filter(|done| !done.waits) {
                waiting::call_off(&mut *done.engine, &done.into)
                    .with_context(|| format!("{error}; calling {} off", done.into.display()))?;
            }
            mark(archive, tasks)?;
            return Err(anyhow::Error::from(error).context(doing));
        }
    }
    Ok(())
}
