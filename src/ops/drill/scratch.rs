//! Where a drill restores to: a directory that it makes and deletes again, and nothing else.

use crate::context::Context;
use crate::failure::Failure;
use crate::paths::Shown;
use crate::settings::Settings;
use anyhow::Context as _;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstatvfs, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use state_api::Error;
use state_linux::swap::{RESERVED, remove_tree};
use state_linux::tree::{self, DIRECTORY};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What it is called in a store's reserved directory, and in a directory that was named.
const IN_STORE: &str = "drill";
const ELSEWHERE: &str = "state-drill";
/// The file in it by which it is known, and what that says.
const MARKER: &str = "scratch-of-a-drill";
const MARK: &[u8] = b"`state drill` made this directory, and deletes it.\n";

/// Where scratch goes.
#[derive(Debug)]
pub(super) struct Place {
    /// The directory that it is made in.
    parent: PathBuf,
    name: &'static str,
    /// Whether that directory is ours, and made if it is missing.
    is_reserved: bool,
}

impl Place {
    /// In the directory `into`, else in the reserved one of the first store that is archived: what
    /// is proven is then that the machine's own disk can hold what was restored.
    pub(super) fn choose(
        cx: &Context,
        settings: &Settings,
        into: Option<&Path>,
    ) -> anyhow::Result<Self> {
        match (into, settings.first_archived()) {
            (Some(into), _) => {
                let into = std::path::absolute(into).context("resolving the directory")?;
                let real = std::fs::canonicalize(&into)
                    .map_err(|error| Error::os(format!("looking at {}", Shown(&into)), error))?;
                for store in settings.persist.keys() {
                    let store = cx.rooted(store);
                    if real.starts_with(std::fs::canonicalize(&store).unwrap_or(store.clone())) {
                        let fact = format!("{} lies in the store {}", Shown(&into), Shown(&store));
                        return Err(Failure::refused(fact)
                            .hint("choose another place, or none: then it is the store's own")
                            .into());
                    }
                }
                Ok(Self {
                    parent: real,
                    name: ELSEWHERE,
                    is_reserved: false,
                })
            }
            (None, Some(store)) => Ok(Self {
                parent: cx.rooted(store).join(RESERVED),
                name: IN_STORE,
                is_reserved: true,
            }),
            (None, None) => Err(
                Failure::usage("no store is declared here to restore beside")
                    .hint("say where there is room: --into DIR")
                    .into(),
            ),
        }
    }

    /// The directory that will be scratch.
    pub(super) fn path(&self) -> PathBuf {
        self.parent.join(self.name)
    }
}

/// Scratch. Whatever becomes of the drill, it is deleted; what is killed leaves it to the next.
#[derive(Debug)]
pub(super) struct Scratch {
    place: Place,
    parent: OwnedFd,
    dir: OwnedFd,
    is_gone: bool,
}

impl Scratch {
    /// Makes it, and deletes what a killed drill left there first. A directory that no drill made is
    /// left alone.
    pub(super) fn make(place: Place) -> anyhow::Result<Self> {
        let path = place.path();
        let doing = || format!("making {}", Shown(&path));
        let wrong = |errno: Errno| Error::os(doing(), errno);
        if place.is_reserved {
            match mkdirat(CWD, &place.parent, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(wrong(errno).into()),
            }
        }
        let parent = openat(CWD, &place.parent, DIRECTORY, Mode::empty()).map_err(wrong)?;
        match openat(&parent, place.name, DIRECTORY, Mode::empty()) {
            Ok(left) => {
                if !is_ours(&left).with_context(doing)? {
                    let fact = format!("{} is there, and no drill made it", Shown(&path));
                    return Err(Failure::refused(fact)
                        .hint("move it away, or choose another place: --into DIR")
                        .into());
                }
                let clearing = || format!("clearing what a killed drill left in {}", Shown(&path));
                clear(&parent, &left, place.name).with_context(clearing)?;
            }
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(wrong(errno).into()),
        }
        mkdirat(&parent, place.name, Mode::RWXU).map_err(wrong)?;
        let dir = openat(&parent, place.name, DIRECTORY, Mode::empty()).map_err(wrong)?;
        let scratch = Self {
            place,
            parent,
            dir,
            is_gone: false,
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let marker = openat(&scratch.dir, MARKER, flags, Mode::RUSR | Mode::WUSR);
        let marked = marker.map_err(std::io::Error::from);
        let marked = marked.and_then(|marker| File::from(marker).write_all(MARK));
        marked.map_err(|error| Error::os(doing(), error))?;
        Ok(scratch)
    }

    /// The bytes that are free there.
    pub(super) fn free_bytes(&self) -> anyhow::Result<u64> {
        let free = fstatvfs(&self.dir);
        let free = free.map_err(|errno| Error::os("looking for room", errno))?;
        Ok(free.f_bavail.saturating_mul(free.f_frsize))
    }

    /// An empty directory in it for one store of an archive.
    pub(super) fn store(&self, n: usize) -> anyhow::Result<OwnedFd> {
        let name = format!("store-{n}");
        let made = mkdirat(&self.dir, &name, Mode::RWXU)
            .and_then(|()| openat(&self.dir, &name, DIRECTORY, Mode::empty()));
        Ok(made
            .map_err(|errno| Error::os(format!("making {}", Shown(&self.place.path())), errno))?)
    }

    /// Where it is.
    pub(super) fn path(&self) -> PathBuf {
        self.place.path()
    }

    /// The directory of a store, to be read.
    pub(super) fn opened(&self, n: usize) -> anyhow::Result<OwnedFd> {
        let open = openat(&self.dir, format!("store-{n}"), DIRECTORY, Mode::empty());
        Ok(open.map_err(|errno| Error::os("opening what was restored", errno))?)
    }

    /// Deletes what was restored, for the next archive.
    pub(super) fn empty(&self) -> anyhow::Result<()> {
        empty(&self.dir).with_context(|| format!("clearing {}", Shown(&self.place.path())))
    }

    /// Deletes it.
    pub(super) fn remove(mut self) -> anyhow::Result<()> {
        self.is_gone = true;
        clear(&self.parent, &self.dir, self.place.name)
            .with_context(|| format!("deleting {}", Shown(&self.place.path())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.is_gone {
            // Something else failed and is told; the next drill deletes what is left.
            clear(&self.parent, &self.dir, self.place.name).unwrap_or(());
        }
    }
}

/// Whether a drill made it: it has the marker, or nothing at all, as between two acts of a drill.
fn is_ours(dir: &OwnedFd) -> Result<bool, Error> {
    let wrong = |errno: Errno| Error::os("looking at what is there", errno);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match openat(dir, MARKER, flags, Mode::empty()) {
        Ok(marker) => {
            let mut text = Vec::new();
            let read = File::from(marker).take(1024).read_to_end(&mut text);
            // The disk was full, or the power went: a beginning is a sign enough.
            Ok(read.is_ok() && MARK.starts_with(&text))
        }
        Err(Errno::NOENT) => Ok(names(dir)?.is_empty()),
        Err(errno) => Err(wrong(errno)),
    }
}

fn names(dir: &OwnedFd) -> Result<Vec<std::ffi::CString>, Error> {
    let again = openat(dir, c".", DIRECTORY, Mode::empty());
    let again = again.map_err(|errno| Error::os("opening it again", errno))?;
    tree::names(&again).map_err(|error| Error::os("listing it", error))
}

fn empty(dir: &OwnedFd) -> Result<(), Error> {
    for name in names(dir)? {
        if name.as_bytes() != MARKER.as_bytes() {
            remove_tree(dir.as_fd(), OsStr::from_bytes(name.as_bytes()))?;
        }
    }
    Ok(())
}

/// The marker goes last: whoever is killed before leaves what the next drill knows.
fn clear(parent: &OwnedFd, dir: &OwnedFd, name: &str) -> Result<(), Error> {
    empty(dir)?;
    let gone = match unlinkat(dir, MARKER, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => unlinkat(parent, name, AtFlags::REMOVEDIR),
        failed => failed,
    };
    gone.map_err(|errno| Error::os("deleting it", errno))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn place(parent: &Path) -> Place {
        Place {
            parent: parent.to_owned(),
            name: ELSEWHERE,
            is_reserved: false,
        }
    }

    #[test]
    fn only_what_a_drill_made_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join(ELSEWHERE);
        let make = || Scratch::make(place(dir.path()));
        // Somebody else's, with the marker's name and another text too.
        fs::create_dir(&at).unwrap();
        for precious in ["precious", MARKER] {
            fs::write(at.join(precious), "precious").unwrap();
            let error = make().unwrap_err().to_string();
            assert!(error.ends_with("is there, and no drill made it"), "{error}");
            assert_eq!(fs::read(at.join(precious)).unwrap(), b"precious");
            fs::remove_file(at.join(precious)).unwrap();
        }
        fs::remove_dir(&at).unwrap();
        fs::write(dir.path().join("elsewhere"), "precious").unwrap();
        std::os::unix::fs::symlink(".", &at).unwrap();
        make().unwrap_err();
        fs::remove_file(&at).unwrap();

        // What is killed leaves everything; the next one begins anew, and leaves nothing.
        let killed = make().unwrap();
        killed.store(0).unwrap();
        fs::write(at.join("store-0/file"), "x").unwrap();
        std::mem::forget(killed);
        let next = make().unwrap();
        assert!(!at.join("store-0").exists() && at.join(MARKER).exists());
        next.store(0).unwrap();
        next.empty().unwrap();
        next.store(0).unwrap();
        next.remove().unwrap();
        assert!(!at.exists());
        // Killed between two acts, or failing.
        fs::create_dir(&at).unwrap();
        drop(make().unwrap());
        assert!(!at.exists());
        assert_eq!(fs::read(dir.path().join("elsewhere")).unwrap(), b"precious");
    }
}
