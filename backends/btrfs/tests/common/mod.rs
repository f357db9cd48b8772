//! A throw-away btrfs in a file on a loop device.
#![allow(dead_code, reason = "each test file uses a part of it")]

use rustix::io::Errno;
use state_api::{Error, View};
use state_btrfs::{Kernel, Live, Node, Subvolume};
use state_linux::loopback::Loop;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) struct Disk {
    // Dropped in this order: the device goes with its last mount, then the file under it.
    device: Loop,
    dir: tempfile::TempDir,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self::with_size(512 << 20)
    }

    pub(crate) fn with_size(bytes: u64) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("state-btrfs-")
            .tempdir()
            .unwrap();
        let image = dir.path().join("image");
        File::create(&image).unwrap().set_len(bytes).unwrap();
        run(Command::new("mkfs.btrfs")
            .args(["-q", "-M"]) // mixed groups: a small one fills up evenly
            .args(if bytes < 256 << 20 { None } else { Some("-f") })
            .arg(&image));
        let device = Loop::attach(&image, false).unwrap();
        Self { device, dir }
    }

    pub(crate) fn live(&self) -> Live {
        Live::open(self.device.path()).unwrap()
    }

    pub(crate) fn device(&self) -> &Path {
        self.device.path()
    }

    /// An empty directory outside the filesystem.
    pub(crate) fn outside(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Mounts a subvolume by its path, as fstab does.
    pub(crate) fn mount(
        &self,
        subvolume: impl AsRef<OsStr>,
        at: &Path,
    ) -> state_linux::mount::Guard {
        let options = [
            ("source", Some(self.device().as_os_str())),
            ("subvol", Some(subvolume.as_ref())),
        ];
        let mount = state_linux::mount::detached(
            "btrfs",
            &options,
            state_linux::mount::Attributes::empty(),
        )
        .unwrap();
        state_linux::mount::Guard::attach(mount, at).unwrap()
    }
}

/// A path through which std reaches what a view shows; good while the view lives.
pub(crate) fn path_of(view: &View) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", view.dir.as_raw_fd()))
}

/// Writes a file, its parents made as directories, through the private mount.
pub(crate) fn write(live: &Live, at: impl AsRef<Path>, text: &str) {
    let top = live.open(Path::new("")).unwrap();
    let at = path_of(&top).join(at);
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    fs::write(at, text).unwrap();
}

pub(crate) fn read(live: &Live, at: impl AsRef<Path>) -> Option<String> {
    let top = live.open(Path::new("")).unwrap();
    fs::read_to_string(path_of(&top).join(at)).ok()
}

pub(crate) fn subvolume(live: &Live, at: impl AsRef<Path>) -> Subvolume {
    match live.node(at.as_ref()).unwrap() {
        Node::Subvolume(found) => found,
        other => panic!("{:?} is {other:?}", at.as_ref()),
    }
}

#[track_caller]
pub(crate) fn errno<T: std::fmt::Debug>(result: Result<T, Error>) -> Errno {
    match result {
        Err(Error::Os { source, .. }) => Errno::from_io_error(&source).expect("an errno"),
        other => panic!("no errno: {other:?}"),
    }
}

/// Names that scripts fall over.
pub(crate) fn hostile() -> Vec<&'static Path> {
    let names: [&[u8]; 6] = [
        b"a b",
        b"new\nline",
        b"not utf-8 \xff\xfe",
        b"-rf",
        b"quote'\"$(x)`\\",
        b"\xe2\x80\xae",
    ];
    names
        .into_iter()
        .map(|name| Path::new(OsStr::from_bytes(name)))
        .collect()
}

/// Makes `file` on a btrfs and has the kernel swap to it.
pub(crate) fn swap_on(file: &Path) {
    run(Command::new("btrfs")
        .args(["filesystem", "mkswapfile", "--size", "16m"])
        .arg(file));
    run(Command::new("swapon").arg(file));
}

pub(crate) fn swap_off(file: &Path) {
    run(Command::new("swapoff").arg(file));
}

fn run(command: &mut Command) {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{done:?}");
}
