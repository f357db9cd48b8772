//! The comparison of two trees: both walked in one order, entry beside entry.
//!
//! It is complete, and the reference that every faster way is tested against: what is there, of
//! which kind, with which content, owner, mode and attributes. Times alone are no change.

use super::change::{Aspect, Change, What};
use crate::progress::{Progress, Watch};
use rustix::io::read;
use state_api::{Changes, Error, Result, View};
use state_linux::stat::{Kind, Stat, Time};
use state_linux::tree::{Boundary, Entry, Unreadable, Walk};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What differs between two trees.
#[derive(Debug, Default)]
pub struct Comparison {
    /// The differences, in component-wise byte order of their paths.
    pub changes: Vec<Change>,
    /// What could not be read on either side, and so was not compared.
    pub unreadable: Vec<Unreadable>,
}

/// Compares `new` with `old` (with nothing at all, if there is no old tree).
///
/// Paths are relative to the tops; the tops themselves are compared too, under the empty path.
/// What `leave_out` says of a path holds for everything below it. What is a mount point in the
/// new tree belongs to another filesystem and is passed over.
///
/// # Errors
/// [`Error::Interrupted`]. What cannot be read is part of the result.
pub fn compare<'w>(
    old: Option<&View>,
    new: &View,
    leave_out: &dyn Fn(&Path) -> bool,
    watch: impl Into<Watch<'w>>,
) -> Result<Comparison> {
    beside(
        Side::new(old.map(Walk::new)),
        Side::new(Some(Walk::new(new))),
        leave_out,
        watch.into(),
    )
}

/// The same comparison, of these places only: where an engine can tell that nothing else may
/// differ, the answer is the same, at the cost of what changed.
///
/// # Errors
/// As [`compare`].
pub fn compare_at<'w>(
    places: &Changes,
    old: &View,
    new: &View,
    leave_out: &dyn Fn(&Path) -> bool,
    watch: impl Into<Watch<'w>>,
) -> Result<Comparison> {
    // A walk of everything does not get below what is left out.
    let mut seen = Changes::none();
    for (path, extent) in places.places() {
        if !path.ancestors().any(leave_out) {
            seen.add(path.to_owned(), extent);
        }
    }
    beside(
        Side::new(Some(Walk::over(old, &seen))),
        Side::new(Some(Walk::over(new, &seen))),
        leave_out,
        watch.into(),
    )
}

fn beside(
    mut olds: Side<'_>,
    mut news: Side<'_>,
    leave_out: &dyn Fn(&Path) -> bool,
    watch: Watch<'_>,
) -> Result<Comparison> {
    let mut found = Found::default();
    loop {
        if watch.interrupt.is_set() {
            return Err(Error::Interrupted);
        }
        olds.look(&mut found.unreadable);
        news.look(&mut found.unreadable);
        let order = match (&olds.next, &news.next) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => in_walking_order(&old.path, &new.path),
        };
        let old = (order != Ordering::Greater)
            .then(|| olds.take(leave_out))
            .flatten();
        let new = (order != Ordering::Less)
            .then(|| news.take(leave_out))
            .flatten();
        if let Some(entry) = new.as_ref().or(old.as_ref()) {
            watch.progress.see(0, entry.path.as_os_str().as_bytes());
            watch.progress.advance(1);
        }
        match (old, new) {
            (old, Some(new)) if new.boundary == Some(Boundary::Mount) => {
                if old.is_some() {
                    olds.pass_over();
                }
            }
            (Some(old), Some(new)) => found.on_both_sides(&old, &new, watch.progress),
            (Some(old), None) => found.deleted(&old),
            // The top of a tree that is compared with nothing is there in any case.
            (None, Some(new)) if new.path.as_os_str().is_empty() => {}
            (None, Some(new)) => found.created(&new),
            (None, None) => {}
        }
    }
    found.pair_renames();
    Ok(Comparison {
        changes: found.changes,
        unreadable: found.unreadable,
    })
}

/// Component-wise byte order: `/` comes before every byte of a name.
fn in_walking_order(a: &Path, b: &Path) -> Ordering {
    let rank = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    let (a, b) = (a.as_os_str().as_bytes(), b.as_os_str().as_bytes());
    a.iter().map(rank).cmp(b.iter().map(rank))
}

/// One of the two walks, one entry ahead.
struct Side<'v> {
    walk: Option<Walk<'v>>,
    next: Option<Entry>,
}

impl<'v> Side<'v> {
    fn new(walk: Option<Walk<'v>>) -> Self {
        Self { walk, next: None }
    }

    fn look(&mut self, unreadable: &mut Vec<Unreadable>) {
        while let (None, Some(walk)) = (&self.next, &mut self.walk) {
            match walk.next() {
                Some(Ok(entry)) => self.next = Some(entry),
                Some(Err(error)) => unreadable.push(error),
                None => self.walk = None,
            }
        }
    }

    /// The entry that was looked at, unless it is to be left out with all that is in it.
    fn take(&mut self, leave_out: &dyn Fn(&Path) -> bool) -> Option<Entry> {
        let entry = self.next.take()?;
        if leave_out(&entry.path) {
            self.pass_over();
            return None;
        }
        Some(entry)
    }

    /// Does not go into the directory that was taken last.
    fn pass_over(&mut self) {
        if let Some(walk) = &mut self.walk {
            walk.prune();
        }
    }
}

/// What one inode keeps through renames, in a tree and in a later copy-on-write clone of it.
type Lineage = (u64, Time, Kind);

#[derive(Default)]
struct Found {
    changes: Vec<Change>,
    unreadable: Vec<Unreadable>,
    /// Where in `changes` the created and the deleted are, by lineage.
    created: BTreeMap<Lineage, usize>,
    deleted: BTreeMap<Lineage, usize>,
}

impl Found {
    fn created(&mut self, entry: &Entry) {
        if let Some(lineage) = lineage(&entry.stat) {
            self.created.insert(lineage, self.changes.len());
        }
        let link = self.link(entry);
        self.changes.push(change(entry, What::Created, link));
        self.note_boundary(entry);
    }

    fn deleted(&mut self, entry: &Entry) {
        if let Some(lineage) = lineage(&entry.stat) {
            self.deleted.insert(lineage, self.changes.len());
        }
        self.changes.push(change(entry, What::Deleted, None));
    }

    fn on_both_sides(&mut self, old: &Entry, new: &Entry, progress: &dyn Progress) {
        match aspects(old, new, progress) {
            Ok(aspects) if aspects.is_empty() => {}
            Ok(aspects) => {
                let link = self.link(new);
                self.changes
                    .push(change(new, What::Changed { aspects }, link));
            }
            Err(unreadable) => self.unreadable.push(unreadable),
        }
        // What stands for a volume is as empty in one as in the other.
        if !(old.is_hollow() && new.is_hollow()) {
            self.note_boundary(new);
        }
    }

    fn link(&mut self, entry: &Entry) -> Option<PathBuf> {
        (entry.stat.kind == Kind::Symlink)
            .then(|| entry.link_target())
            .and_then(|target| {
                target
                    .map(PathBuf::from)
                    .map_err(|error| self.unreadable.push(error))
                    .ok()
            })
    }

    fn note_boundary(&mut self, entry: &Entry) {
        if entry.boundary == Some(Boundary::Volume) {
            self.unreadable.push(Unreadable {
                path: entry.path.clone(),
                doing: "entering the nested volume",
                source: std::io::ErrorKind::Unsupported.into(),
                is_live: false,
            });
        }
    }

    /// A deleted and a created path of one inode are one renamed path, and what moved along with
    /// a renamed directory needs no mention of its own.
    fn pair_renames(&mut self) {
        let mut moved = BTreeMap::new();
        let mut gone = Vec::new();
        for (lineage, created) in &self.created {
            if let Some(deleted) = self.deleted.get(lineage) {
                let (from, to) = (&self.changes[*deleted], &self.changes[*created]);
                let is_same = to.kind == Kind::Directory
                    || (to.size_bytes, to.modified) == (from.size_bytes, from.modified);
                if is_same {
                    moved.insert(to.path.clone(), from.path.clone());
                    gone.push((*created, *deleted));
                }
            }
        }
        let mut is_told = vec![false; self.changes.len()];
        for (created, deleted) in gone {
            let to = self.changes[created].path.clone();
            let from = self.changes[deleted].path.clone();
            is_told[deleted] = true;
            is_told[created] = to.file_name() == from.file_name()
                && to
                    .parent()
                    .and_then(|parent| moved.get(parent).map(PathBuf::as_path))
                    == from.parent();
            self.changes[created].what = What::Renamed { from };
        }
        let mut is_told = is_told.into_iter();
        self.changes
            .retain(|_| !is_told.next().expect("one for each change"));
    }
}

fn lineage(stat: &Stat) -> Option<Lineage> {
    Some((stat.id.inode, stat.born?, stat.kind))
}

fn change(entry: &Entry, what: What, target: Option<PathBuf>) -> Change {
    let is_file = entry.stat.kind == Kind::File;
    Change {
        path: entry.path.clone(),
        what,
        kind: entry.stat.kind,
        target,
        size_bytes: if is_file { entry.stat.size } else { 0 },
        modified: entry.stat.modified,
        quiet: None,
    }
}

fn aspects(old: &Entry, new: &Entry, progress: &dyn Progress) -> Result<Vec<Aspect>, Unreadable> {
    let (a, b) = (&old.stat, &new.stat);
    if a.kind != b.kind {
        return Ok(vec![Aspect::Kind]);
    }
    let mut aspects = Vec::new();
    let mut differs = |aspect, differs: bool| aspects.extend(differs.then_some(aspect));
    match b.kind {
        Kind::File => differs(Aspect::Content, !has_same_content(old, new, progress)?),
        Kind::Symlink => differs(Aspect::Target, old.link_target()? != new.link_target()?),
        Kind::CharDevice | Kind::BlockDevice => {
            differs(Aspect::Target, a.device_number != b.device_number);
        }
        Kind::Directory | Kind::Fifo | Kind::Socket => {}
    }
    differs(Aspect::Mode, b.kind != Kind::Symlink && a.mode != b.mode);
    differs(Aspect::Owner, (a.uid, a.gid) != (b.uid, b.gid));
    if a.id != b.id {
        let (a, b) = (old.metadata()?, new.metadata()?);
        differs(
            Aspect::Xattr,
            (&a.xattrs, &a.access_acl, &a.default_acl)
                != (&b.xattrs, &b.access_acl, &b.default_acl),
        );
        differs(Aspect::Flags, a.flags != b.flags);
    }
    Ok(aspects)
}

fn has_same_content(old: &Entry, new: &Entry, progress: &dyn Progress) -> Result<bool, Unreadable> {
    if old.stat.size != new.stat.size {
        return Ok(false);
    }
    if old.stat.id == new.stat.id || old.stat.size == 0 {
        return Ok(true);
    }
    let path = new.path.as_os_str().as_bytes();
    let same = compare_bytes(old.open()?, new.open()?, &mut || progress.see(0, path));
    same.map_err(|source| Unreadable {
        path: new.path.clone(),
        doing: "comparing",
        source,
        is_live: false,
    })
}

/// Whether two files, read from where they stand, hold the same bytes.
///
/// # Errors
/// Either cannot be read.
pub fn same_bytes(a: impl AsFd, b: impl AsFd) -> std::io::Result<bool> {
    compare_bytes(a, b, &mut || {})
}

/// The same, with something to be done before every piece.
fn compare_bytes(a: impl AsFd, b: impl AsFd, meanwhile: &mut dyn FnMut()) -> std::io::Result<bool> {
    const BLOCK: usize = 128 << 10;
    let (mut left, mut right) = (vec![0; BLOCK], vec![0; BLOCK]);
    loop {
        meanwhile();
        let length = fill(&a, &mut left)?;
        if length != fill(&b, &mut right)? || left[..length] != right[..length] {
            return Ok(false);
        }
        if length < BLOCK {
            return Ok(true);
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: impl AsFd, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match read(&file, &mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests;
