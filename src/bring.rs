//! Bringing a copy of something into place, whole or not at all.

use crate::anchor::Anchor;
use crate::copy::{self, Copied, Fidelity};
use crate::progress::Watch;
use crate::view;
use rustix::fs::{Mode, RenameFlags, fsync, mkdirat, renameat, renameat_with, syncfs};
use rustix::io::Errno;
use state_api::{Error, Result, View};
use state_linux::stat::{Kind, Stat};
use std::cell::Cell;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

/// The directory in which a copy is made until it is complete; what an interrupted run left in
/// it is discarded. It is closed to everybody else, and on the destination's filesystem.
const STAGING: &str = ".state-staging";

/// Copies what is at `path` in `from` to `name` in the directory `to`, with everything that
/// belongs to it. It appears there complete and on the disk, or not at all; what stands there
/// already is never replaced. `staging` is a directory on the same filesystem as `to`.
///
/// # Errors
/// [`Error::Missing`] if nothing is at `path`; `EEXIST` if something stands at `name`.
pub fn bring<'w>(
    from: &View,
    path: &Path,
    (to, name): (&Anchor, &OsStr),
    staging: &Anchor,
    watch: impl Into<Watch<'w>>,
) -> Result<Copied> {
    stage(from, path, staging, watch, &|made, source| {
        renameat_with(made, source, to, name, RenameFlags::NOREPLACE)?;
        fsync(to.as_fd())?;
        Ok(())
    })
}

/// What must be so for a copy to take the place of something.
#[allow(missing_debug_implementations)] // functions have nothing to show
pub struct Expects<'a> {
    /// Of the copy, by the directory it is in and its name there.
    pub is_whole: &'a dyn Fn(&Anchor, &OsStr) -> io::Result<bool>,
    /// Of what it replaced, once nobody can find that any more.
    pub is_replaceable: &'a dyn Fn(&Stat) -> bool,
}

/// The same in the place of what stands at `name` already, in one act, if both are as `expects`
/// says. Else everything is as it was.
///
/// # Errors
/// As [`bring`]; [`Error::Stale`] if it was not as expected.
pub fn replace<'w>(
    from: &View,
    path: &Path,
    (to, name): (&Anchor, &OsStr),
    expects: &Expects<'_>,
    watch: impl Into<Watch<'w>>,
) -> Result<Copied> {
    let stale = || Error::Stale {
        what: crate::paths::Shown(path).to_string(),
    };
    let is_stale = Cell::new(false);
    let exchange = |made: &Anchor, source: &OsStr| -> io::Result<()> {
        if !(expects.is_whole)(made, source)? {
            is_stale.set(true);
            return Ok(());
        }
        let swap = || renameat_with(made, source, to, name, RenameFlags::EXCHANGE);
        match swap() {
            // ZFS before 2.2 knows no exchange.
            Err(Errno::INVAL) => renameat(made, source, to, name)?,
            Err(Errno::NOENT) => renameat_with(made, source, to, name, RenameFlags::NOREPLACE)?,
            swapped => {
                swapped?;
                if !(expects.is_replaceable)(&Stat::of(made, source)?) {
                    swap()?;
                    is_stale.set(true);
                }
            }
        }
        fsync(to.as_fd())?;
        Ok(())
    };
    let copied = stage(from, path, to, watch, &exchange)?;
    match is_stale.get() {
        false => Ok(copied),
        true => Err(stale()),
    }
}

/// Copies what is at `path` in `from` into a staging directory in `staging`, and has `place` move
/// it from there, by that directory and its name in it. What it does not move is discarded.
///
/// # Errors
/// As [`bring`], and those of `place`.
pub fn stage<'w>(
    from: &View,
    path: &Path,
    staging: &Anchor,
    watch: impl Into<Watch<'w>>,
    place: &dyn Fn(&Anchor, &OsStr) -> io::Result<()>,
) -> Result<Copied> {
    let shown = || crate::paths::Shown(path).to_string();
    let failed = |error: io::Error| Error::os(format!("copying {}", shown()), error);
    let (Some(parent), Some(source)) = (path.parent(), path.file_name()) else {
        return Err(failed(Errno::INVAL.into()));
    };
    let parent = view::subtree(from, parent).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::Missing { what: shown() },
        _ => failed(error),
    })?;
    discard(staging).map_err(failed)?;
    mkdirat(staging, STAGING, Mode::RWXU).map_err(|errno| failed(errno.into()))?;
    let copied = staging
        .directory(Path::new(STAGING))
        .map_err(failed)
        .and_then(|made| {
            let copied = copy::one(&parent, source, &made, Fidelity::Exact, watch)?;
            // Complete on the disk before it has its name.
            sync(&made, source).map_err(failed)?;
            place(&made, source).map_err(failed)?;
            Ok(copied)
        });
    match (copied, discard(staging).map_err(failed)) {
        (Ok(copied), Ok(())) => Ok(copied),
        (Ok(_), Err(error)) | (Err(error), Ok(())) => Err(error),
        (Err(cause), Err(recovery)) => Err(Error::Recovery {
            cause: Box::new(cause),
            recovery: Box::new(recovery),
        }),
    }
}

/// Waits until what is called `name` is on the disk: one file alone where it is one.
fn sync(dir: &Anchor, name: &OsStr) -> io::Result<()> {
    let is_file = Stat::of(dir, name)?.kind == Kind::File;
    match is_file {
        true => fsync(dir.read(Path::new(name))?)?,
        false => syncfs(dir)?,
    }
    Ok(())
}

/// Removes our own staging directory, if there is one.
fn discard(staging: &Anchor) -> io::Result<()> {
    let here = format!("/proc/self/fd/{}/{STAGING}", staging.as_fd().as_raw_fd());
    match fs::remove_dir_all(here) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
