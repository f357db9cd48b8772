//! The lower layer as it can be reached now.

use super::Live;
use crate::Lower;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use state_api::Identity;
use state_linux::mountinfo::{self, Mount};
use state_linux::system;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

impl Live {
    /// Before the overlay is stacked the lower layer is mounted where root will be; after that it
    /// is found where stacking has put it.
    pub(super) fn lower_path(&self) -> io::Result<Option<(PathBuf, Vec<Mount>)>> {
        let mounts = mountinfo::read()?;
        let kept = self.run.join("lower");
        let topmost = |at: &Path| mounts.iter().rev().find(|mount| mount.at == at);
        if topmost(&kept).is_some() {
            return Ok(Some((kept, mounts)));
        }
        let is_stacked = topmost(&self.at).is_some_and(|mount| mount.filesystem == "overlay");
        Ok((!is_stacked).then(|| (self.at.clone(), mounts)))
    }

    pub(super) fn open_lower_dir(&self) -> io::Result<OwnedFd> {
        let (path, _) = self.lower_path()?.ok_or(Errno::NOENT)?;
        Ok(openat(CWD, &path, DIRECTORY, Mode::empty())?)
    }

    pub(super) fn find_lower(&self) -> io::Result<Option<Lower>> {
        let Some((path, mounts)) = self.lower_path()? else {
            return Ok(None);
        };
        let dir = openat(CWD, &path, DIRECTORY, Mode::empty())?;
        let Some(identity) = system::identity(&dir) else {
            return Ok(None);
        };
        let here = mounts
            .iter()
            .rev()
            .filter(|mount| path.starts_with(&mount.at))
            .max_by_key(|mount| mount.at.components().count());
        let device = here.map(|mount| mount.device);
        let same = mounts.iter().filter(|mount| Some(mount.device) == device);
        Ok(Some(Lower {
            name: match here {
                Some(mount) => format!("the system on {}", mount.source.to_string_lossy()),
                None => format!("the system at {}", path.display()),
            },
            identity: Identity(identity),
            is_writable: same.clone().any(|mount| !mount.is_read_only()),
            has_init: system::has_init(&dir)?,
        }))
    }
}
