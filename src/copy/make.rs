//! Making one thing like another: a directory, a file with its content, anything else.

use super::lost::Lost;
use super::{OPEN, unreadable};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, fchmod, ftruncate, ioctl_ficlone, mkdirat, mknodat, openat,
    symlinkat,
};
use state_api::{Error, Result};
use state_linux::acl;
use state_linux::metadata::{Flags, Metadata, Place, data_extents};
use state_linux::stat::{Kind, Stat};
use state_linux::tree::Entry;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

pub(super) fn make_directory(parent: BorrowedFd<'_>, name: &CString) -> io::Result<OwnedFd> {
    mkdirat(parent, name, Mode::RWXU)?;
    Ok(openat(
        parent,
        name,
        OPEN | OFlags::DIRECTORY,
        Mode::empty(),
    )?)
}

/// Copies a regular file, and tells how much of it. The flags that come back are to be set at the very end.
pub(super) fn file(
    entry: &Entry,
    from: OwnedFd,
    place: Place<'_, BorrowedFd<'_>>,
    lost: &mut Lost,
    tell: &mut dyn FnMut(u64),
) -> Result<Flags> {
    let metadata = entry.metadata_of(&from).map_err(unreadable)?;
    let write = || -> io::Result<()> {
        let create = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let to = openat(
            place.dir,
            place.name,
            create | OFlags::CLOEXEC,
            Mode::RUSR | Mode::WUSR,
        )?;
        let early = metadata.flags.within(Flags::BEFORE_CONTENT);
        lost.unless(format!("flags {early}"), early.add_to(&to))?;
        content(from, &to, entry.stat.size, tell)?;
        dress(place, Some(to.as_fd()), &entry.stat, &metadata, lost)
    };
    write().map_err(|error| Error::os(format!("copying {}", entry.path.display()), error))?;
    Ok(metadata.flags.within(Flags::SEALS))
}

/// Shares the content where the filesystem can, copies the data and leaves the holes elsewhere.
/// Tells of every piece that is copied.
fn content(from: OwnedFd, to: &OwnedFd, size: u64, tell: &mut dyn FnMut(u64)) -> io::Result<()> {
    if size == 0 || ioctl_ficlone(to, &from).is_ok() {
        return Ok(());
    }
    let (from, to) = (File::from(from), File::from(to.try_clone()?));
    ftruncate(&to, size)?;
    let mut buffer = vec![0; 128 << 10];
    for extent in data_extents(&from, size)? {
        let end = extent.offset + extent.length;
        let mut at = extent.offset;
        while at < end {
            let room = usize::try_from(end - at)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let n = from.read_at(&mut buffer[..room], at)?;
            if n == 0 {
                return Err(io::Error::other("it became shorter while being read"));
            }
            to.write_all_at(&buffer[..n], at)?;
            at += n as u64;
            tell(n as u64);
        }
    }
    Ok(())
}

/// Makes anything that has no content of its own.
pub(super) fn special(
    entry: &Entry,
    place: Place<'_, BorrowedFd<'_>>,
    lost: &mut Lost,
) -> Result<Flags> {
    let failed = |error: io::Error| Error::os(format!("copying {}", entry.path.display()), error);
    let node = |kind, device| {
        mknodat(place.dir, place.name, kind, Mode::RUSR | Mode::WUSR, device)
            .map_err(|errno| failed(errno.into()))
    };
    match entry.stat.kind {
        Kind::Symlink => {
            let target = entry.link_target().map_err(unreadable)?;
            symlinkat(target, place.dir, place.name).map_err(|errno| failed(errno.into()))?;
        }
        Kind::Fifo => node(FileType::Fifo, 0)?,
        Kind::Socket => node(FileType::Socket, 0)?,
        Kind::CharDevice => node(FileType::CharacterDevice, entry.stat.device_number)?,
        Kind::BlockDevice => node(FileType::BlockDevice, entry.stat.device_number)?,
        Kind::File | Kind::Directory => unreachable!("the caller has seen to those"),
    }
    let metadata = entry.metadata().map_err(unreadable)?;
    dress(place, None, &entry.stat, &metadata, lost).map_err(failed)?;
    Ok(Flags::NONE)
}

/// Gives what was made its owner, attributes, mode and times, in the order in which none undoes
/// another: a change of owner strips setuid and capabilities, a change of ACL changes the mode.
pub(super) fn dress(
    place: Place<'_, BorrowedFd<'_>>,
    open: Option<BorrowedFd<'_>>,
    stat: &Stat,
    metadata: &Metadata,
    lost: &mut Lost,
) -> io::Result<()> {
    let made = Stat::of(place.dir, place.name)?;
    if (made.uid, made.gid) != (stat.uid, stat.gid) {
        let owner = format!("owner {}:{}", stat.uid, stat.gid);
        lost.unless(owner, place.set_owner(stat.uid, stat.gid))?;
    }
    for (name, value) in &metadata.xattrs {
        let what = || name.to_string_lossy().into_owned();
        let name = CString::new(name.as_bytes()).expect("names come from the kernel");
        lost.unless(what(), place.set_xattr(&name, value))?;
    }
    for (kind, list) in [
        (acl::ACCESS, &metadata.access_acl),
        (acl::DEFAULT, &metadata.default_acl),
    ] {
        if let Some(list) = list {
            lost.unless(kind.to_owned(), place.set_acl(kind, list))?;
        }
    }
    let mode = Mode::from_raw_mode(stat.mode);
    match (open, stat.kind) {
        (Some(file), _) => fchmod(file, mode)?,
        (None, Kind::Symlink) => {} // has none of its own
        (None, _) => rustix::fs::chmodat(place.dir, place.name, mode, AtFlags::empty())?,
    }
    if let Some(file) = open {
        let flags = match stat.kind {
            // What is in a directory was copied by then, and did not inherit them.
            Kind::Directory => metadata.flags,
            _ => metadata.flags.without(Flags::BEFORE_CONTENT),
        };
        let flags = flags.without(Flags::SEALS);
        lost.unless(format!("flags {flags}"), flags.add_to(file))?;
    }
    place.set_modified(stat.modified)
}
