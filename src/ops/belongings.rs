//! What the reserved directory of a store holds of the machine, and not of the tree that is in place:
//! where archives are and which were proven, the keys for drills, the quarantine, captured past roots.
//!
//! A tree that is exchanged takes the directory along, if it is one of its own. Afterwards they are brought
//! to the tree that is in place now; what was not brought before a cut is by the next boot.

use crate::copy::{self, Fidelity};
use crate::paths::Shown;
use rustix::fs::{AtFlags, Mode, RenameFlags, fsync, mkdirat, openat, renameat_with, unlinkat};
use rustix::io::Errno;
use state_api::{Error, Never, Refusal, Result, SnapshotStore, View};
use state_linux::swap::{RESERVED, remove_tree};
use state_linux::tree::DIRECTORY;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Where something is copied that cannot be moved, in the reserved directory.
const COPIES: &str = "bringing";

/// What is the tree's own: what it was restored from, and which files the last archive saw in it; what waits
/// for it, and what single paths replaced in it.
fn is_the_trees(name: &OsStr) -> bool {
    let own = [
        "archive",
        "restored.json",
        "waiting.json",
        "restore",
        COPIES,
    ];
    own.iter().any(|own| name == *own) || name.as_bytes().starts_with(b"before-")
}

/// Brings what the replaced tree of the store at `store` has taken along. What is there already is left.
///
/// # Errors
/// Something could not be brought: it is where it was.
pub(super) fn bring(engine: &dyn SnapshotStore, store: &Path) -> Result<()> {
    let Some(replaced) = engine.open_replaced()? else {
        return Ok(());
    };
    let Some(from) = directory(&replaced, OsStr::new(RESERVED))? else {
        return Ok(());
    };
    let names = names(&from)?;
    let wanted = names.iter().map(|name| OsStr::from_bytes(name.as_bytes()));
    if wanted.clone().all(is_the_trees) {
        return Ok(());
    }
    let top = rustix::fs::open(store, DIRECTORY, Mode::empty()).map_err(|e| os(RESERVED, e))?;
    match mkdirat(&top, RESERVED, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(os(RESERVED, errno)),
    }
    let to = openat(&top, RESERVED, DIRECTORY, Mode::empty()).map_err(|e| os(RESERVED, e))?;
    let mut failure = None;
    for name in wanted.filter(|name| !is_the_trees(name)) {
        let brought = bring_one(&to, &from, &to, name, true);
        failure = failure.or(brought.err()); // the others come all the same
    }
    fsync(&to).map_err(|e| os(RESERVED, e))?;
    failure.map_or(Ok(()), Err)
}

fn os(name: impl AsRef<OsStr>, errno: Errno) -> Error {
    Error::os(format!("bringing {}", Shown(Path::new(&name))), errno)
}

/// Opens a directory; `None` if it is none.
fn directory(dir: impl AsFd, name: &OsStr) -> Result<Option<OwnedFd>> {
    match openat(dir, name, DIRECTORY, Mode::empty()) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(os(name, errno)),
    }
}

fn names(dir: &OwnedFd) -> Result<Vec<CString>> {
    let listed = openat(dir, c".", DIRECTORY, Mode::empty()).map_err(|e| os(".", e))?;
    state_linux::tree::names(listed).map_err(|e| Error::os("listing what is brought", e))
}

/// Moves one thing. Of a directory that is on both sides, what is in it: in the quarantine and among past
/// roots each thing has a name of its own.
fn bring_one(
    reserved: &OwnedFd,
    from: &OwnedFd,
    to: &OwnedFd,
    name: &OsStr,
    goes_in: bool,
) -> Result<()> {
    if !is_free(to, name)? {
        if let (true, Some(from), Some(to)) =
            (goes_in, directory(from, name)?, directory(to, name)?)
        {
            for name in names(&from)? {
                bring_one(
                    reserved,
                    &from,
                    &to,
                    OsStr::from_bytes(name.as_bytes()),
                    false,
                )?;
            }
            fsync(&to).map_err(|e| os(name, e))?;
        }
        return Ok(());
    }
    match renameat_with(from, name, to, name, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::XDEV) => copy_one(reserved, from, to, name), // of another subvolume
        Err(errno) => Err(os(name, errno)),
    }
}

/// Copies it, and only when the copy is whole gives it its name and deletes the original.
fn copy_one(reserved: &OwnedFd, from: &OwnedFd, to: &OwnedFd, name: &OsStr) -> Result<()> {
    remove_tree(reserved, OsStr::new(COPIES))?;
    mkdirat(reserved, COPIES, Mode::RWXU).map_err(|e| os(COPIES, e))?;
    let copies = openat(reserved, COPIES, DIRECTORY, Mode::empty()).map_err(|e| os(COPIES, e))?;
    let opened = openat(from, c".", DIRECTORY, Mode::empty()).map_err(|e| os(name, e))?;
    let view = View::live(opened);
    let copied = copy::one(&view, name, &copies, Fidelity::Exact, &Never)?;
    if !copied.boundaries.is_empty() {
        remove_tree(reserved, OsStr::new(COPIES))?;
        return Err(Refusal::Unsafe {
            fact: format!(
                "{} holds a volume of its own, and stays with the tree that was replaced",
                Shown(&Path::new(RESERVED).join(name))
            ),
            cure: "copy it before that tree is given up".into(),
        }
        .into());
    }
    let moved = rustix::fs::syncfs(&copies)
        .and_then(|()| renameat_with(&copies, name, to, name, RenameFlags::NOREPLACE))
        .and_then(|()| rustix::fs::syncfs(to));
    moved.map_err(|e| os(name, e))?;
    match unlinkat(from, name, AtFlags::empty()) {
        Ok(()) => {}
        Err(Errno::ISDIR) => drop(remove_tree(from, name)?),
        Err(errno) => return Err(os(name, errno)),
    }
    remove_tree(reserved, OsStr::new(COPIES)).map(drop)
}

fn is_free(dir: &OwnedFd, name: &OsStr) -> Result<bool> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(false),
        Err(Errno::NOENT) => Ok(true),
        Err(errno) => Err(os(name, errno)),
    }
}
