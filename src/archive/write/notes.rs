//! What does not get into the archive, and why.

use crate::archive::manifest::{Bytes, Missing};
use crate::archive::member::name;
use state_linux::tree::Unreadable;
use std::os::unix::ffi::OsStrExt;

/// What is not in the archive, and why.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) missing: Vec<Missing>,
    pub(super) left_out: Vec<Missing>,
    /// What was there when its directory was listed, and was not when it was looked at.
    pub(super) went_away: Vec<Missing>,
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

    /// What went away is not there, and no more is to be said of it in an archive that stands
    /// for itself; one that builds on another may have to say that it is gone, and cannot.
    pub(super) fn settle(&mut self, is_full: bool) {
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
    }

    /// Notes what went wrong; what went right goes on.
    pub(super) fn ok<T>(&mut self, result: Result<T, Unreadable>) -> Option<T> {
        result.map_err(|error| self.unreadable(error)).ok()
    }
}
