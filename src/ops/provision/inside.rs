//! What lies in a filesystem or pool that is there already: what a run before this one made, or
//! somebody's data.
//!
//! Nothing is written down in a filesystem to tell the two apart. What holds nothing but empty
//! volumes of the right names, and in the store nothing but what provisioning and restoring write,
//! can be gone on with: that never erases anything.

use super::layout::{Filesystem, Layout, Place, Volume};
use crate::paths::Shown;
use state_api::{Error, Result};
use state_linux::btrfs;
use state_linux::mount::{self, Attributes};
use state_linux::swap::RESERVED;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

/// What there is.
#[derive(Debug, Default)]
pub(super) struct Inside {
    /// The volumes that are there.
    pub(super) present: Vec<Place>,
    pub(super) has_blank: bool,
    /// What is not ours, as paths.
    pub(super) foreign: BTreeSet<PathBuf>,
}

/// Looks into a filesystem that nobody has mounted, without writing to it.
pub(super) fn of_device(device: &Path, layout: &Layout) -> Result<Inside> {
    let Some(kind) = layout.filesystem else {
        return Ok(Inside::default());
    };
    // A journal is not replayed: that would write. What it holds is seen when it is mounted, and
    // nothing is erased before.
    let more: &[_] = match kind {
        Filesystem::Btrfs => &[("rescue", Some("nologreplay")), ("subvolid", Some("5"))],
        Filesystem::Ext4 => &[("noload", None)],
        Filesystem::Xfs => &[("norecovery", None)],
    };
    let mut options = vec![("source", Some(device.as_os_str())), ("ro", None)];
    options.extend(
        more.iter()
            .map(|(key, value)| (*key, value.map(OsStr::new))),
    );
    let mount = mount::detached(kind.name(), &options, Attributes::MOUNT_ATTR_NOATIME)
        .map_err(|error| Error::os(format!("looking into {}", Shown(device)), error))?;
    let top = Top::of(mount)?;
    let looked = match kind {
        Filesystem::Btrfs => top.volumes(layout),
        Filesystem::Ext4 | Filesystem::Xfs => top.whole(layout),
    };
    looked.map_err(|error| Error::os(format!("looking into {}", Shown(device)), error))
}

/// Looks into a dataset: whether it holds nothing but what is ours.
pub(super) fn of_dataset(
    name: &str,
    volume: &Volume,
    layout: &Layout,
) -> Result<BTreeSet<PathBuf>> {
    let failed = |error| Error::os(format!("looking into {name}"), error);
    let options = [("source", Some(OsStr::new(name))), ("ro", None)];
    let mount = mount::detached("zfs", &options, Attributes::MOUNT_ATTR_NOATIME).map_err(failed)?;
    let mut foreign = BTreeSet::new();
    let top = Top::of(mount)?;
    top.ours(Path::new(""), volume, layout, &mut foreign)
        .map_err(failed)?;
    let name = Path::new(name);
    Ok(foreign.into_iter().map(|path| name.join(path)).collect())
}

/// The top directory of a mount that nobody else sees.
struct Top {
    top: OwnedFd,
    _mount: OwnedFd,
}

impl Top {
    fn of(mount: OwnedFd) -> Result<Self> {
        let top = mount::open_top(&mount)
            .map_err(|error| Error::os("opening what was mounted", error))?;
        Ok(Self { top, _mount: mount })
    }

    fn path(&self, below: &Path) -> PathBuf {
        Path::new(&format!("/proc/self/fd/{}", self.top.as_fd().as_raw_fd())).join(below)
    }

    /// The names in a directory; nothing if it is none, and no link is followed.
    fn names(&self, dir: &Path) -> io::Result<Option<Vec<PathBuf>>> {
        // The top itself is a link of /proc.
        if !dir.as_os_str().is_empty() && !fs::symlink_metadata(self.path(dir))?.is_dir() {
            return Ok(None);
        }
        let entries = fs::read_dir(self.path(dir))?;
        let names = entries.map(|entry| entry.map(|entry| dir.join(entry.file_name())));
        names.collect::<io::Result<Vec<_>>>().map(Some)
    }

    /// The subvolumes of a btrfs.
    fn volumes(&self, layout: &Layout) -> io::Result<Inside> {
        let mut inside = Inside::default();
        for name in self.names(Path::new(""))?.unwrap_or_default() {
            let is_it = |volume: &&Volume| {
                volume.place == Place::Subvolume(name.to_string_lossy().into_owned())
            };
            let is_volume = || btrfs::is_subvolume_top(File::open(self.path(&name))?);
            let volume = layout.volumes.iter().find(is_it);
            match volume {
                Some(volume) if is_volume()? => {
                    inside.present.push(volume.place.clone());
                    self.ours(&name, volume, layout, &mut inside.foreign)?;
                }
                None if name == Path::new("root-blank") => inside.has_blank = true,
                // A blank that was being taken when the run ended: taking it begins with that.
                None if layout.takes_blank
                    && name == Path::new("root-blank.new")
                    && is_volume()? => {}
                None if name == Path::new(RESERVED) => {}
                _ => {
                    inside.foreign.insert(name);
                }
            }
        }
        Ok(inside)
    }

    /// A filesystem without volumes.
    fn whole(&self, layout: &Layout) -> io::Result<Inside> {
        let mut inside = Inside::default();
        let top = layout
            .volumes
            .iter()
            .find(|volume| volume.place == Place::Top);
        if let Some(top) = top {
            self.ours(Path::new(""), top, layout, &mut inside.foreign)?;
        }
        Ok(inside)
    }

    /// Adds what in the directory `dir`, the top of `volume`, is not ours.
    fn ours(
        &self,
        dir: &Path,
        volume: &Volume,
        layout: &Layout,
        foreign: &mut BTreeSet<PathBuf>,
    ) -> io::Result<()> {
        let mut todo = vec![(dir.to_owned(), volume.at.clone())];
        while let Some((dir, at)) = todo.pop() {
            for path in self.names(&dir)?.unwrap_or_default() {
                let name = path.file_name().unwrap_or_default();
                let on_machine = at.join(name);
                let is_whole =
                    volume.at == at && [RESERVED, "lost+found"].iter().any(|ours| name == *ours);
                if is_whole || layout.writes(volume, &on_machine) {
                    continue;
                }
                // What leads to a volume or to one of our files, and is looked into.
                if self.names(&path)?.is_some() && layout.leads(volume, &on_machine) {
                    todo.push((path, on_machine));
                } else {
                    foreign.insert(path);
                }
            }
        }
        Ok(())
    }
}

impl Layout {
    /// The files that are written into the store, by where they are on the machine if the store were
    /// its root.
    pub(super) const FILES: [&str; 3] = [
        "etc/state/state.toml",
        "etc/state/fstab",
        "etc/state/crypttab",
    ];

    /// Where the content of a store begins in the volume that holds it, as a path on the machine.
    fn content(&self, volume: &Volume) -> Option<PathBuf> {
        let store = self.volumes.iter().find(|volume| volume.at == self.store)?;
        match &store.place {
            Place::Directory(from) => from.starts_with(&volume.at).then(|| from.clone()),
            _ => (store.at == volume.at).then(|| store.at.clone()),
        }
    }

    fn writes(&self, volume: &Volume, path: &Path) -> bool {
        let Some(content) = self.content(volume) else {
            return false;
        };
        Self::FILES.iter().any(|file| content.join(file) == path) || content.join(RESERVED) == path
    }

    /// Whether the directory `path` is on the way to something of ours: other volumes are mounted
    /// in it, or our files lie in it.
    fn leads(&self, volume: &Volume, path: &Path) -> bool {
        let mut others = self.volumes.iter().filter(|other| *other != volume);
        let is_mountpoint = others.any(|other| other.at.starts_with(path));
        let content = self.content(volume);
        let holds = content.is_some_and(|content| {
            content.starts_with(path)
                || Self::FILES
                    .iter()
                    .any(|file| content.join(file).starts_with(path))
        });
        is_mountpoint || holds
    }
}
