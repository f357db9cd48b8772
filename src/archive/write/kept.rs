//! What an archive keeps of the one it builds on: records, whose members are there.

use super::notes::Notes;
use super::since::{Before, Since};
use crate::archive::Result;
use crate::archive::base::Older;
use crate::archive::manifest::{Record, What, order};
use state_api::Extent;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::iter::Peekable;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The records that are kept, in order.
///
/// The tree may have changed since it was compared, if it is no snapshot. What then has lost its
/// directory or its first name is not kept, by name.
pub(super) struct Keeping<'k> {
    older: Peekable<Older<'k>>,
    since: &'k Since,
    /// Per store, the directories that lead to what came last.
    open: Vec<Vec<Vec<u8>>>,
    lost: HashSet<(usize, Vec<u8>)>,
    /// The entry that the walk came to last.
    last: Option<PathBuf>,
}

impl<'k> Keeping<'k> {
    pub(super) fn new(before: &Before<'k>, since: &'k Since, stores: usize) -> Result<Self> {
        Ok(Self {
            older: (before.older)()?.peekable(),
            since,
            open: vec![Vec::new(); stores],
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

    /// The next record that is kept and does not come behind `coming`, the next entry.
    pub(super) fn next(
        &mut self,
        coming: Option<&(PathBuf, usize)>,
        notes: &mut Notes,
    ) -> Result<Option<Record>> {
        let is_due = |record: &Record| {
            coming.is_none_or(|(path, store)| {
                match order(&record.path, path.as_os_str().as_bytes()) {
                    Ordering::Less => true,
                    Ordering::Equal => record.store <= *store,
                    Ordering::Greater => false,
                }
            })
        };
        let next = |older: &mut Peekable<Older<'_>>| {
            older
                .next_if(|record| record.as_ref().map_or(true, is_due))
                .transpose()
        };
        while let Some(record) = next(&mut self.older)? {
            let path = Path::new(OsStr::from_bytes(&record.path));
            if let Some(extent) = self.since.changes.covers(path) {
                let came = |last: &PathBuf| *last == path;
                let is_there = self.last.as_ref().is_some_and(came)
                    || coming.is_some_and(|(path, _)| came(path));
                // What was gone when the trees were compared is covered with all below it.
                if extent == Extent::Alone && !is_there {
                    notes.lost(&record.path);
                }
                continue;
            }
            let is_without_first = match &record.what {
                What::Link { target } => self.lost.contains(&(record.store, target.clone())),
                _ => false,
            };
            if is_without_first || !self.enter_above(record.store, &record.path) {
                notes.lost(&record.path);
                self.lost.insert((record.store, record.path));
                continue;
            }
            if record.what == What::Directory {
                self.enter(record.store, &record.path);
            }
            return Ok(Some(record));
        }
        self.last = coming.map(|(path, _)| path.clone());
        Ok(None)
    }

    /// Does not keep a record, nor the further names of what it is of.
    pub(super) fn lose(&mut self, record: Record, why: &str, notes: &mut Notes) {
        notes.missing(&record.path, why);
        self.lost.insert((record.store, record.path));
    }

    /// What comes now lies in this directory or beside it.
    pub(super) fn enter(&mut self, store: usize, path: &[u8]) {
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
