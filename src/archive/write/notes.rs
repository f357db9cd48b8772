//! What does not get into the archive, and why.

use crate::archive::manifest::{Bytes, Missing, order};
use crate::archive::member::name;
use state_linux::tree::Unreadable;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::os::unix::ffi::OsStrExt;

/// What is not in the archive, and why.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) missing: Vec<Missing>,
    pub(super) left_out: Vec<Missing>,
    /// What was there when its directory was listed, and was not when it was looked at.
    pub(super) went_away: Vec<Missing>,
    /// What archives do not keep: the first path that has it, and how many others.
    pub(super) without: BTreeMap<&'static str, (Vec<u8>, u64)>,
}

const WENT_AWAY: &str = "it went away while it was read";

fn note(path: &[u8], why: impl Into<String>) -> Missing {
    Missing {
        path: Bytes(name(path)),
        why: crate::failure::plain_errnos(&why.into()),
    }
}

impl Notes {
    pub(super) fn unreadable(&mut self, error: Unreadable) {
        let path = error.path.as_os_str().as_bytes();
        if error.went_away() {
            self.went_away.push(note(path, WENT_AWAY));
            return;
        }
        let why = format!("{}: {}", error.doing, error.source);
        self.missing(path, why);
    }

    /// Notes what the archive before has, and this one cannot: `.state/deleted` was written
    /// before it went away.
    pub(super) fn lost(&mut self, path: &[u8]) {
        let note = note(path, WENT_AWAY);
        if !self.missing.iter().any(|missing| missing.path == note.path) {
            self.missing.push(note);
        }
    }

    /// Notes that the archive has something, and not all that it has here. Told once: it may be so
    /// for every file.
    pub(super) fn without(&mut self, path: &[u8], what: &'static str) {
        self.add_without(what, path.to_vec(), 0);
    }

    fn add_without(&mut self, what: &'static str, path: Vec<u8>, more: u64) {
        match self.without.entry(what) {
            Entry::Vacant(place) => {
                place.insert((path, more));
            }
            Entry::Occupied(mut place) => {
                let (first, others) = place.get_mut();
                *others += more + 1;
                if order(&path, first).is_lt() {
                    *first = path;
                }
            }
        }
    }

    /// What went away is not there, and no more is to be said of it in an archive that stands
    /// for itself; one that builds on another may have to say that it is gone, and cannot.
    pub(super) fn settle(&mut self, is_full: bool) {
        for (what, (path, more)) in std::mem::take(&mut self.without) {
            let others = match more {
                0 => String::new(),
                1 => ", and another one".to_owned(),
                n => format!(", and {n} others"),
            };
            self.left_out(&path, format!("archived without {what}{others}"));
        }
        let mut gone = std::mem::take(&mut self.went_away);
        gone.sort_by(|a, b| a.path.0.cmp(&b.path.0));
        gone.dedup();
        match is_full {
            true => self.left_out.append(&mut gone),
            false => self.missing.append(&mut gone),
        }
    }

    pub(super) fn missing(&mut self, path: &[u8], why: impl Into<String>) {
        self.missing.push(note(path, why));
    }

    pub(super) fn left_out(&mut self, path: &[u8], why: impl Into<String>) {
        self.left_out.push(note(path, why));
    }

    pub(super) fn append(&mut self, mut more: Self) {
        self.missing.append(&mut more.missing);
        self.left_out.append(&mut more.left_out);
        self.went_away.append(&mut more.went_away);
        for (what, (path, others)) in more.without {
            self.add_without(what, path, others);
        }
    }

    /// Notes what went wrong; what went right goes on.
    pub(super) fn ok<T>(&mut self, result: Result<T, Unreadable>) -> Option<T> {
        result.map_err(|error| self.unreadable(error)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_told_once() {
        let mut notes = Notes::default();
        for paths in [["b", "c/d"], ["a/x", "z"]] {
            let mut unit = Notes::default();
            for path in paths {
                unit.without(path.as_bytes(), "fs-verity");
            }
            notes.append(unit);
        }
        notes.without(b"q", "direct access (DAX)");
        notes.settle(true);
        let told: Vec<_> = (notes.left_out.iter())
            .map(|note| (note.path.0.as_slice(), note.why.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (&b"./q"[..], "archived without direct access (DAX)"),
                (b"./a/x", "archived without fs-verity, and 3 others")
            ]
        );
    }
}
