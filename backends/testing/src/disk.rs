//! Throw-away disks: filesystems on loop devices whose images have no name, so that nothing of
//! them is left behind, however a test ends.

use state_linux::loopback::Loop;
use state_linux::mount::{self, Attributes, Guard};
use state_linux::{btrfs, mountinfo, namespace};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use tempfile::NamedTempFile;

/// A filesystem on a loop device.
#[derive(Debug)]
pub struct Disk {
    filesystem: &'static str,
    device: Loop,
}

impl Disk {
    /// Makes a filesystem of so many MiB, by its mkfs. From here on this thread has mounts of its
    /// own, which end with it.
    ///
    /// # Panics
    /// This needs root, loop devices and the filesystem's tools.
    pub fn new(filesystem: &'static str, mib: u64) -> Self {
        namespace::own_mounts().expect("this needs root");
        let image = tempfile::tempfile_in("/var/tmp").expect("an image");
        image.set_len(mib << 20).expect("a sparse image");
        let path = format!("/proc/self/fd/{}", image.as_raw_fd());
        let device = Loop::attach(Path::new(&path), false).expect("this needs loop devices");
        let mut mkfs = Command::new(format!("mkfs.{filesystem}"));
        let mkfs = mkfs.args(["-q", if filesystem == "ext4" { "-F" } else { "-f" }]);
        // Small disks get small blocks, and no large attributes fit into those.
        let blocks: &[&str] = match filesystem {
            "ext4" => &["-b", "4096"],
            _ => &[],
        };
        let made = mkfs.args(blocks).arg(device.path()).output();
        let made = made.expect("this needs the filesystem's tools");
        assert!(made.status.success(), "{made:?}");
        Self { filesystem, device }
    }

    /// The device.
    pub fn device(&self) -> &Path {
        self.device.path()
    }

    /// Mounts it; of a btrfs a subvolume by its path.
    ///
    /// # Panics
    /// It cannot be mounted there.
    pub fn mount(&self, subvolume: Option<&str>, at: &Path) -> Guard {
        mounted(self.filesystem, self.device(), subvolume, at)
    }
}

/// Mounts what is on a device; of a btrfs a subvolume by its path.
///
/// # Panics
/// It cannot be mounted there.
pub fn mounted(filesystem: &str, device: &Path, subvolume: Option<&str>, at: &Path) -> Guard {
    fs::create_dir_all(at).expect("a place to mount at");
    let mut options = vec![("source", Some(device.as_os_str()))];
    options.extend(subvolume.map(|path| ("subvol", Some(OsStr::new(path)))));
    let mounted = mount::detached(filesystem, &options, Attributes::empty());
    Guard::attach(mounted.expect("a filesystem"), at).expect("a mount")
}

/// Unmounts whatever a test and its programs have mounted at and below a directory.
///
/// # Panics
/// The kernel refuses.
pub fn unmount_all(below: &Path) {
    let mounts = mountinfo::read().expect("the mounts of this thread");
    for each in mounts.iter().rev() {
        if each.at.starts_with(below) {
            mount::unmount(&each.at).expect("a mount of ours that nobody uses");
        }
    }
}

/// An image with a new filesystem of so many MiB.
///
/// # Panics
/// This needs the filesystem's tools.
pub fn image(filesystem: &str, mib: u64) -> NamedTempFile {
    let image = tempfile::NamedTempFile::new_in("/var/tmp").expect("an image");
    image.as_file().set_len(mib << 20).expect("a sparse image");
    let mut mkfs = Command::new(format!("mkfs.{filesystem}"));
    let made = mkfs.arg("-q").arg(image.path()).output();
    let made = made.expect("this needs the filesystem's tools");
    assert!(made.status.success(), "{made:?}");
    image
}

/// Makes a btrfs subvolume.
///
/// # Panics
/// It cannot be made there.
pub fn subvolume(at: &Path) {
    let parent = File::open(at.parent().expect("a path with a parent")).expect("its parent");
    btrfs::create(parent, at.file_name().expect("a name")).expect("a subvolume");
}
