//! `state undo`: what a restore replaced is put back, and what the restore had put in place is kept
//! in its stead.

use super::done::Done;
use super::path::{beneath, directory, refuse_if_used};
use crate::archive::manifest::Bytes;
use crate::archive::member::path_of;
use crate::config;
use crate::context::Context;
use crate::engine;
use crate::failure::Failure;
use anyhow::Context as _;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, openat, renameat_with, unlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use state_api::{Error, Result, SnapshotStore};
use state_linux::swap::RESERVED;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How the directories begin that keep what single paths replaced.
pub(super) const BEFORE: &str = "before-";
/// In such a directory, what it keeps. `.state` at the top is nobody's path.
const NOTE: &str = "replaced.json";
const MOST_BYTES: u64 = 64 << 10;

/// What `state undo` put back.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Undone {
    /// The stores, or paths in stores, that are again what they were.
    #[serde(serialize_with = "crate::paths::serialize_all")]
    pub stores: Vec<PathBuf>,
    /// Whether it was done; a dry run stops before.
    pub executed: bool,
}

/// What one restore of a path replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Replaced {
    format: u32,
    /// When, in seconds since 1970.
    time: i64,
    /// What, relative to the store.
    path: Bytes,
}

impl Replaced {
    /// Notes in `kept` that it holds what was at `path`: it can be put back from now on.
    pub(super) fn note(cx: &Context, kept: &OwnedFd, path: &[u8]) -> Result<()> {
        let note = Self {
            format: 1,
            time: cx.now.timestamp(),
            path: Bytes(path.to_vec()),
        };
        let doing = |e| Error::os("noting what was replaced", e);
        let dir = directory(kept.as_fd(), RESERVED)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file =
            openat(&dir, NOTE, flags, Mode::RUSR | Mode::WUSR).map_err(|e| doing(e.into()))?;
        let text = serde_json::to_vec(&note).expect("a note is JSON");
        File::from(file).write_all(&text).map_err(doing)
    }

    fn read(kept: BorrowedFd<'_>) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = openat(kept, Path::new(RESERVED).join(NOTE), flags, Mode::empty()).ok()?;
        let mut text = Vec::new();
        let mut file = File::from(file).take(MOST_BYTES);
        file.read_to_end(&mut text).ok()?;
        let note: Self = serde_json::from_slice(&text).ok()?;
        let name = [b"./", note.path.0.as_slice()].concat();
        let is_path = !note.path.0.is_empty() && path_of(&name).is_ok();
        (note.format == 1 && is_path).then_some(note)
    }
}

/// What can be put back in one store.
enum Kept {
    /// The whole tree.
    Tree(Box<dyn SnapshotStore>),
    /// One path, in this directory.
    Path {
        reserved: OwnedFd,
        name: String,
        replaced: Replaced,
    },
}

/// Puts back what the last restore replaced, be it a tree or one path: in the store at `dir`, or
/// in every store that has something to put back.
///
/// # Errors
/// There is nothing to put back, or it is in use.
pub fn undo(cx: &Context, dir: Option<&Path>) -> anyhow::Result<Undone> {
    let candidates: Vec<PathBuf> = match dir {
        Some(dir) => vec![std::path::absolute(dir).context("resolving the directory")?],
        None => {
            let settings = config::load(cx)?;
            let stores = settings.persist.keys();
            stores.map(|store| cx.rooted(store)).collect()
        }
    };
    let mut found = Vec::new();
    for store in candidates {
        let doing = || format!("looking at the store {}", store.display());
        // A tree that is exchanged takes such directories with it: what is here came later.
        if let Some(kept) = last_path(&store).with_context(doing)? {
            found.push((store, kept));
            continue;
        }
        let engine = engine::store(&store).with_context(doing)?;
        if engine.survey().with_context(doing)?.has_replaced {
            found.push((store, Kept::Tree(engine)));
        }
    }
    if found.is_empty() {
        return Err(Failure::refused("no restore has replaced anything that is still kept").into());
    }
    let what = |(store, kept): &(PathBuf, Kept)| match kept {
        Kept::Tree(_) => store.clone(),
        Kept::Path { replaced, .. } => store.join(OsStr::from_bytes(&replaced.path.0)),
    };
    let undone = Undone {
        stores: found.iter().map(what).collect(),
        executed: !cx.dry_run,
    };
    if cx.dry_run {
        return Ok(undone);
    }
    let _lock = cx.lock()?;
    for ((store, kept), place) in found.iter_mut().zip(&undone.stores) {
        let doing = || format!("putting {} back", place.display());
        match kept {
            Kept::Tree(engine) => {
                Done::forget(store).with_context(doing)?;
                engine.exchange_back().with_context(doing)?;
            }
            Kept::Path {
                reserved,
                name,
                replaced,
            } => {
                refuse_if_used(place)?;
                put_back(store, reserved, name, &replaced.path.0)
                    .map_err(|e| Error::os(doing(), e))?;
            }
        }
    }
    Ok(undone)
}

/// After a whole tree was replaced, what single paths replaced before is older than that: it stays
/// where it is, and is no longer the last.
pub(super) fn forget_paths(store: &Path) -> Result<()> {
    let Some(reserved) = reserved(store)? else {
        return Ok(());
    };
    for name in befores(&reserved)? {
        let note = Path::new(&name).join(RESERVED).join(NOTE);
        match unlinkat(&reserved, &note, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(Error::os(format!("forgetting {name}"), errno)),
        }
    }
    Ok(())
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

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

/// The last path that a restore replaced.
fn last_path(store: &Path) -> Result<Option<Kept>> {
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
    Ok(last.map(|(replaced, name)| Kept::Path {
        reserved,
        name,
        replaced,
    }))
}

/// Exchanges what is kept with what is in its place; if nothing is there, moves it there.
fn put_back(store: &Path, reserved: &OwnedFd, name: &str, path: &[u8]) -> rustix::io::Result<()> {
    let top = rustix::fs::open(store, DIRECTORY, Mode::empty())?;
    let kept = openat(reserved, name, DIRECTORY, Mode::empty())?;
    let cut = path.iter().rposition(|b| *b == b'/');
    let (parent, name) = match cut {
        Some(cut) => (&path[..cut], &path[cut + 1..]),
        None => (&path[..0], path),
    };
    let (from, to) = (
        beneath(kept.as_fd(), parent)?,
        beneath(top.as_fd(), parent)?,
    );
    let name = OsStr::from_bytes(name);
    match renameat_with(&from, name, &to, name, RenameFlags::NOREPLACE) {
        Err(Errno::EXIST) => renameat_with(&from, name, &to, name, RenameFlags::EXCHANGE)?,
        done => done?,
    }
    rustix::fs::syncfs(&top)
}
