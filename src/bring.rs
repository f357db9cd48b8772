//! Bringing a copy of something into place, whole or not at all.

use crate::anchor::Anchor;
use crate::copy::{self, Copied, Fidelity};
use crate::view;
use rustix::fs::{Mode, RenameFlags, fsync, mkdirat, renameat_with, syncfs};
use rustix::io::Errno;
use state_api::{Error, Interrupt, Result, View};
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
pub fn bring(
    from: &View,
    path: &Path,
    (to, name): (&Anchor, &OsStr),
    staging: &Anchor,
    interrupt: &dyn Interrupt,
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
            let copied = copy::one(&parent, source, &made, Fidelity::Exact, interrupt)?;
            // Complete on the disk before it has its name.
            syncfs(&made).map_err(|errno| failed(errno.into()))?;
            let flags = RenameFlags::NOREPLACE;
            renameat_with(&made, source, to, name, flags).map_err(|errno| failed(errno.into()))?;
            fsync(to.as_fd()).map_err(|errno| failed(errno.into()))?;
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

/// Removes our own staging directory, if there is one.
fn discard(staging: &Anchor) -> io::Result<()> {
    let here = format!("/proc/self/fd/{}/{STAGING}", staging.as_fd().as_raw_fd());
    match fs::remove_dir_all(here) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
