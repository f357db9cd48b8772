//! The acts an exchange is made of: each changes one name and is on the disk when it returns.

use crate::metadata::Flags;
use crate::stat::{Kind, Stat};
use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, fsync, mkdirat, openat, renameat_with, unlinkat,
};
use rustix::io::Errno;
use state_api::{Error, Result};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The longest journal we would ever write, in bytes.
const JOURNAL_BYTES: u64 = 4096;

const LOOKED_AT: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

pub(super) fn os(doing: &str, name: &OsStr, error: impl Into<std::io::Error>) -> Error {
    Error::os(format!("{doing} {}", Path::new(name).display()), error)
}

/// Opens a directory by its name, never through a symlink.
pub(super) fn open(dir: impl AsFd, name: &OsStr) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty()).map_err(|e| os("opening", name, e))
}

/// What has that name, if anything has.
pub(super) fn look(dir: impl AsFd, name: &OsStr) -> Result<Option<Stat>> {
    match Stat::of(dir, name) {
        Ok(stat) => Ok(Some(stat)),
        Err(e) if e.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => Ok(None),
        Err(e) => Err(os("looking at", name, e)),
    }
}

/// Makes a directory of mode 0700 unless it is there, and opens it.
pub(super) fn directory(dir: impl AsFd, name: &OsStr) -> Result<OwnedFd> {
    cut::point();
    match mkdirat(&dir, name, Mode::RWXU) {
        Ok(()) => fsync(&dir).map_err(|e| os("making", name, e))?,
        Err(Errno::EXIST) => {}
        Err(e) => return Err(os("making", name, e)),
    }
    open(dir, name)
}

/// Renames; what has the new name is never replaced.
pub(super) fn rename(from: impl AsFd, old: &OsStr, to: impl AsFd, new: &OsStr) -> Result<()> {
    cut::point();
    let doing = || renameat_with(&from, old, &to, new, RenameFlags::NOREPLACE);
    unsealed(&[(from.as_fd(), old)], doing).map_err(|e| os("moving", old, e))
}

/// Exchanges two names of one directory, durably.
pub(super) fn exchange(dir: impl AsFd, a: &OsStr, b: &OsStr) -> Result<()> {
    cut::point();
    let dir = dir.as_fd();
    unsealed(&[(dir, a), (dir, b)], || {
        renameat_with(dir, a, dir, b, RenameFlags::EXCHANGE)
    })
    .and_then(|()| Ok(fsync(dir)?))
    .map_err(|e| os("exchanging", a, e))
}

/// Renames what may be immutable or append-only, which the kernel refuses to rename (`may_delete` in `fs/namei.c`): such flags
/// are taken off for that moment. A power cut in it costs the flag, and no data.
fn unsealed(
    names: &[(BorrowedFd<'_>, &OsStr)],
    rename: impl Fn() -> rustix::io::Result<()>,
) -> std::io::Result<()> {
    let refused = match rename() {
        Err(errno @ Errno::PERM) => errno,
        done => return Ok(done?),
    };
    let mut sealed = Vec::new();
    for (dir, name) in names {
        // A symlink or a device has no such flags, and opening a device would do something.
        let kind = Stat::of(dir, *name)?.kind;
        if matches!(kind, Kind::File | Kind::Directory) {
            let file = openat(dir, *name, LOOKED_AT, Mode::empty())?;
            let seals = Flags::of(&file)?.within(Flags::SEALS);
            if !seals.is_none() {
                seals.remove_from(&file)?;
                sealed.push((file, seals));
            }
        }
    }
    let done = match sealed.is_empty() {
        true => Err(refused),
        false => rename(),
    };
    for (file, seals) in sealed {
        seals.add_to(file)?;
    }
    Ok(done?)
}

/// Brings the names of a directory to the disk.
pub(super) fn settle(dir: impl AsFd, name: &OsStr) -> Result<()> {
    cut::point();
    fsync(dir).map_err(|e| os("committing", name, e))
}

/// Brings everything that was written to the filesystem to the disk: a staged tree whose names
/// outlive a power cut and whose content does not would be worth nothing.
pub(super) fn settle_all(dir: impl AsFd, name: &OsStr) -> Result<()> {
    cut::point();
    rustix::fs::syncfs(dir).map_err(|e| os("writing out", name, e))
}

/// Removes an empty directory or, with `AtFlags::empty()`, a file; durably.
pub(super) fn unlink(dir: impl AsFd, name: &OsStr, flags: AtFlags) -> Result<()> {
    cut::point();
    unlinkat(&dir, name, flags)
        .and_then(|()| fsync(&dir))
        .map_err(|e| os("removing", name, e))
}

/// Writes a file whole under a name, durably; the file before it, if any, stays until then.
pub(super) fn write(dir: impl AsFd, name: &OsStr, text: &str) -> Result<()> {
    cut::point();
    let mut new = name.to_owned();
    new.push(".new");
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let failed = |e: std::io::Error| os("writing", name, e);
    let mut file: File = openat(&dir, &new, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|e| failed(e.into()))?
        .into();
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    cut::point();
    rustix::fs::renameat(&dir, &new, &dir, name)
        .and_then(|()| fsync(&dir))
        .map_err(|e| failed(e.into()))
}

/// Reads what [`write`] wrote; `None` if there is no such file.
pub(super) fn read(dir: impl AsFd, name: &OsStr) -> Result<Option<String>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file: File = match openat(dir, name, flags, Mode::empty()) {
        Ok(file) => file.into(),
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(os("reading", name, e)),
    };
    let mut text = String::new();
    file.take(JOURNAL_BYTES)
        .read_to_string(&mut text)
        .map_err(|e| os("reading", name, e))?;
    Ok(Some(text))
}

/// Power cuts in tests: the act with the chosen number, counted from 0, panics instead.
pub(super) mod cut {
    #[cfg(test)]
    std::thread_local! {
        static LEFT: std::cell::Cell<Option<u32>> = const { std::cell::Cell::new(None) };
    }

    #[cfg(test)]
    pub(in crate::swap) fn after(acts: Option<u32>) {
        LEFT.set(acts);
    }

    #[inline]
    pub(super) fn point() {
        #[cfg(test)]
        LEFT.with(|left| match left.get() {
            Some(0) => panic!("the power is cut"),
            Some(n) => left.set(Some(n - 1)),
            None => {}
        });
    }
}
