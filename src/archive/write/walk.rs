//! The walk of one store, reduced to what is selected.

use super::Input;
use super::notes::Notes;
use crate::archive::manifest::order;
use crate::archive::select::{Choice, Selection};
use state_api::{Changes, Interrupt};
use state_linux::stat;
use state_linux::tree::{Entry, Walk};
use std::collections::BTreeSet;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// One store's walk, reduced to what is selected.
pub(super) struct Stored<'a> {
    pub(super) walk: Walk<'a>,
    selection: &'a Selection,
    /// What comes next of it.
    pub(super) next: Option<Entry>,
    /// Declared paths that have not come.
    pub(super) absent: BTreeSet<PathBuf>,
    /// Paths that nobody declared.
    pub(super) orphans: Vec<PathBuf>,
}

impl<'a> Stored<'a> {
    /// `only` limits the walk to these places.
    pub(super) fn new(input: &Input<'a>, only: Option<&'a Changes>) -> Self {
        Self {
            walk: match only {
                Some(only) => Walk::over(input.view, only),
                None => Walk::new(input.view),
            },
            selection: input.selection,
            next: None,
            absent: input.selection.declared().clone(),
            orphans: Vec::new(),
        }
    }

    pub(super) fn look_ahead(&mut self, notes: &mut Notes) {
        while self.next.is_none() {
            match self.walk.next() {
                None => return,
                Some(Err(error)) => {
                    let choice = self.selection.choose(&error.path);
                    if matches!(choice, Choice::Take | Choice::Lead) {
                        self.absent.remove(&error.path);
                        notes.unreadable(error);
                    }
                }
                Some(Ok(entry)) => {
                    let is_directory = entry.stat.kind == stat::Kind::Directory;
                    match self.selection.choose(&entry.path) {
                        Choice::Take => {
                            self.absent.remove(&entry.path);
                            self.next = Some(entry);
                        }
                        Choice::Lead if is_directory => self.next = Some(entry),
                        choice => {
                            if is_directory {
                                self.walk.prune();
                            }
                            if choice == Choice::Orphan {
                                self.orphans.push(entry.path);
                            } else if self.selection.is_excluded(&entry.path) {
                                self.absent.remove(&entry.path);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Finds out how much data the files have that a full archive would hold, as far as `stat` can tell.
/// Nothing is read, and what cannot be looked at counts for nothing.
pub struct Weighing<'a>(Vec<Stored<'a>>);

impl<'a> Weighing<'a> {
    /// Of these stores; a walk of its own for another thread.
    pub fn of(inputs: &[Input<'a>]) -> Self {
        Self(
            inputs
                .iter()
                .map(|input| Stored::new(input, None))
                .collect(),
        )
    }

    /// How many bytes. `None`: it was interrupted.
    pub fn run(mut self, interrupt: &dyn Interrupt) -> Option<u64> {
        let mut bytes: u64 = 0;
        for stored in &mut self.0 {
            loop {
                if interrupt.is_set() {
                    return None;
                }
                stored.look_ahead(&mut Notes::default());
                let Some(entry) = stored.next.take() else {
                    break;
                };
                if entry.stat.kind == stat::Kind::File {
                    bytes = bytes.saturating_add(entry.stat.data_bytes());
                }
            }
        }
        Some(bytes)
    }
}

impl fmt::Debug for Weighing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Weighing").field(&self.0.len()).finish()
    }
}

/// The store whose entry comes next over all stores; of those with the same path the first.
pub(super) fn next(stores: &mut [Stored<'_>], notes: &mut Notes) -> Option<usize> {
    for stored in &mut *stores {
        stored.look_ahead(notes);
    }
    let next = (stores.iter().enumerate())
        .filter_map(|(n, stored)| Some((stored.next.as_ref()?.path.as_os_str(), n)))
        .min_by(|(a, n), (b, m)| order(a.as_bytes(), b.as_bytes()).then(n.cmp(m)));
    next.map(|(_, n)| n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use state_api::View;
    use std::fs;

    /// A mail server never stands still.
    #[test]
    fn what_goes_away_between_being_listed_and_looked_at_is_not_there() {
        for is_frozen in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            for name in ["a", "b", "c"] {
                fs::write(dir.path().join(name), name).unwrap();
            }
            fs::create_dir(dir.path().join("d")).unwrap();
            let mut view = View::live(fs::File::open(dir.path()).unwrap().into());
            view.is_frozen = is_frozen;
            let selection = Selection::all();
            let input = Input {
                view: &view,
                selection: &selection,
            };
            let mut notes = Notes::default();
            let mut stores = [Stored::new(&input, None)];
            let mut found = Vec::new();
            while next(&mut stores, &mut notes).is_some() {
                let path = stores[0].next.take().unwrap().path;
                if path.as_os_str() == "a" {
                    fs::remove_file(dir.path().join("b")).unwrap();
                }
                if path.as_os_str() == "d" {
                    fs::remove_dir(dir.path().join("d")).unwrap();
                }
                found.push(path.to_str().unwrap().to_owned());
            }
            assert_eq!(found, ["", "a", "c", "d"]);
            let paths = |notes: &[crate::archive::manifest::Missing]| -> Vec<Vec<u8>> {
                notes.iter().map(|missing| missing.path.0.clone()).collect()
            };
            notes.settle(true);
            let gone = vec![b"./b".to_vec(), b"./d".to_vec()];
            let wanted = match is_frozen {
                false => (vec![], gone),
                true => (gone, vec![]),
            };
            assert_eq!((paths(&notes.missing), paths(&notes.left_out)), wanted);
        }
    }
}
