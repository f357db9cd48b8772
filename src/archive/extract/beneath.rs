//! Making things below a staging directory, and nowhere else.
//!
//! No path is looked at and then used: the kernel resolves every one below the directory's
//! descriptor, refusing symlinks, magic links and other filesystems on the way.

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

/// How often a resolution that raced with a rename elsewhere is tried again.
const TRIES: usize = 64;

/// The staging directory.
pub(super) struct Beneath<'s> {
    top: BorrowedFd<'s>,
    /// The directory used last: entries come directory by directory.
    last: Option<(Vec<u8>, Rc<OwnedFd>)>,
}

/// A name in an open directory.
pub(super) struct Spot {
    pub(super) dir: Rc<OwnedFd>,
    pub(super) name: CString,
}

impl<'s> Beneath<'s> {
    pub(super) fn new(top: BorrowedFd<'s>) -> Self {
        Self { top, last: None }
    }

    /// Where `path` is or will be. Its directory must exist.
    pub(super) fn spot(&mut self, path: &[u8]) -> io::Result<Spot> {
        let cut = path.iter().rposition(|b| *b == b'/');
        let (parent, name) = match cut {
            Some(cut) => (&path[..cut], &path[cut + 1..]),
            None => (&path[..0], path),
        };
        let dir = match &self.last {
            Some((last, dir)) if last == parent => Rc::clone(dir),
            _ => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                let dir = Rc::new(self.open(parent, flags)?);
                self.last = Some((parent.to_vec(), Rc::clone(&dir)));
                dir
            }
        };
        let name = CString::new(name).map_err(|_| io::Error::from(Errno::INVAL))?;
        Ok(Spot { dir, name })
    }

    /// Opens what is at `path`; the top for an empty one.
    pub(super) fn open(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        open(self.top, path, flags, Mode::empty())
    }
}

impl Spot {
    /// Opens what is there, or makes a file there with `OFlags::CREATE`.
    pub(super) fn open(&self, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        open(&*self.dir, self.name.as_bytes(), flags, mode)
    }
}

fn open(
    top: impl std::os::fd::AsFd,
    path: &[u8],
    flags: OFlags,
    mode: Mode,
) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if path.is_empty() {
        return Ok(openat(top, c".", flags, mode)?);
    }
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    let path = Path::new(OsStr::from_bytes(path));
    for _ in 0..TRIES {
        match openat2(&top, path, flags, mode, resolve) {
            Err(Errno::AGAIN) => {}
            done => return Ok(done?),
        }
    }
    Err(Errno::AGAIN.into())
}
