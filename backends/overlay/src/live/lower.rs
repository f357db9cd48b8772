//! The lower layer as it can be reached now.

use super::Live;
use crate::Lower;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use state_api::Identity;
use state_linux::mountinfo::{self, Mount};
use state_linux::stat::Stat;
use std::fmt::Write as _;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Where distributions keep their init, relative to root.
const INITS: [&str; 3] = ["sbin/init", "usr/lib/systemd/systemd", "init"];
/// Directories that an installation, a removal or an upgrade of programs changes.
const TELLTALES: [&str; 6] = [
    "",
    "etc",
    "usr/bin",
    "var/lib/dpkg",
    "var/lib/rpm",
    "var/lib/pacman/local",
];

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
        let mut identity = String::new();
        for telltale in TELLTALES {
            if let Ok(stat) = Stat::of(&dir, telltale) {
                let (inode, changed) = (stat.id.inode, stat.changed);
                let dash = if identity.is_empty() { "" } else { "-" };
                write!(
                    identity,
                    "{dash}{inode:x}.{:x}.{:x}",
                    changed.seconds, changed.nanoseconds
                )
                .map_err(io::Error::other)?;
            }
        }
        if !identity.contains('-') {
            return Ok(None); // a top with nothing of a system in it
        }
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
            has_init: has_init(&dir)?,
        }))
    }
}

fn has_init(dir: &OwnedFd) -> io::Result<bool> {
    for path in INITS {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        match openat2(dir, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
            Ok(_) => return Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(false)
}
