//! What an archive keeps of the one it builds on: records, whose members are there.

use super::Input;
use super::notes::Notes;
use super::since::{Before, Since};
use super::unit::Kept;
use crate::archive::Result;
use crate::archive::manifest::{Record, What, above, order};
use crate::archive::older::{Older, Spots};
use state_api::Extent;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The records that are kept, in order.
///
/// The tree may have changed since it was compared, if it is no snapshot. What then has lost its
/// directory or its first name is not kept, by name.
pub(super) struct Keeping<'k> {
    older: Older<'k>,
    since: &'k Since,
    /// Where something is not kept, as long as nothing else was lost: then the directories and
    /// first names of all that is kept are there, and it is kept without being taken apart.
    spots: Option<Spots>,
    /// Per store, the directories that lead to what came last.
    open: Vec<Vec<Vec<u8>>>,
    lost: HashSet<(usize, Vec<u8>)>,
    /// The entry that the walk came to last.
    last: Option<PathBuf>,
}

impl<'k> Keeping<'k> {
    pub(super) fn new(before: &Before<'k>, since: &'k Since, inputs: &[Input<'_>]) -> Result<Self> {
        let is_frozen = inputs.iter().all(|input| input.view.is_frozen);
        Ok(Self {
            older: (before.older)()?,
            since,
            spots: is_frozen.then(|| Spots::of([&since.changes])),
            open: vec![Vec::new(); inputs.len()],
            lost: HashSet::new(),
            last: None,
        })
    }

    /// The first name of a further one, if the first is kept.
    pub(super) fn first_of(&self, store: usize, path: &[u8]) -> Option<Vec<u8>> {
        let first = self.since.links.get(&(store, path.to_vec()))?;
        let is_lost = self.lost.contains(&(store, first.clone()));
        (!is_lost).then(|| first.clone())
    }

    /// The next that is kept and does not come behind `coming`, the next entry.
    pub(super) fn next(
        &mut self,
        coming: Option<&(PathBuf, usize)>,
        notes: &mut Notes,
    ) -> Result<Option<Kept>> {
        let limit = coming.map(|(path, _)| path.as_os_str().as_bytes());
        while let Some(record) = {
            if let Some(spots) = &mut self.spots
                && let Some(stretch) = self.older.stretch(spots, limit)?
            {
                return Ok(Some(Kept::Stretch(stretch)));
            }
            self.due(coming)?
        } {
            let path = Path::new(OsStr::from_bytes(&record.path));
            if let Some(extent) = self.since.changes.covers(path) {
                let came = |last: &PathBuf| *last == path;
                let is_there = self.last.as_ref().is_some_and(came)
                    || coming.is_some_and(|(path, _)| came(path));
                // What was gone when the trees were compared is covered with all below it.
                if extent == Extent::Alone && !is_there {
                    notes.lost(&record.path);
                    self.is_without(&record.path);
                }
                continue;
            }
            let is_without_first = match &record.what {
                What::Link { target } => self.lost.contains(&(record.store, target.clone())),
                _ => false,
            };
            let has_directory =
                self.spots.is_some() || self.enter_above(record.store, &record.path);
            if is_without_first || !has_directory {
                notes.lost(&record.path);
                self.lost.insert((record.store, record.path));
                continue;
            }
            if record.what == What::Directory {
                self.enter(record.store, &record.path);
            }
            return Ok(Some(Kept::Record(record)));
        }
        self.last = coming.map(|(path, _)| path.clone());
        Ok(None)
    }

    /// The next record, if it does not come behind `coming`.
    fn due(&mut self, coming: Option<&(PathBuf, usize)>) -> Result<Option<Record>> {
        let next = self.older.peek()?;
        let is_due = next.is_some_and(|(older, in_store)| {
            coming.is_none_or(
                |(path, store)| match order(&older, path.as_os_str().as_bytes()) {
                    Ordering::Less => true,
                    Ordering::Equal => in_store <= *store,
                    Ordering::Greater => false,
                },
            )
        });
        match is_due {
            true => self.older.take(),
            false => Ok(None),
        }
    }

    /// From here on everything is looked at by itself: `path` is not there, and may be a directory.
    pub(super) fn is_without(&mut self, path: &[u8]) {
        if self.spots.take().is_some() {
            let top = (!path.is_empty()).then(Vec::new);
            let above = above(path).map(<[u8]>::to_vec);
            let open: Vec<_> = top.into_iter().chain(above).collect();
            self.open.fill(open);
        }
    }

    /// Does not keep a record, nor the further names of what it is of.
    pub(super) fn lose(&mut self, record: Record, why: &str, notes: &mut Notes) {
        notes.missing(&record.path, why);
        self.is_without(&record.path);
        self.lost.insert((record.store, record.path));
    }

    /// What comes now lies in this directory or beside it.
    pub(super) fn enter(&mut self, store: usize, path: &[u8]) {
        if self.spots.is_some() {
            return; // all that leads to what comes is there
        }
        self.enter_above(store, path);
        self.open[store].push(path.to_vec());
    }

    /// Leaves the directories that `path` is not in; says whether its own is there.
    fn enter_above(&mut self, store: usize, path: &[u8]) -> bool {
        if path.is_empty() {
            return true;
        }
        let parent = path.rsplitn(2, |b| *b == b'/').nth(1).unwrap_or_default();
        let open = &mut self.open[store];
        while open.last().is_some_and(|dir| dir != parent) {
            open.pop();
        }
        !open.is_empty()
    }
}
