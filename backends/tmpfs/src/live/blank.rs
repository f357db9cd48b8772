//! The filesystem with the blank, through a mount that nobody else sees.

use super::{DIRECTORY, Live};
use crate::Tree;
use chrono::DateTime;
use rustix::fs::{Mode, OFlags, ResolveFlags, fsync, mkdirat, openat, openat2, syncfs};
use rustix::io::Errno;
use state_api::{Identity, View};
use state_linux::loopback::Loop;
use state_linux::stat::{Kind, Stat};
use state_linux::{mount, system};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The filesystems that a blank can lie on, likeliest first.
const FILESYSTEMS: [&str; 4] = ["ext4", "btrfs", "xfs", "f2fs"];
/// Those that an image can hold.
const IMAGES: [&str; 5] = ["erofs", "squashfs", "ext4", "btrfs", "xfs"];

/// The directory that blank is in. The mount has no mount point and is gone with this value.
#[derive(Debug)]
pub(super) struct Yard {
    #[expect(
        dead_code,
        reason = "held so that the mount stays whole while this lives"
    )]
    mount: OwnedFd,
    top: OwnedFd,
    /// Of blank, from the filesystem's top.
    path: PathBuf,
}

impl Yard {
    fn open(device: &Path, path: &Path) -> io::Result<Self> {
        let mount = mount::of_device(device, &FILESYSTEMS, false)?;
        let top = mount::open_top(&mount)?;
        let path = path.strip_prefix("/").unwrap_or(path).to_owned();
        Ok(Self { mount, top, path })
    }

    /// The directory.
    pub(super) fn directory(&self) -> io::Result<OwnedFd> {
        let above = self.above();
        let path = match above.as_os_str().is_empty() {
            true => Path::new("."),
            false => above,
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        Ok(openat2(&self.top, path, DIRECTORY, Mode::empty(), resolve)?)
    }

    fn above(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Makes the directory, each part on the disk before the next.
    pub(super) fn make(&self) -> io::Result<()> {
        let mut dir = openat(&self.top, ".", DIRECTORY, Mode::empty())?;
        for part in self.above().components() {
            match mkdirat(&dir, part.as_os_str(), Mode::RWXU) {
                Ok(()) => fsync(&dir)?,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            dir = openat(&dir, part.as_os_str(), DIRECTORY, Mode::empty())?;
        }
        Ok(())
    }

    /// What something of ours is really called: `blank.new` is beside `blank`, whatever the name.
    pub(super) fn name(&self, ours: &Path) -> OsString {
        let ours = ours.to_string_lossy();
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(ours.strip_prefix(crate::layout::BLANK).unwrap_or(&ours));
        name
    }

    /// Where the directory is in `root`, if it is part of it: what must not be copied into itself.
    pub(super) fn inside(&self, root: &View) -> Option<PathBuf> {
        let device = |dir: &OwnedFd| Stat::of_open(dir).ok().map(|stat| stat.id.device);
        let is_same = device(&root.dir).is_some() && device(&root.dir) == device(&self.top);
        is_same.then(|| match self.above().as_os_str().is_empty() {
            true => self.path.clone(),
            false => self.above().to_owned(),
        })
    }

    pub(super) fn commit(&self) -> io::Result<()> {
        Ok(syncfs(&self.top)?)
    }
}

impl Live {
    pub(super) fn yard(&self) -> io::Result<&Yard> {
        if let Some(yard) = self.yard.get() {
            return Ok(yard);
        }
        let (device, path) = self.places.blank.as_ref().ok_or(Errno::NOENT)?;
        let yard = Yard::open(device, path).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("mounting {}: {error}", device.display()),
            )
        })?;
        Ok(self.yard.get_or_init(|| yard))
    }

    /// Opens what root could be filled from.
    pub(super) fn open_tree(&self, at: &Path) -> io::Result<View> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = self.open_at(at, flags)?;
        if Stat::of_open(&open)?.kind != Kind::File {
            return Ok(View::frozen(open));
        }
        let file = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
        let device = Loop::attach(&file, true)?;
        let mount = mount::of_device(device.path(), &IMAGES, true)?;
        let top = mount::open_top(&mount)?;
        Ok(View::frozen(top).keeping(mount).keeping(device))
    }

    pub(super) fn find_tree(&self, at: &Path) -> io::Result<Option<Tree>> {
        let view = self.open_tree(at)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let itself = Stat::of_open(self.open_at(at, flags)?)?;
        let Some(system) = system::identity(&view.dir) else {
            return Ok(None);
        };
        Ok(Some(Tree {
            identity: Identity(match itself.kind {
                Kind::File => system::mark(&itself),
                _ => system,
            }),
            made_at: DateTime::from_timestamp(itself.changed.seconds, itself.changed.nanoseconds),
            has_init: system::has_init(&view.dir)?,
        }))
    }
}
