//! The mark in a staging directory: what is being staged there.

use crate::archive::manifest::Digest;
use crate::archive::read::Archive;
use rustix::fs::{AtFlags, Mode, OFlags, fsync, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use state_api::{Error, Result};
use state_linux::tree::DIRECTORY;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::BorrowedFd;

const RESERVED: &std::ffi::CStr = c".state";
const FILE: &std::ffi::CStr = c".state/restore.json";
/// The same while it is written.
const NEW: &std::ffi::CStr = c".state/restore.json.new";

/// What is being staged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Marker {
    format: u32,
    archive: String,
    store: usize,
    manifest_sha256: Digest,
}

/// What a staging directory holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Marker(Marker),
    Other,
}

fn os(errno: impl Into<std::io::Error>) -> Error {
    Error::os("marking the staging directory", errno)
}

impl Marker {
    pub(super) fn of(archive: &Archive<'_>, store: usize) -> Self {
        Self {
            format: 1,
            archive: archive.label().id.to_string(),
            store,
            manifest_sha256: archive.label().manifest_sha256,
        }
    }

    pub(super) fn archive(&self) -> &str {
        &self.archive
    }

    pub(super) fn look(stage: BorrowedFd<'_>) -> Result<Found> {
        let listed = openat(stage, c".", DIRECTORY, Mode::empty());
        let names = state_linux::tree::names(listed.map_err(os)?).map_err(os)?;
        if names.is_empty() {
            return Ok(Found::Nothing);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let mut text = String::new();
        let read = match openat(stage, FILE, flags, Mode::empty()) {
            Ok(file) => File::from(file)
                .take(4096)
                .read_to_string(&mut text)
                .is_ok(),
            Err(_) => false,
        };
        let marker = serde_json::from_str(&text).ok().filter(|_| read);
        Ok(marker.map_or(Found::Other, Found::Marker))
    }

    pub(super) fn write(&self, stage: BorrowedFd<'_>) -> Result<()> {
        match mkdirat(stage, RESERVED, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(os(errno)),
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(stage, NEW, flags, Mode::RUSR | Mode::WUSR).map_err(os)?;
        let text = serde_json::to_vec(self).expect("a marker is JSON");
        let mut file = File::from(file);
        file.write_all(&text).map_err(os)?;
        // On the disk before anything is staged: a stage without a mark is thrown away.
        file.sync_all().map_err(os)?;
        renameat(stage, NEW, stage, FILE).map_err(os)?;
        fsync(openat(stage, RESERVED, DIRECTORY, Mode::empty()).map_err(os)?).map_err(os)
    }

    /// Takes the mark away: the tree is whole, and the mark is no part of it.
    pub(super) fn remove(stage: BorrowedFd<'_>) -> Result<()> {
        let names = [
            (NEW, AtFlags::empty()),
            (FILE, AtFlags::empty()),
            (RESERVED, AtFlags::REMOVEDIR),
        ];
        for (name, flags) in names {
            match unlinkat(stage, name, flags) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(os(errno)),
            }
        }
        Ok(())
    }
}
