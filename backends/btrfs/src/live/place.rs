//! Where directories and subvolumes are.

use super::Live;
use crate::TOP_LEVEL;
use rustix::fs::{AtFlags, statx};
use rustix::io::Errno;
use state_api::{Error, Result};
use state_linux::btrfs;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

/// Where a directory is on its filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The subvolume that holds it, from the top level; empty for the top level itself.
    pub subvolume: PathBuf,
    /// The directory's path inside that subvolume; empty for its top.
    pub inside: PathBuf,
}

impl Live {
    /// Where a directory of this filesystem is, however it was reached.
    ///
    /// # Errors
    /// It is being deleted, or its path is longer than the kernel can tell.
    pub fn place(&self, dir: impl AsFd) -> Result<Place> {
        let find = || {
            let flags = AtFlags::EMPTY_PATH;
            let inode = statx(&dir, "", flags, rustix::fs::StatxFlags::INO)?.stx_ino;
            let (id, inside) = btrfs::directory_path(&dir, 0, inode)?;
            let subvolume = self.path_of(id)?;
            Ok(Place { subvolume, inside })
        };
        find().map_err(|source: io::Error| Error::os("finding a directory's place", source))
    }

    /// The path of a subvolume from the top level.
    pub(super) fn path_of(&self, id: u64) -> io::Result<PathBuf> {
        let mut path = PathBuf::new();
        let mut at = id;
        while at != TOP_LEVEL {
            let up = btrfs::back_reference(&self.top, at)?.ok_or(Errno::NOENT)?;
            let (_, dir) = btrfs::directory_path(&self.top, up.id, up.directory)?;
            let below = std::mem::take(&mut path);
            path = dir.join(&up.name);
            if !below.as_os_str().is_empty() {
                path.push(below);
            }
            at = up.id;
        }
        Ok(path)
    }
}
