//! Reading datasets and snapshots through mounts that nobody else sees.

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use state_api::{Error, Result};
use state_linux::mount::{Attributes, detached, open_top};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

/// A mount without a place: it goes when the last descriptor into it is closed.
#[derive(Debug)]
pub(crate) struct Detached(OwnedFd);

impl Detached {
    /// Mounts a dataset or snapshot for reading.
    pub(crate) fn read_only(name: &str) -> Result<Self> {
        // A filesystem that is mounted for writing elsewhere cannot have a read-only superblock
        // too (EBUSY); its mount can be read-only all the same.
        let attributes = Attributes::MOUNT_ATTR_RDONLY | Attributes::MOUNT_ATTR_NOATIME;
        match mount(name, true, attributes) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                mount(name, false, attributes)
            }
            other => other,
        }
        .map(Self)
        .map_err(|error| Error::os(format!("mounting {name} privately"), error))
    }

    /// Its top directory, for reading it.
    pub(crate) fn top(&self) -> Result<OwnedFd> {
        open_top(&self.0).map_err(|error| Error::os("opening a private mount", error))
    }
}

fn mount(name: &str, read_only: bool, attributes: Attributes) -> io::Result<OwnedFd> {
    let mut options = vec![("source", Some(name.as_ref()))];
    if read_only {
        options.push(("ro", None));
    }
    detached("zfs", &options, attributes)
}

/// A directory at `path` below `top`, through no symlink.
pub(crate) fn directory_in(top: &OwnedFd, path: &Path) -> Result<OwnedFd> {
    let path = match path.as_os_str().is_empty() {
        true => Path::new("."),
        false => path,
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    openat2(top, path, flags, Mode::empty(), resolve)
        .map_err(|errno| Error::os(format!("opening {}", path.display()), errno))
}

/// Whether `path` resolves below `top` as if that were `/`.
pub(crate) fn resolves(top: BorrowedFd<'_>, path: &Path) -> Result<bool> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match openat2(top, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
        Err(errno) => Err(Error::os(format!("looking for {}", path.display()), errno)),
    }
}
