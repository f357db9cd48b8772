//! The looks that take more than one call.

use super::{DIRECTORY, Live};
use crate::{Child, Mounted, Node, Subvolume};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags, openat, statx};
use rustix::io::Errno;
use state_api::{Graft, View};
use state_linux::{btrfs, mountinfo};
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

impl Live {
    pub(super) fn find(&self, path: &Path) -> io::Result<Node> {
        let found = match self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC) {
            Ok(found) => found,
            Err(error) => {
                return match Errno::from_io_error(&error) {
                    Some(Errno::NOENT | Errno::NOTDIR) => Ok(Node::Missing),
                    Some(Errno::LOOP) => Ok(Node::Other), // a symlink on the way
                    _ => Err(error),
                };
            }
        };
        let flags = StatxFlags::TYPE | StatxFlags::INO;
        let stat = statx(&found, "", AtFlags::EMPTY_PATH, flags)?;
        if !FileType::from_raw_mode(stat.stx_mode.into()).is_dir() {
            return Ok(Node::Other);
        }
        if stat.stx_ino != btrfs::TOP_INODE {
            return Ok(Node::Directory);
        }
        let dir = openat(&found, ".", DIRECTORY, Mode::empty())?;
        if !btrfs::is_btrfs(&dir)? {
            return Ok(Node::Other);
        }
        Ok(Node::Subvolume(subvolume(btrfs::subvolume_info(dir)?)))
    }

    pub(super) fn find_children(&self, id: u64) -> io::Result<Vec<Child>> {
        let mut found = Vec::new();
        let mut queue = VecDeque::from([(id, PathBuf::new())]);
        while let Some((parent, at)) = queue.pop_front() {
            for child in btrfs::references(&self.top, parent)? {
                let dir = match btrfs::directory_path(&self.top, parent, child.directory) {
                    Ok((_, dir)) => dir,
                    // Deleted since the search.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                };
                let path = at.join(dir).join(&child.name);
                queue.push_back((child.id, path.clone()));
                found.push(Child {
                    id: child.id,
                    parent,
                    path,
                });
            }
        }
        Ok(found)
    }

    pub(super) fn find_mounts(&self) -> io::Result<Vec<Mounted>> {
        let devices = btrfs::devices(&self.top)?;
        let all = mountinfo::read_everywhere()?;
        let is_ours = |mount: &mountinfo::Mount| {
            mount.filesystem == "btrfs"
                && devices.iter().any(|path| path.as_os_str() == mount.source)
        };
        // The same filesystem under another source (the kernel renamed its device meanwhile).
        let numbers: BTreeSet<(u32, u32)> = all
            .iter()
            .filter(|m| is_ours(m))
            .map(|m| m.device)
            .collect();
        let mut mounted: Vec<Mounted> = Vec::new();
        for mount in all {
            if !mount.is_deleted && numbers.contains(&mount.device) {
                let new = Mounted {
                    root: mount.root,
                    at: mount.at,
                };
                if !mounted.contains(&new) {
                    mounted.push(new);
                }
            }
        }
        Ok(mounted)
    }

    pub(super) fn open_view(&self, path: &Path) -> io::Result<View> {
        let dir = self.directory(path)?;
        let own = btrfs::subvolume_info(&dir)?;
        let place = self.place(&dir).map_err(io::Error::other)?;
        let mut is_frozen = own.is_read_only;
        let mut grafts = Vec::new();
        for child in self.find_children(own.id)? {
            let Ok(at) = child.path.strip_prefix(&place.inside) else {
                continue;
            };
            let nested = self.directory(&path.join(at))?;
            is_frozen &= btrfs::subvolume_info(&nested)?.is_read_only;
            grafts.push(Graft {
                at: at.to_owned(),
                dir: nested,
            });
        }
        let mut view = View::live(dir);
        (view.grafts, view.is_frozen) = (grafts, is_frozen);
        Ok(view)
    }
}

fn subvolume(info: btrfs::SubvolumeInfo) -> Subvolume {
    Subvolume {
        id: info.id,
        uuid: info.uuid,
        parent_uuid: info.parent_uuid,
        is_read_only: info.is_read_only,
        ctransid: info.ctransid,
        otransid: info.otransid,
        otime_seconds: info.otime_seconds,
    }
}

pub(super) fn hyphenated(uuid: [u8; 16]) -> String {
    let hex: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}
