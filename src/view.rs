//! Looking into a view by path.

use crate::anchor::{Anchor, Found};
use state_api::{Graft, View};
use state_linux::stat::Stat;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The open directory of `view` that holds `path`, a nested volume's if it lies in one, and the
/// rest of `path` below it.
///
/// # Errors
/// No descriptor is free.
pub fn anchor(view: &View, path: &Path) -> io::Result<(Anchor, PathBuf)> {
    let graft = (view.grafts.iter())
        .filter(|graft| path.starts_with(&graft.at))
        .max_by_key(|graft| graft.at.as_os_str().len());
    Ok(match graft {
        None => (view.dir.try_clone()?.into(), path.to_owned()),
        Some(graft) => {
            let rest = path
                .strip_prefix(&graft.at)
                .expect("it was chosen for that");
            (graft.dir.try_clone()?.into(), rest.to_owned())
        }
    })
}

/// What is at `path`.
///
/// # Errors
/// It cannot be looked at.
pub fn find(view: &View, path: &Path) -> io::Result<Found> {
    let (anchor, rest) = anchor(view, path)?;
    anchor.find(&rest)
}

/// What is at `path` below an open directory, if anything is.
///
/// # Errors
/// It cannot be looked at, or a component before the last is no directory.
pub fn here(anchor: &Anchor, path: &Path) -> io::Result<Option<(OwnedFd, Stat)>> {
    match anchor.find(path)? {
        Found::Here(fd, stat) => Ok(Some((fd, stat))),
        Found::Missing => Ok(None),
        Found::Behind(..) => Err(io::ErrorKind::NotADirectory.into()),
    }
}

/// The directory at `path` as a view of its own, nested volumes below it included.
///
/// # Errors
/// It is not there, or no directory, or cannot be read.
pub fn subtree(view: &View, path: &Path) -> io::Result<View> {
    let (anchor, rest) = anchor(view, path)?;
    let below = |graft: &Graft| -> Option<io::Result<Graft>> {
        let at = graft.at.strip_prefix(path).ok()?;
        if at.as_os_str().is_empty() {
            return None;
        }
        let at = at.to_owned();
        Some(graft.dir.try_clone().map(|dir| Graft { at, dir }))
    };
    Ok(View {
        grafts: view
            .grafts
            .iter()
            .filter_map(below)
            .collect::<io::Result<_>>()?,
        is_frozen: view.is_frozen,
        ..View::live(anchor.directory(&rest)?.into())
    })
}
