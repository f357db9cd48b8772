//! Looking at one entry: what is at its path, what is in its store. Changes nothing.

use super::anchors::Anchors;
use super::entry::{Entry, EntryKind, Method, Ownership};
use super::seen::{
    Copies, Hidden, Live, MachineId, MachineIds, Obstacle, Parent, Print, Seen, Source, Stamp,
};
use crate::anchor::Found;
use crate::diff::{self, What};
use crate::view;
use state_api::{Interrupt, Result, View};
use state_linux::stat::{Kind, Stat};
use state_linux::tree::{Boundary, Walk};
use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The blank tree, opened when it is first asked for: mostly nobody asks.
pub struct Blank<'a> {
    open: Box<dyn Fn() -> Option<View> + 'a>,
    view: OnceCell<Option<View>>,
}

impl<'a> Blank<'a> {
    /// A blank that `open` opens, if there is one that can be read.
    pub fn new(open: impl Fn() -> Option<View> + 'a) -> Self {
        Self {
            open: Box::new(open),
            view: OnceCell::new(),
        }
    }

    /// No blank is known.
    pub fn none() -> Self {
        Self::new(|| None)
    }

    fn view(&self) -> Option<&View> {
        self.view.get_or_init(&self.open).as_ref()
    }
}

impl fmt::Debug for Blank<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blank")
            .field("view", &self.view)
            .finish_non_exhaustive()
    }
}

/// Looks at one entry.
///
/// `at` says where a path of the machine is to be looked for now: where it is, or in the store
/// while an entry around it has not been put in place yet.
///
/// # Errors
/// [`state_api::Error::Interrupted`] alone: what cannot be looked at is a finding.
pub fn survey(
    anchors: &Anchors,
    entry: &Entry,
    at: &dyn Fn(&Path) -> PathBuf,
    blank: &Blank<'_>,
    interrupt: &dyn Interrupt,
) -> Result<Seen> {
    let (source, stored) = source(anchors, entry);
    let live = live(
        anchors,
        entry,
        &at(&entry.path),
        stored.as_ref(),
        blank,
        interrupt,
    )?;
    let needs_parents = live == Live::Missing || source == Source::Missing;
    let parents = entry.parents().map(|path| Parent {
        path: path.to_owned(),
        live: directory(anchors, &at(path)),
        stored: directory(anchors, &super::below(&entry.store, path)),
    });
    let machine_ids = (entry.method == Method::MachineId).then(|| MachineIds {
        live: machine_id(anchors, &at(&entry.path)),
        stored: machine_id(anchors, &entry.source()),
    });
    Ok(Seen {
        parents: if needs_parents {
            parents.collect()
        } else {
            Vec::new()
        },
        copies: copies(anchors, entry, &at(&entry.path), (&live, &source)),
        live,
        source,
        machine_ids,
    })
}

/// The two files of a copied entry, if there are such and no others. What cannot be read is told
/// by `live` and `source`.
fn copies(
    anchors: &Anchors,
    entry: &Entry,
    at: &Path,
    (live, source): (&Live, &Source),
) -> Option<Copies> {
    if entry.method != Method::Copy {
        return None;
    }
    let is_file = |is: bool, path| -> io::Result<Option<Print>> {
        match is {
            true => super::copies::print(anchors, path),
            false => Ok(None),
        }
    };
    let is_live = matches!(
        live,
        Live::Empty(EntryKind::File, ..) | Live::Full(EntryKind::File, ..)
    );
    let is_stored = matches!(source, Source::Present(EntryKind::File, _));
    Some(Copies {
        live: is_file(is_live, at).ok()?,
        stored: is_file(is_stored, &entry.source()).ok()?,
        agreed: None,
    })
}

fn ownership(stat: &Stat) -> Ownership {
    Ownership {
        uid: stat.uid,
        gid: stat.gid,
        mode: stat.mode,
    }
}

pub(super) fn stamp(stat: &Stat) -> Stamp {
    Stamp {
        inode: stat.id.inode,
        size: stat.size,
        modified: (stat.modified.seconds, stat.modified.nanoseconds),
    }
}

fn what_else(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "a file",
        Kind::Directory => "a directory",
        Kind::Symlink => "a symlink",
        Kind::Fifo => "a fifo",
        Kind::Socket => "a socket",
        Kind::CharDevice | Kind::BlockDevice => "a device",
    }
}

fn entry_kind(kind: Kind) -> Result<EntryKind, &'static str> {
    match kind {
        Kind::File => Ok(EntryKind::File),
        Kind::Directory => Ok(EntryKind::Directory),
        other => Err(what_else(other)),
    }
}

fn find(anchors: &Anchors, path: &Path) -> Result<Found, String> {
    let (anchor, rest) = anchors.locate(path).map_err(|error| error.to_string())?;
    anchor.find(rest).map_err(|error| error.to_string())
}

/// A parent behind which nothing can be reached, with its path as on the machine.
fn obstacle(path: &Path, parent: &Path, kind: Kind) -> Obstacle {
    let at = path
        .ancestors()
        .find(|above| above.ends_with(parent))
        .unwrap_or(path);
    Obstacle {
        at: at.to_owned(),
        is: what_else(kind),
    }
}

fn source(anchors: &Anchors, entry: &Entry) -> (Source, Option<Stat>) {
    let path = entry.source();
    match find(anchors, &path) {
        Err(why) => (Source::Unreadable(why), None),
        Ok(Found::Missing) => (Source::Missing, None),
        Ok(Found::Behind(parent, kind)) => (Source::Behind(obstacle(&path, &parent, kind)), None),
        Ok(Found::Here(_, stat)) => match entry_kind(stat.kind) {
            Ok(kind) => (Source::Present(kind, ownership(&stat)), Some(stat)),
            Err(other) => (Source::Other(other), None),
        },
    }
}

fn directory(anchors: &Anchors, path: &Path) -> Option<Ownership> {
    match find(anchors, path) {
        Ok(Found::Here(_, stat)) => Some(ownership(&stat)),
        _ => None,
    }
}

fn live(
    anchors: &Anchors,
    entry: &Entry,
    at: &Path,
    stored: Option<&Stat>,
    blank: &Blank<'_>,
    interrupt: &dyn Interrupt,
) -> Result<Live> {
    let stat = match find(anchors, at) {
        Err(why) => return Ok(Live::Unreadable(why)),
        Ok(Found::Missing) => return Ok(Live::Missing),
        Ok(Found::Behind(parent, kind)) => return Ok(Live::Behind(obstacle(at, &parent, kind))),
        Ok(Found::Here(_, stat)) => stat,
    };
    let is_bound = matches!(entry.method, Method::Bind | Method::Copy);
    if stored.is_some_and(|stored| stored.id == stat.id) && is_bound {
        return Ok(Live::InPlace);
    }
    if stat.is_mount_point && entry.method != Method::MachineId {
        let is_of_store = stored.is_some_and(|stored| stored.id.device == stat.id.device);
        return Ok(if is_of_store {
            Live::Outdated
        } else {
            Live::Mounted
        });
    }
    let looked = match stat.kind {
        Kind::Symlink => link_target(anchors, at).map(|target| {
            let is_right = entry.method == Method::Symlink && target == entry.source();
            if is_right {
                Live::InPlace
            } else {
                Live::Link(target)
            }
        }),
        Kind::File if stat.size == 0 => {
            Ok(Live::Empty(EntryKind::File, ownership(&stat), stamp(&stat)))
        }
        Kind::File => hidden_file(anchors, entry, at, blank)
            .map(|hidden| Live::Full(EntryKind::File, hidden, stamp(&stat))),
        Kind::Directory => {
            let found = hidden_directory(anchors, entry, at, blank, interrupt);
            match found {
                Err(Failed::Interrupted(error)) => return Err(error),
                Err(Failed::Unreadable(error)) => Err(error),
                Ok(None) => Ok(Live::Empty(
                    EntryKind::Directory,
                    ownership(&stat),
                    stamp(&stat),
                )),
                Ok(Some(hidden)) => Ok(Live::Full(EntryKind::Directory, hidden, stamp(&stat))),
            }
        }
        other => Ok(Live::Other(what_else(other))),
    };
    Ok(looked.unwrap_or_else(|error| Live::Unreadable(error.to_string())))
}

fn link_target(anchors: &Anchors, path: &Path) -> io::Result<PathBuf> {
    let (anchor, rest) = anchors.locate(path).map_err(io::Error::other)?;
    anchor.link_target(rest)
}

fn hidden_file(
    anchors: &Anchors,
    entry: &Entry,
    at: &Path,
    blank: &Blank<'_>,
) -> io::Result<Hidden> {
    let open = |path: &Path| {
        let (anchor, rest) = anchors.locate(path).map_err(io::Error::other)?;
        anchor.read(rest)
    };
    let is_file = |found: io::Result<Found>| matches!(found, Ok(Found::Here(_, stat)) if stat.kind == Kind::File);
    let source = entry.source();
    if is_file(find(anchors, &source).map_err(io::Error::other))
        && diff::same_bytes(open(at)?, open(&source)?)?
    {
        return Ok(Hidden::InStore);
    }
    let path = relative(&entry.path);
    if let Some(view) = blank.view()
        && is_file(view::find(view, path))
    {
        let (anchor, rest) = view::anchor(view, path)?;
        if diff::same_bytes(open(at)?, anchor.read(&rest)?)? {
            return Ok(Hidden::InBlank);
        }
    }
    Ok(Hidden::Nowhere {
        example: entry.path.clone(),
        count: 1,
    })
}

enum Failed {
    Interrupted(state_api::Error),
    Unreadable(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// Where the content of a directory would still be found; `None` if it has none.
fn hidden_directory(
    anchors: &Anchors,
    entry: &Entry,
    at: &Path,
    blank: &Blank<'_>,
    interrupt: &dyn Interrupt,
) -> Result<Option<Hidden>, Failed> {
    let open = |path: &Path| -> io::Result<View> {
        let (anchor, rest) = anchors.locate(path).map_err(io::Error::other)?;
        Ok(View::live(anchor.directory(rest)?.into()))
    };
    let live = open(at)?;
    if state_linux::tree::names(&live.dir)?.is_empty() {
        return Ok(None);
    }
    let is_mounted = Walk::new(&live)
        .flatten()
        .find(|found| found.boundary == Some(Boundary::Mount));
    if let Some(mounted) = is_mounted {
        let example = entry.path.join(mounted.path);
        return Ok(Some(Hidden::Nowhere { example, count: 1 }));
    }
    // What one of the two trees does not hold just so.
    let lacking = |other: Option<&View>| -> Result<BTreeSet<PathBuf>, Failed> {
        let found =
            diff::compare(other, &live, &|_| false, interrupt).map_err(Failed::Interrupted)?;
        let changed = (found.changes.into_iter())
            .filter(|change| change.what != What::Deleted)
            .map(|change| change.path);
        let unread = found
            .unreadable
            .into_iter()
            .map(|unreadable| unreadable.path);
        Ok(changed
            .chain(unread)
            .filter(|path| !path.as_os_str().is_empty())
            .collect())
    };
    let mut nowhere = lacking(open(&entry.source()).ok().as_ref())?;
    if nowhere.is_empty() {
        return Ok(Some(Hidden::InStore));
    }
    if let Some(view) = blank.view() {
        let installed = view::subtree(view, relative(&entry.path)).ok();
        let lacking = lacking(installed.as_ref())?;
        nowhere.retain(|path| lacking.contains(path));
    }
    Ok(Some(match nowhere.first() {
        None => Hidden::InBlank,
        Some(first) => Hidden::Nowhere {
            example: entry.path.join(first),
            count: nowhere.len(),
        },
    }))
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn machine_id(anchors: &Anchors, path: &Path) -> MachineId {
    let read = || {
        let (anchor, rest) = anchors.locate(path).map_err(io::Error::other)?;
        let mut text = Vec::new();
        let file = std::fs::File::from(anchor.read(rest)?);
        io::Read::read_to_end(&mut io::Read::take(file, 4096), &mut text)?;
        Ok::<_, io::Error>(MachineId::parse(&text))
    };
    match read() {
        Ok(id) => id,
        Err(error) if error.kind() == io::ErrorKind::NotFound => MachineId::None,
        Err(_) => MachineId::Strange,
    }
}
