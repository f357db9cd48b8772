//! One path out of an archive, put into its place in the store.

use super::before::{BEFORE, Replaced, clear_begun};
use super::report::{Kept, Report, Restored};
use super::scan::Weight;
use super::{Opened, place, room, staged};
use crate::archive::Error;
use crate::archive::extract::Job;
use crate::archive::write::path_bytes;
use crate::context::Context;
use crate::failure::Failure;
use crate::progress::{Progress, Total, Unit};
use crate::settings::Settings;
use anyhow::Context as _;
use rustix::fs::{
    Mode, OFlags, RenameFlags, ResolveFlags, fsync, mkdirat, openat, openat2, renameat_with,
};
use rustix::io::Errno;
use state_api::Refusal;
use state_linux::swap::{RESERVED, remove_tree};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where paths are staged, in the store's reserved directory.
const STAGE: &str = "restore";

pub(super) fn run(
    cx: &Context,
    opened: &Opened<'_>,
    settings: &Settings,
    path: &Path,
    progress: &dyn Progress,
) -> anyhow::Result<Report> {
    let (archive, options) = (&opened.archive, opened.chosen.options);
    let path = crate::paths::normal(path)
        .map_err(|why| Failure::usage(format!("{} {why}", path.display())))?;
    let wanted = path_bytes(&path);
    let part = opened.part(wanted, cx.watch(progress))?;
    let part = part.ok_or_else(|| Error::Missing {
        what: format!("{} in the archive {}", path.display(), archive.label().id),
    })?;
    let (
        store,
        Weight {
            entries,
            bytes,
            used,
        },
    ) = (part.store, &part.weight);
    let (entries, bytes) = (*entries, *bytes);
    let name = PathBuf::from(OsStr::from_bytes(&archive.machine().stores[store].path.0));
    let into = place::of(cx, options, settings, &name)?;
    place::demand_mounted(cx, settings, &into)?;
    let at = into.join(path.strip_prefix("/").unwrap_or(&path));
    let (owners, about_owners) = used.owners(cx, options, settings, archive.machine())?;
    let mut report = opened.report();
    report.notes = about_owners;
    report.notes.extend(opened.notes());
    report.stores.push(Restored {
        entries,
        bytes,
        ..Restored::new(name, at.clone())
    });
    if cx.dry_run {
        return Ok(report);
    }
    let _lock = cx.lock()?;
    refuse_if_used(&at)?;
    let doing = || format!("restoring {}", at.display());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open(&into, flags, Mode::empty())
        .map_err(|e| state_api::Error::os(format!("opening {}", into.display()), e))?;
    let free = rustix::fs::fstatvfs(&top).map_err(|e| state_api::Error::os(doing(), e))?;
    room(
        &into,
        bytes.saturating_add(entries * 4096),
        free.f_bavail.saturating_mul(free.f_frsize),
    )?;

    let reserved = directory(top.as_fd(), RESERVED).with_context(doing)?;
    // What an interrupted run left is cheap to make again: it is one path.
    remove_tree(&reserved, OsStr::new(STAGE)).with_context(doing)?;
    clear_begun(&reserved).with_context(doing)?;
    let stage = directory(reserved.as_fd(), STAGE).with_context(doing)?;
    let job = Job {
        archive,
        store,
        under: Some(wanted),
        owners: &owners,
        interrupt: cx.interrupt,
    };
    progress.begin("restoring", Unit::Bytes, Total::About(bytes));
    let (losses, confinement) = staged(&job, &stage, progress).with_context(doing)?;
    (report.stores[0].losses, report.stores[0].confinement) = (losses, Some(confinement));
    Replaced::begin(cx, &stage, wanted).with_context(doing)?;
    rustix::fs::syncfs(&stage).map_err(|e| state_api::Error::os(doing(), e))?;

    // It has taken its time.
    refuse_if_used(&at)?;
    // First the name under which it stays: what is exchanged into it is never taken for a stage.
    let before = format!("{BEFORE}{}", archive.label().id);
    let kept = keep(&reserved, &before)
        .and_then(|kept| fsync(&reserved).map(|()| kept))
        .map_err(|e| state_api::Error::os(doing(), e))?;
    let is_exchanged = match put(stage.as_fd(), top.as_fd(), wanted) {
        Ok(is_exchanged) => is_exchanged,
        Err(errno) => {
            // It is still a stage, for the next run to clear away.
            renameat_with(&reserved, &kept, &reserved, STAGE, RenameFlags::NOREPLACE)
                .map_err(|e| state_api::Error::os(format!("giving up {kept}"), e))?;
            let doing = format!("putting {} in place", at.display());
            return Err(state_api::Error::os(doing, errno).into());
        }
    };
    if is_exchanged {
        // It now holds what was there.
        Replaced::end(&stage).map_err(|e| state_api::Error::os(doing(), e))?;
        let kept = into
            .join(RESERVED)
            .join(kept)
            .join(path.strip_prefix("/").unwrap_or(&path));
        report.stores[0].before = Some(Kept::At(kept));
    } else {
        remove_tree(&reserved, OsStr::new(&kept)).with_context(doing)?;
    }
    rustix::fs::syncfs(&top).map_err(|e| state_api::Error::os(doing(), e))?;
    report.stores[0].is_swapped = true;
    report.executed = true;
    Ok(report)
}

/// Refuses a place that a mount or a process uses.
pub(in crate::ops) fn refuse_if_used(place: &Path) -> anyhow::Result<()> {
    if !place.exists() {
        return Ok(());
    }
    let users = state_linux::users::of(place)
        .map_err(|e| state_api::Error::os("looking for its users", e))?;
    match users.first() {
        None => Ok(()),
        Some(user) => Err(state_api::Error::from(Refusal::InUse {
            what: place.display().to_string(),
            by: user.to_string(),
        })
        .into()),
    }
}

/// Opens the directory `name`, and makes it first if needed.
pub(super) fn directory(top: BorrowedFd<'_>, name: &str) -> state_api::Result<OwnedFd> {
    let os = |errno: Errno| state_api::Error::os(format!("making {name}"), errno);
    match mkdirat(top, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(os(errno)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(top, name, flags, Mode::empty()).map_err(os)
}

/// Opens the directory at `path` below `dir`, never through a symlink.
pub(super) fn beneath(dir: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if path.is_empty() {
        return openat(dir, c".", flags, Mode::empty());
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(dir, OsStr::from_bytes(path), flags, Mode::empty(), resolve)
}

/// Moves `path` from the stage into the store, with those of its directories that are missing
/// there. If something is there, exchanges the two and says so.
fn put(stage: BorrowedFd<'_>, top: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<bool> {
    let mut cut = 0;
    loop {
        let end = path[cut..]
            .iter()
            .position(|b| *b == b'/')
            .map_or(path.len(), |n| cut + n);
        let parent = path[..cut].strip_suffix(b"/").unwrap_or(&path[..cut]);
        let (from, to) = (beneath(stage, parent)?, beneath(top, parent)?);
        let name = OsStr::from_bytes(&path[cut..end]);
        match renameat_with(&from, name, &to, name, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(false),
            Err(Errno::EXIST) if end == path.len() => {
                renameat_with(&from, name, &to, name, RenameFlags::EXCHANGE)?;
                return Ok(true);
            }
            Err(Errno::EXIST) => cut = end + 1,
            Err(errno) => return Err(errno),
        }
    }
}

/// Gives the stage a name under which it stays.
fn keep(reserved: &OwnedFd, name: &str) -> rustix::io::Result<String> {
    let mut n = 1;
    loop {
        let kept = match n {
            1 => name.to_owned(),
            n => format!("{name}-{n}"),
        };
        match renameat_with(reserved, STAGE, reserved, &kept, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => n += 1,
            done => return done.map(|()| kept),
        }
    }
}
