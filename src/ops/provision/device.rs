//! The device that is to be laid out: what it holds, and who uses it.

use super::probe::{self, Content, ReadAt};
use crate::failure::Failure;
use crate::paths::Shown;
use rustix::io::Errno;
use state_api::{Error, Result};
use state_linux::loopback::Loop;
use state_linux::mountinfo::{self, Mount};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A block device, or a file as one.
#[derive(Debug)]
pub(super) struct Device {
    /// As a person named it.
    pub(super) named: PathBuf,
    /// The block device; for a file, the loop device that stands for it.
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// Kept as long as this is: what is mounted keeps the loop device after that.
    _file: Option<Loop>,
}

/// Who uses a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Use {
    /// Nobody.
    Free,
    /// It is mounted, and nothing else.
    Mounted(Vec<Mount>),
    /// Something else has it: `a swap area`, `the device dm-0`.
    Taken(String),
}

impl ReadAt for (File, u64) {
    fn length(&self) -> u64 {
        self.1
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.0.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

impl Device {
    /// Opens it. A file becomes a loop device, or is found as one.
    ///
    /// # Errors
    /// It does not exist, is neither a block device nor a file, or needs root.
    pub(super) fn open(named: &Path) -> anyhow::Result<Self> {
        let doing = || format!("opening {}", Shown(named));
        let path = fs::canonicalize(named).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Missing {
                what: format!("the device {}", Shown(named)),
            },
            _ => Error::os(doing(), error),
        })?;
        let metadata = fs::metadata(&path).map_err(|error| Error::os(doing(), error))?;
        let (path, file) = match metadata.file_type() {
            kind if kind.is_block_device() => (path, None),
            kind if kind.is_file() => match loop_of(&path)? {
                Some(device) => (device, None),
                None => {
                    let attached =
                        Loop::attach(&path, false).map_err(|error| Error::os(doing(), error))?;
                    (attached.path().to_owned(), Some(attached))
                }
            },
            _ => {
                let fact = format!("{} is neither a block device nor a file", Shown(named));
                return Err(Failure::usage(fact)
                    .hint("`lsblk` shows the devices there are")
                    .into());
            }
        };
        let mut device = File::open(&path).map_err(|error| Error::os(doing(), error))?;
        let bytes = io::Seek::seek(&mut device, io::SeekFrom::End(0))
            .map_err(|error| Error::os(doing(), error))?;
        Ok(Self {
            named: named.to_owned(),
            path,
            bytes,
            _file: file,
        })
    }

    /// What it holds.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn content(&self) -> Result<Content> {
        let doing = || format!("reading {}", Shown(&self.named));
        let file = File::open(&self.path).map_err(|error| Error::os(doing(), error))?;
        probe::content(&(file, self.bytes)).map_err(|error| Error::os(doing(), error))
    }

    /// Who uses it. The kernel's own word: whoever has it mounted, as swap, in a volume group, an
    /// array or a pool, holds it alone.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub(super) fn used(&self) -> Result<Use> {
        let doing = || format!("looking at {}", Shown(&self.named));
        let alone = OpenOptions::new()
            .read(true)
            .custom_flags(rustix::fs::OFlags::EXCL.bits().cast_signed())
            .open(&self.path);
        match alone {
            Ok(_) => return Ok(Use::Free),
            Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {}
            Err(error) => return Err(Error::os(doing(), error)),
        }
        let mounts = mountinfo::read_everywhere().map_err(|error| Error::os(doing(), error))?;
        let ours: Vec<_> = mounts
            .into_iter()
            .filter(|mount| self.is_source(mount))
            .collect();
        if !ours.is_empty() {
            return Ok(Use::Mounted(ours));
        }
        Ok(Use::Taken(
            self.holder()
                .unwrap_or_else(|| "something in the kernel".into()),
        ))
    }

    /// Whether a mount is of this device.
    pub(super) fn is_source(&self, mount: &Mount) -> bool {
        let number = fs::metadata(&self.path).map_or(0, |found| found.rdev());
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        mount.device == (major, minor)
            || fs::canonicalize(&mount.source).is_ok_and(|source| source == self.path)
    }

    /// Its partitions, and what each holds, in words.
    pub(super) fn partitions(&self) -> Vec<String> {
        let name = self.path.file_name().unwrap_or_default();
        let class = Path::new("/sys/class/block").join(name);
        let entries = fs::read_dir(class).into_iter().flatten().flatten();
        let parts = entries.filter(|entry| entry.path().join("partition").exists());
        let mut parts: Vec<_> = parts.map(|entry| entry.file_name()).collect();
        parts.sort();
        let held = |part: &std::ffi::OsString| {
            let device = Self::open(&Path::new("/dev").join(part)).ok()?;
            let content = device.content().ok()?;
            (content != Content::Empty).then(|| format!("{}: {content}", part.display()))
        };
        parts.iter().filter_map(held).collect()
    }

    /// Who holds it, as far as files of the kernel tell.
    fn holder(&self) -> Option<String> {
        let name = self.path.file_name()?;
        let class = Path::new("/sys/class/block").join(name);
        let names = |dir: PathBuf| {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
        };
        if let Some(holder) = names(class.join("holders")).next() {
            return Some(format!("the device {holder}"));
        }
        let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
        let swap = |line: &str| {
            let source = line.split_whitespace().next().unwrap_or_default();
            fs::canonicalize(source).is_ok_and(|source| source == self.path)
        };
        if swaps.lines().skip(1).any(swap) {
            return Some("the system, as swap".into());
        }
        let prefix = name.to_string_lossy().into_owned();
        let mut parts = names(class).filter(|part| part.starts_with(&prefix));
        parts
            .next()
            .map(|part| format!("a partition of it ({part} …)"))
    }

    /// Overwrites every place where something known leaves its mark.
    ///
    /// # Errors
    /// It is held by somebody, or cannot be written.
    pub(super) fn erase(&self) -> Result<()> {
        let doing = || format!("erasing {}", Shown(&self.named));
        let write = || {
            let device = OpenOptions::new()
                .write(true)
                .custom_flags(rustix::fs::OFlags::EXCL.bits().cast_signed())
                .open(&self.path)?;
            let zeros = vec![0; 1 << 20];
            let ends = [
                0,
                probe::END,
                self.bytes.saturating_sub(2 * probe::END),
                self.bytes.saturating_sub(probe::END),
            ];
            // btrfs keeps copies of its superblock there, and finds a filesystem by them.
            let copies = [64 << 20, 256 << 30];
            for at in ends.into_iter().chain(copies) {
                let length = self.bytes.saturating_sub(at).min(zeros.len() as u64);
                device.write_all_at(&zeros[..length as usize], at)?;
            }
            device.sync_all()
        };
        write().map_err(|error| Error::os(doing(), error))
    }
}

/// The loop device that stands for a file already.
fn loop_of(file: &Path) -> Result<Option<PathBuf>> {
    let failed = |error| Error::os("looking at the loop devices", error);
    let devices = match fs::read_dir("/sys/block") {
        Ok(devices) => devices,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    for device in devices {
        let device = device.map_err(failed)?;
        let backing = fs::read_to_string(device.path().join("loop/backing_file"));
        if backing.is_ok_and(|backing| Path::new(backing.trim_end_matches('\n')) == file) {
            return Ok(Some(Path::new("/dev").join(device.file_name())));
        }
    }
    Ok(None)
}
