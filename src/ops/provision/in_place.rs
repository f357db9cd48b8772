//! What of the new machine is mounted where it shall be, and whether the rest can be.

use super::layout::{Place, Volume};
use super::plan::{Seen, below};
use super::survey::Asked;
use crate::failure::Failure;
use crate::paths::Shown;
use anyhow::Context as _;
use state_linux::mountinfo::{self, Mount};
use std::fs;
use std::path::Path;

impl Asked<'_> {
    /// Whether a volume, of this device where it is of any, is mounted where it shall be.
    pub(super) fn is_in_place(
        &self,
        volume: &Volume,
        mounts: &[Mount],
        device: Option<&Path>,
    ) -> bool {
        let at = below(self.into, &volume.at);
        let Some(mount) = mounts.iter().rev().find(|mount| mount.at == at) else {
            // A directory in another volume is there when that is mounted.
            return matches!(&volume.place, Place::Directory(from) if *from == volume.at && at.is_dir());
        };
        let is_kind = |kind: &str| mount.filesystem == *kind;
        // The same names may be those of another disk.
        let is_ours = || {
            let real = |path: &Path| fs::canonicalize(path).ok();
            device.is_some_and(|device| real(device) == real(Path::new(&mount.source)))
        };
        match &volume.place {
            Place::Memory => is_kind("tmpfs"),
            Place::Installed => true,
            Place::Top => {
                self.layout.filesystem.is_some_and(|f| is_kind(f.name()))
                    && mount.root == Path::new("/")
                    && is_ours()
            }
            Place::Subvolume(name) => {
                is_kind("btrfs") && mount.root == Path::new("/").join(name) && is_ours()
            }
            Place::Dataset(name) => is_kind("zfs") && mount.source == **name,
            Place::Directory(_) => mount.root.file_name().is_some_and(|name| name == "persist"),
        }
    }

    /// What is mounted in place, and that nothing else is.
    pub(super) fn mounted(&self, seen: &mut Seen) -> anyhow::Result<()> {
        let mounts = mountinfo::read().context("reading the mounts")?;
        for volume in &self.layout.volumes {
            let at = below(self.into, &volume.at);
            if self.is_in_place(volume, &mounts, Some(&seen.device)) {
                seen.mounted.push(volume.place.clone());
                continue;
            }
            let is_mounted = mounts.iter().any(|mount| mount.at == at);
            if volume.place == Place::Installed {
                if !is_mounted {
                    return Err(
                        Failure::refused(format!("nothing is mounted at {}", Shown(&at)))
                            .hint(
                                "an overlay lies above an installed system: mount that there first",
                            )
                            .into(),
                    );
                }
                continue;
            }
            if is_mounted {
                return Err(Failure::refused(format!(
                    "something else is mounted at {}",
                    Shown(&at)
                ))
                .hint("unmount it, or choose another directory with --into")
                .into());
            }
            let has_content = fs::read_dir(&at).is_ok_and(|mut entries| entries.next().is_some());
            if has_content && !matches!(volume.place, Place::Directory(_)) {
                return Err(Failure::refused(format!(
                    "{} is not empty: a mount would hide what is there",
                    Shown(&at)
                ))
                .hint("empty it, or choose another directory with --into")
                .into());
            }
        }
        Ok(())
    }
}
