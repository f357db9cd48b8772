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
}

fn note(path: &[u8], why: impl Into<String>) -> Missing {
    Missing {
        path: Bytes(name(path)),
        why: crate::failure::plain_errnos(&why.into()),
    }
}

impl Notes {
    pub(super) fn unreadable(&mut self, error: Unreadable) {
        let why = format!("{}: {}", error.doing, error.source);
        self.missing(error.path.as_os_str().as_bytes(), why);
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
    }

    /// Notes what went wrong; what went right goes on.
    pub(super) fn ok<T>(&mut self, result: Result<T, Unreadable>) -> Option<T> {
        result.map_err(|error| self.unreadable(error)).ok()
    }
}
