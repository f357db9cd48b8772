//! What single paths replaced, kept in directories of the store's reserved one.

use super::path::{beneath, directory};
use crate::archive::manifest::Bytes;
use crate::archive::member::path_of;
use crate::context::Context;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, openat, renameat_with, unlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use state_api::{Error, Result};
use state_linux::stat::Stat;
use state_linux::swap::{RESERVED, remove_tree};
use state_linux::tree::DIRECTORY;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How the directories begin that keep what single paths replaced.
pub(super) const BEFORE: &str = "before-";
/// In such a directory, what it keeps. `.state` at the top is nobody's path.
const NOTE: &str = "replaced.json";
/// The same before the exchange: whether that was made is seen by what is kept.
const BEGUN: &str = "replacing.json";
const MOST_BYTES: u64 = 64 << 10;

/// What one restore of a path replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Replaced {
    format: u32,
    /// When, in seconds since 1970.
    time: i64,
    /// What, relative to the store.
    path: Bytes,
    /// The inode of what comes in.
    #[serde(default)]
    incoming: u64,
}

impl Replaced {
    /// Notes in the stage that it is about to be exchanged with what is at `path`, and then holds that.
    pub(super) fn begin(cx: &Context, stage: &OwnedFd, path: &[u8]) -> Result<()> {
        let doing = |e| Error::os("noting what is replaced", e);
        let note = Self {
            format: 1,
            time: cx.now.timestamp(),
            path: Bytes(path.to_vec()),
            incoming: inode_at(stage.as_fd(), path).map_err(doing)?,
        };
        let dir = directory(stage.as_fd(), RESERVED)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file =
            openat(&dir, BEGUN, flags, Mode::RUSR | Mode::WUSR).map_err(|e| doing(e.into()))?;
        let text = serde_json::to_vec(&note).expect("a note is JSON");
        File::from(file).write_all(&text).map_err(doing)
    }

    /// Notes that `kept` holds what was replaced, whatever is exchanged with it later.
    pub(super) fn end(kept: &OwnedFd) -> rustix::io::Result<()> {
        let note = |name| Path::new(RESERVED).join(name);
        match renameat_with(kept, note(BEGUN), kept, note(NOTE), RenameFlags::NOREPLACE) {
            Err(Errno::NOENT) => Ok(()), // noted already
            noted => noted,
        }
    }

    fn read(kept: BorrowedFd<'_>) -> Option<Self> {
        Self::read_as(kept, NOTE).or_else(|| {
            let note = Self::read_as(kept, BEGUN)?;
            let inode = inode_at(kept, &note.path.0).ok()?;
            (inode != note.incoming).then_some(note)
        })
    }

    fn read_as(kept: BorrowedFd<'_>, name: &str) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = openat(kept, Path::new(RESERVED).join(name), flags, Mode::empty()).ok()?;
        let mut text = Vec::new();
        let mut file = File::from(file).take(MOST_BYTES);
        file.read_to_end(&mut text).ok()?;
        let note: Self = serde_json::from_slice(&text).ok()?;
        let name = [b"./", note.path.0.as_slice()].concat();
        let is_path = !note.path.0.is_empty() && path_of(&name).is_ok();
        (note.format == 1 && is_path).then_some(note)
    }
}

/// The inode at `path` below `dir`.
fn inode_at(dir: BorrowedFd<'_>, path: &[u8]) -> io::Result<u64> {
    let (parent, name) = split(path);
    Ok(Stat::of(beneath(dir, parent)?, name)?.id.inode)
}

/// A path's directory, and its name in it.
fn split(path: &[u8]) -> (&[u8], &OsStr) {
    let (parent, name) = match path.iter().rposition(|b| *b == b'/') {
        Some(cut) => (&path[..cut], &path[cut + 1..]),
        None => (&path[..0], path),
    };
    (parent, OsStr::from_bytes(name))
}

/// Deletes what runs left that were interrupted before they exchanged anything: it is out of an
/// archive, and was never in place.
pub(super) fn clear_begun(reserved: &OwnedFd) -> Result<()> {
    for name in befores(reserved)? {
        let Ok(kept) = openat(reserved, &name, DIRECTORY, Mode::empty()) else {
            continue;
        };
        let is_begun = Replaced::read_as(kept.as_fd(), BEGUN).is_some();
        if is_begun && Replaced::read(kept.as_fd()).is_none() {
            remove_tree(reserved, OsStr::new(&name))?;
        }
    }
    Ok(())
}

/// After a whole tree was replaced, what single paths replaced before is older than that: it stays
/// where it is, and is no longer the last.
pub(in crate::ops) fn forget_paths(store: &Path) -> Result<()> {
    let Some(reserved) = reserved(store)? else {
        return Ok(());
    };
    for name in befores(&reserved)? {
        for note in [NOTE, BEGUN] {
            let note = Path::new(&name).join(RESERVED).join(note);
            match unlinkat(&reserved, &note, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(Error::os(format!("forgetting {name}"), errno)),
            }
        }
    }
    Ok(())
}

fn reserved(store: &Path) -> Result<Option<OwnedFd>> {
    match rustix::fs::open(store.join(RESERVED), DIRECTORY, Mode::empty()) {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::os(format!("opening {RESERVED}"), errno)),
    }
}

fn befores(reserved: &OwnedFd) -> Result<Vec<String>> {
    let os = |e| Error::os(format!("listing {RESERVED}"), e);
    let dir = openat(reserved, c".", DIRECTORY, Mode::empty()).map_err(|e| os(e.into()))?;
    let names = state_linux::tree::names(dir).map_err(os)?;
    let names = names.into_iter().filter_map(|name| name.into_string().ok());
    Ok(names.filter(|name| name.starts_with(BEFORE)).collect())
}

/// What one restore of a path replaced, where it is kept.
pub(super) struct Before {
    reserved: OwnedFd,
    name: String,
    replaced: Replaced,
}

impl Before {
    /// The last one in the store.
    pub(super) fn last(store: &Path) -> Result<Option<Self>> {
        let Some(reserved) = reserved(store)? else {
            return Ok(None);
        };
        let mut last: Option<(Replaced, String)> = None;
        for name in befores(&reserved)? {
            let Ok(kept) = openat(&reserved, &name, DIRECTORY, Mode::empty()) else {
                continue;
            };
            let Some(replaced) = Replaced::read(kept.as_fd()) else {
                continue;
            };
            let age = |(replaced, name): &(Replaced, String)| (replaced.time, name.clone());
            let candidate = (replaced, name);
            if last.as_ref().is_none_or(|last| age(last) < age(&candidate)) {
                last = Some(candidate);
            }
        }
        Ok(last.map(|(replaced, name)| Self {
            reserved,
            name,
            replaced,
        }))
    }

    /// Its place in the store.
    pub(super) fn place(&self, store: &Path) -> PathBuf {
        store.join(OsStr::from_bytes(&self.replaced.path.0))
    }

    /// Exchanges what is kept with what is in its place; if nothing is there, moves it there.
    pub(super) fn put_back(&self, store: &Path) -> rustix::io::Result<()> {
        let top = rustix::fs::open(store, DIRECTORY, Mode::empty())?;
        let kept = openat(&self.reserved, &self.name, DIRECTORY, Mode::empty())?;
        Replaced::end(&kept)?;
        let (parent, name) = split(&self.replaced.path.0);
        let (from, to) = (
            beneath(kept.as_fd(), parent)?,
            beneath(top.as_fd(), parent)?,
        );
        match renameat_with(&from, name, &to, name, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => renameat_with(&from, name, &to, name, RenameFlags::EXCHANGE)?,
            done => done?,
        }
        rustix::fs::syncfs(&top)
    }
}
