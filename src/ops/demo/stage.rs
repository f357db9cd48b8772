//! Where the demo plays: a tmpfs that only this process sees, and disks that are files without a
//! name. The kernel takes both apart with the process, however it ends.

use crate::program::Program;
use crate::settings::Root;
use anyhow::Context as _;
use rustix::fs::{CWD, Mode, OFlags, openat};
use state_api::{Error, Result};
use state_linux::loopback::Loop;
use state_linux::mount::{self, Attributes, FilesystemOption};
use state_linux::{mountinfo, namespace};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a program that makes a filesystem may take.
const MKFS: Duration = Duration::from_secs(120);

/// A directory tree of our own, gone with the process.
#[derive(Debug)]
pub(super) struct Stage {
    top: PathBuf,
    /// Whether there is root's power over devices; without it, everything is in memory.
    pub(super) has_devices: bool,
    /// A directory on the disk that stays, where that was asked for.
    pub(super) kept: Option<PathBuf>,
}

impl Stage {
    /// Sets the stage up. Must be called while the process has one thread.
    ///
    /// # Errors
    /// An ordinary user may not have a namespace of their own here.
    pub(super) fn new(keep: bool) -> anyhow::Result<Self> {
        let has_devices = rustix::process::geteuid().is_root() && namespace::own_mounts().is_ok();
        if !has_devices {
            namespace::own_user_and_mounts().context(
                "making a user namespace to play in (the demo needs one, or to be run as root)",
            )?;
        }
        let kept = keep.then(kept_directory).transpose()?;
        let top = ["/mnt", "/media", "/srv", "/tmp"]
            .iter()
            .map(PathBuf::from)
            .find(|dir| dir.is_dir())
            .ok_or_else(|| Error::Missing {
                what: "a directory to play in".into(),
            })?;
        memory(&top, "the stage")?;
        Ok(Self {
            top,
            has_devices,
            kept,
        })
    }

    /// A path on the stage.
    pub(super) fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.top.join(path)
    }

    /// The same as a directory, which is made.
    pub(super) fn directory(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let path = self.at(path);
        make_directory(&path)?;
        Ok(path)
    }

    /// A blank disk of so many bytes, as a file that takes only what is written to it. It has a
    /// name if it is to be kept.
    pub(super) fn disk(&self, keep_as: Option<&str>, bytes: u64) -> Result<Disk> {
        let failed = |error| Error::os("making a disk image", error);
        let file = match keep_as.zip(self.kept.as_ref()) {
            Some((name, dir)) => {
                let mut file = OpenOptions::new();
                file.read(true)
                    .write(true)
                    .create_new(true)
                    .open(dir.join(name))
            }
            None => nameless(),
        };
        let file = file.map_err(failed)?;
        file.set_len(bytes).map_err(failed)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let device = Loop::attach(&path, false)
            .map_err(|error| Error::os("attaching a loop device", error))?;
        Ok(Disk {
            device,
            image: file,
        })
    }
}

/// A file in no directory: nobody has to delete it.
fn nameless() -> io::Result<File> {
    let open = |dir: &str| {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        openat(CWD, dir, flags, Mode::RUSR | Mode::WUSR).map(File::from)
    };
    Ok(open("/var/tmp").or_else(|_| open("/tmp"))?)
}

fn kept_directory() -> Result<PathBuf> {
    let failed = |error| Error::os("making a directory to keep things in", error);
    let dir = tempfile::Builder::new()
        .prefix("state-demo-")
        .tempdir_in("/var/tmp")
        .map_err(failed)?;
    Ok(dir.keep())
}

/// A disk image behind a loop device.
#[derive(Debug)]
pub(super) struct Disk {
    device: Loop,
    image: File,
}

impl Disk {
    /// Its block device.
    pub(super) fn device(&self) -> &Path {
        self.device.path()
    }

    /// Makes a filesystem on it.
    pub(super) fn format(&self, program: Program, options: &[&str]) -> Result<()> {
        let device = self.device().as_os_str();
        let args = options.iter().map(OsStr::new).chain([device]);
        let doing = format!("formatting {}", self.device().display());
        program.run(&doing, args, MKFS).map(drop)
    }

    /// Ends it with everything on it. Nothing of it may be mounted any more.
    pub(super) fn destroy(self) -> Result<()> {
        self.image
            .set_len(0)
            .map_err(|error| Error::os("destroying the disk image", error))
    }
}

/// Makes a directory and its parents.
pub(super) fn make_directory(path: &Path) -> Result<()> {
    let made = fs::create_dir_all(path);
    made.map_err(|error| Error::os(format!("making {}", path.display()), error))
}

/// Writes a file and the directories above it.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        make_directory(parent)?;
    }
    let mut file = OpenOptions::new();
    let file = file.write(true).create(true).truncate(true).open(path);
    let written = file.and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()));
    written.map_err(|error| Error::os(format!("writing {}", path.display()), error))
}

/// Mounts a filesystem on a directory, which is made.
pub(super) fn mount(filesystem: &str, options: &[FilesystemOption<'_>], at: &Path) -> Result<()> {
    make_directory(at)?;
    mount::detached(filesystem, options, Attributes::empty())
        .and_then(|mount| mount::attach(mount, CWD, at))
        .map_err(|error| Error::os(format!("mounting {filesystem} at {}", at.display()), error))
}

/// Mounts empty memory on a directory.
pub(super) fn memory(at: &Path, what: &str) -> Result<()> {
    let options = [
        ("source", Some(OsStr::new(what))),
        ("mode", Some(OsStr::new("0755"))),
        ("size", Some(OsStr::new("50%"))),
    ];
    mount("tmpfs", &options, at)
}

/// Mounts a directory a second time.
pub(super) fn bind(from: &Path, at: &Path) -> Result<()> {
    make_directory(at)?;
    mount::bind(from, at, false)
        .map_err(|error| Error::os(format!("mounting {}", at.display()), error))
}

/// Takes away everything that is mounted at or below `top`, innermost first.
pub(super) fn unmount_below(top: &Path) -> Result<()> {
    let mounts = mountinfo::read().map_err(|error| Error::os("reading mountinfo", error))?;
    let below = mounts.iter().filter(|mount| mount.at.starts_with(top));
    for mount in below.rev() {
        mount::unmount(&mount.at)
            .map_err(|error| Error::os(format!("unmounting {}", mount.at.display()), error))?;
    }
    Ok(())
}

/// A machine's configuration.
pub(super) fn configuration(root: &Root, entries: &str, target: &Path) -> String {
    let root = match root {
        Root::Btrfs { device, .. } => format!(
            "backend = \"btrfs\"\ndevice = \"{}\"\nsubvolume = \"root\"\n",
            device.display()
        ),
        Root::Zfs { dataset, .. } => format!("backend = \"zfs\"\ndataset = \"{dataset}\"\n"),
        Root::Tmpfs { .. } => "backend = \"tmpfs\"\nsize = \"50%\"\n".to_owned(),
        Root::Overlay { device, .. } => {
            format!("backend = \"overlay\"\ndevice = \"{}\"\n", device.display())
        }
    };
    format!(
        "[machine]\nname = \"demo\"\n\n[root]\n{root}\n{entries}\n[target.usb]\nurl = \"file://{}\"\n",
        target.display()
    )
}
