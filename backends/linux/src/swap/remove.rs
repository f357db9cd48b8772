//! Deleting a tree that nobody needs any more, without ever leaving its filesystem.

use super::act;
use crate::metadata::Flags;
use crate::stat::Kind;
use crate::tree::{Boundary, Entry, Walk};
use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;
use state_api::{Error, Outcome, Refusal, Result, View};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Deletes the directory `name` and all in it. Files that are immutable or append-only are
/// unsealed; nested btrfs subvolumes are deleted as the directories they look like.
///
/// # Errors
/// [`Refusal::InUse`] if something is mounted in it, before anything was deleted; else the first
/// thing that cannot be deleted, with what follows it left alone.
pub fn remove_tree(dir: impl AsFd, name: &OsStr) -> Result<Outcome> {
    if act::look(&dir, name)?.is_none() {
        return Ok(Outcome::AlreadySo);
    }
    // The list of mounts lags behind nothing: looking at every inode is what counts.
    let view = View::live(act::open(&dir, name)?);
    for found in Walk::new(&view) {
        let found = found.map_err(|e| Error::os(e.doing.to_owned(), e.source))?;
        if found.boundary == Some(Boundary::Mount) {
            return Err(Refusal::InUse {
                what: Path::new(name).display().to_string(),
                by: format!("a mount at {}", found.path.display()),
            }
            .into());
        }
    }
    empty(act::open(&dir, name)?)?;
    act::unlink(dir, name, AtFlags::REMOVEDIR)?;
    Ok(Outcome::Made)
}

/// Deletes everything in a directory, depth first, holding one descriptor per level.
fn empty(top: OwnedFd) -> Result<()> {
    let mut stack = vec![level(top)?];
    while let Some((dir, names)) = stack.last_mut() {
        let Some(name) = names.last().cloned() else {
            stack.pop();
            continue;
        };
        let os_name = OsStr::from_bytes(name.as_bytes());
        match unlink(&*dir, &name) {
            Ok(()) => drop(names.pop()),
            Err(Errno::NOTEMPTY) => {
                let inner = act::open(&*dir, os_name)?;
                stack.push(level(inner)?);
            }
            Err(Errno::PERM | Errno::ACCESS) if unseal(&*dir)? => {}
            Err(error) => return Err(act::os("deleting", os_name, error)),
        }
    }
    Ok(())
}

type Level = (OwnedFd, Vec<CString>);

fn level(dir: OwnedFd) -> Result<Level> {
    let names = crate::tree::names(&dir).map_err(|e| Error::os("listing a directory", e))?;
    Ok((dir, names))
}

/// Removes whatever has that name: a directory only if it is empty.
fn unlink(dir: impl AsFd, name: &CString) -> rustix::io::Result<()> {
    match unlinkat(&dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => unlinkat(dir, name, AtFlags::REMOVEDIR),
        other => other,
    }
}

/// Clears the flags that forbid deletion from a directory and what is directly in it; false if
/// there were none, so that another attempt is useless.
fn unseal(dir: impl AsFd) -> Result<bool> {
    let view = View::live(act::open(dir, OsStr::new("."))?);
    let mut walk = Walk::new(&view);
    let mut cleared = false;
    while let Some(found) = walk.next() {
        let found = found.map_err(|e| Error::os(e.doing.to_owned(), e.source))?;
        if !found.path.as_os_str().is_empty() {
            walk.prune();
        }
        cleared |= unseal_one(&found)?;
    }
    Ok(cleared)
}

fn unseal_one(entry: &Entry) -> Result<bool> {
    if !matches!(entry.stat.kind, Kind::File | Kind::Directory) {
        return Ok(false);
    }
    let failed = |e: std::io::Error| Error::os(format!("unsealing {}", entry.path.display()), e);
    let file = entry.open().map_err(|e| failed(e.source))?;
    let seals = Flags::of(&file).map_err(failed)?.within(Flags::SEALS);
    if seals.is_none() {
        return Ok(false);
    }
    seals.remove_from(file).map_err(failed)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    #[test]
    fn a_tree_goes_and_what_its_links_point_to_stays() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path();
        fs::create_dir_all(top.join("doomed/a/b/c")).unwrap();
        fs::write(top.join("doomed/a/b/f\n"), "").unwrap();
        fs::create_dir(top.join("kept")).unwrap();
        fs::write(top.join("kept/file"), "").unwrap();
        symlink(top.join("kept"), top.join("doomed/a/link")).unwrap();
        let fd = File::open(top).unwrap();
        let doomed = OsStr::new("doomed");
        assert_eq!(remove_tree(&fd, doomed).unwrap(), Outcome::Made);
        assert_eq!(remove_tree(&fd, doomed).unwrap(), Outcome::AlreadySo);
        assert!(top.join("kept/file").exists());
    }

    #[test]
    fn what_is_no_directory_is_not_a_tree() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/", dir.path().join("link")).unwrap();
        let fd = File::open(dir.path()).unwrap();
        remove_tree(&fd, OsStr::new("link")).unwrap_err();
        assert!(dir.path().join("link").is_symlink());
    }
}
