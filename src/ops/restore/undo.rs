//! `state undo`: what a restore replaced is put back, and what the restore had put in place is kept
//! in its stead.

use super::done::Done;
use super::path::{beneath, directory, refuse_if_used};
use super::swap::user_of;
use crate::archive::manifest::Bytes;
use crate::archive::member::path_of;
use crate::config;
use crate::context::Context;
use crate::engine;
use crate::failure::Failure;
use crate::ops::belongings;
use crate::ops::waiting::{self, Note, What};
use anyhow::Context as _;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, openat, renameat_with, unlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use state_api::{Error, Incoming, Result, SnapshotStore};
use state_linux::stat::Stat;
use state_linux::swap::{RESERVED, remove_tree};
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

/// What `state undo` put back.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Undone {
    /// The stores, or paths in stores.
    pub stores: Vec<Undo>,
    /// Whether it was done; a dry run stops before.
    pub executed: bool,
}

/// A store, or a path in one, that is what it was, or will be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Undo {
    /// Where.
    #[serde(serialize_with = "crate::paths::serialize")]
    pub path: PathBuf,
    /// How.
    #[serde(flatten)]
    pub how: How,
}

/// How something is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "how")]
pub enum How {
    /// It is put back now.
    Now,
    /// The next boot puts it back.
    AtBoot {
        /// Who uses it until then.
        waits_for: String,
    },
    /// What waited for the next boot was dropped.
    Dropped,
    /// The next boot does not put it back any more.
    CalledOff,
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

/// What can be put back in one store.
enum Kept {
    /// The whole tree.
    Tree(Box<dyn SnapshotStore>, How),
    /// One path, in this directory.
    Path {
        reserved: OwnedFd,
        name: String,
        replaced: Replaced,
    },
}

/// Puts back what the last restore replaced, be it a tree or one path: in the store at `dir`, or
/// in every store that has something to put back. What waits for the next boot is called off. A
/// declared store that is in use is put back by the next boot, unless it has to be `now`.
///
/// # Errors
/// There is nothing to put back, or it is in use and cannot wait for a boot.
pub fn undo(cx: &Context, dir: Option<&Path>, now: bool) -> anyhow::Result<Undone> {
    let declared = || -> anyhow::Result<Vec<PathBuf>> {
        let settings = config::load(cx)?;
        let stores = settings.persist.keys();
        Ok(stores.map(|store| cx.rooted(store)).collect())
    };
    let (candidates, waiting_ones) = match dir {
        Some(dir) => {
            let dir = std::path::absolute(dir).context("resolving the directory")?;
            (vec![dir], declared().unwrap_or_default())
        }
        None => (declared()?, declared()?),
    };
    let _lock = (!cx.dry_run).then(|| cx.lock()).transpose()?;
    let mut found = Vec::new();
    for store in candidates {
        let doing = || format!("looking at the store {}", store.display());
        let mut engine = engine::store(&store).with_context(doing)?;
        if !cx.dry_run {
            engine.recover().with_context(doing)?;
        }
        let kept = match engine.waiting().with_context(doing)? {
            Some(Incoming::Staged) => Some(Kept::Tree(engine, How::Dropped)),
            // Undone already, only not yet: then it is now, or never.
            Some(Incoming::Replaced) if now => Some(Kept::Tree(engine, How::Now)),
            Some(Incoming::Replaced) => Some(Kept::Tree(engine, How::CalledOff)),
            // Noted, and gone: there is nothing to call off but the note.
            None if Note::read(&store).is_some() => Some(Kept::Tree(engine, How::Dropped)),
            None => {
                let can_wait = !now && waiting_ones.contains(&store);
                last(&store, engine, can_wait).with_context(doing)?
            }
        };
        found.extend(kept.map(|kept| (store, kept)));
    }
    if found.is_empty() {
        return Err(Failure::refused("no restore has replaced anything that is still kept").into());
    }
    wait_together(&mut found, &waiting_ones);
    let what = |(store, kept): &(PathBuf, Kept)| match kept {
        Kept::Tree(_, how) => Undo {
            path: store.clone(),
            how: how.clone(),
        },
        Kept::Path { replaced, .. } => Undo {
            path: store.join(OsStr::from_bytes(&replaced.path.0)),
            how: How::Now,
        },
    };
    let undone = Undone {
        stores: found.iter().map(what).collect(),
        executed: !cx.dry_run,
    };
    if cx.dry_run {
        return Ok(undone);
    }
    for ((store, kept), undo) in found.iter_mut().zip(&undone.stores) {
        let place = &undo.path;
        let doing = || format!("putting {} back", place.display());
        match kept {
            Kept::Tree(engine, how) => {
                put_tree_back(cx, &mut **engine, store, how).with_context(doing)?;
                if *how == How::Now {
                    belongings::bring(&**engine, store).with_context(doing)?;
                }
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

/// What belongs together goes back together: if one tree waits for the next boot, so do all that can.
fn wait_together(found: &mut [(PathBuf, Kept)], waiting_ones: &[PathBuf]) {
    let user = found.iter().find_map(|(_, kept)| match kept {
        Kept::Tree(_, How::AtBoot { waits_for }) => Some(waits_for.clone()),
        _ => None,
    });
    let Some(waits_for) = user else {
        return;
    };
    for (store, kept) in found {
        if let Kept::Tree(_, how @ How::Now) = kept
            && waiting_ones.contains(store)
        {
            let waits_for = waits_for.clone();
            *how = How::AtBoot { waits_for };
        }
    }
}

/// What the last restore replaced in the store at `store`.
fn last(store: &Path, engine: Box<dyn SnapshotStore>, can_wait: bool) -> Result<Option<Kept>> {
    // A tree that is exchanged takes such directories with it: what is here came later.
    if let Some(kept) = last_path(store)? {
        return Ok(Some(kept));
    }
    if !engine.survey()?.has_replaced {
        return Ok(None);
    }
    let user = match can_wait {
        true => user_of(engine.demand_unused())?,
        false => None,
    };
    let how = user.map_or(How::Now, |waits_for| How::AtBoot { waits_for });
    Ok(Some(Kept::Tree(engine, how)))
}

fn put_tree_back(
    cx: &Context,
    engine: &mut dyn SnapshotStore,
    store: &Path,
    how: &How,
) -> Result<()> {
    match how {
        How::Now if engine.waiting()?.is_some() => waiting::exchange(engine, store),
        How::Now => {
            Done::forget(store)?;
            engine.exchange_back().map(drop)
        }
        How::AtBoot { .. } => waiting::postpone(cx, engine, store, What::Undo),
        How::CalledOff => waiting::call_off(engine, store),
        How::Dropped => {
            waiting::call_off(engine, store)?;
            engine.discard_staged().map(drop)
        }
    }
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
    Replaced::end(&kept)?;
    let (parent, name) = split(path);
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
