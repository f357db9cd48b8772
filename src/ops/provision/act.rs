//! The acts of provisioning.

use super::Passphrase;
use super::device::Device;
use super::journal::{self, Note};
use super::layout::{Filesystem, Layout, MEMORY, Place};
use super::plan::below;
use super::pool;
use super::step::Step;
use crate::context::Context;
use crate::engine;
use crate::paths::Shown;
use crate::program::{As, Program};
use crate::settings::Root;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat};
use rustix::io::Errno;
use state_api::{Apply, Error, Outcome, Refusal, Result, RootBackend, execute};
use state_linux::mount::{self, Attributes, FilesystemOption};
use state_linux::{btrfs, mountinfo};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a program that makes something on a disk may take.
const LIMIT: Duration = Duration::from_secs(600);

/// What carries the steps out.
pub(super) struct Provisioner<'a> {
    pub(super) cx: &'a Context<'a>,
    pub(super) layout: &'a Layout,
    pub(super) into: &'a Path,
    /// The device that was named; none where a pool was.
    pub(super) device: Option<&'a Device>,
    /// Where the filesystem is made.
    pub(super) inner: PathBuf,
    pub(super) note: Note,
    pub(super) passphrase: Option<&'a Passphrase>,
    /// Whether a run before this one was in the middle of it.
    pub(super) is_resumed: bool,
}

/// Directories of ours are like those of an installed system.
const DIRECTORY_MODE: u32 = 0o755;

impl Apply for Provisioner<'_> {
    type Step = Step;

    fn apply(&mut self, step: &Step) -> Result<Outcome> {
        match step {
            Step::Erase { word, .. } => self.erase(word),
            Step::Encrypt { device } => self.encrypt(device),
            Step::Open { device, mapper } => self.open(device, mapper),
            Step::Format { filesystem, device } => self.format(*filesystem, device),
            Step::MakePool { pool, device } => {
                self.begin()?;
                pool::make(pool, device, self.is_resumed)?;
                Ok(Outcome::Made)
            }
            Step::Make { place } => self.make(place),
            Step::TakeBlank => self.take_blank(),
            Step::Mount { place, at } => self.mount(place, at),
            Step::Write { file, text } => write(file, text),
        }
    }
}

impl Provisioner<'_> {
    /// Notes down that what is on the device from here on is ours.
    fn begin(&self) -> Result<()> {
        match self.device {
            Some(device) => journal::write(self.cx, device, &self.note),
            None => Ok(()),
        }
    }

    fn erase(&self, word: &str) -> Result<Outcome> {
        let Some(device) = self.device else {
            return Ok(Outcome::AlreadySo);
        };
        let content = device.content()?;
        if content.word().as_deref() != Some(word) {
            return Err(Error::Stale {
                what: format!("what {} holds", Shown(&device.named)),
            });
        }
        self.begin()?;
        device.erase()?;
        Ok(Outcome::Made)
    }

    fn encrypt(&self, device: &Path) -> Result<Outcome> {
        self.begin()?;
        let args = [
            "luksFormat".as_ref(),
            "--batch-mode".as_ref(),
            "--type=luks2".as_ref(),
            "--key-file=-".as_ref(),
            "--uuid".as_ref(),
            OsStr::new(&self.note.luks),
            device.as_os_str(),
        ];
        self.cryptsetup(&format!("encrypting {}", Shown(device)), &args)
    }

    fn open(&self, device: &Path, mapper: &str) -> Result<Outcome> {
        let args = [
            "open".as_ref(),
            "--type=luks".as_ref(),
            "--key-file=-".as_ref(),
            device.as_os_str(),
            mapper.as_ref(),
        ];
        self.cryptsetup(&format!("opening {}", Shown(device)), &args)
    }

    fn cryptsetup(&self, doing: &str, args: &[&OsStr]) -> Result<Outcome> {
        let input = self.passphrase.map_or(&[][..], Passphrase::bytes);
        let by = As {
            input,
            ..As::default()
        };
        Program::Cryptsetup.run_as(&by, doing, args, LIMIT)?;
        Ok(Outcome::Made)
    }

    fn format(&self, filesystem: Filesystem, device: &Path) -> Result<Outcome> {
        self.begin()?;
        let uuid = &self.note.uuid;
        let (program, options): (_, &[&str]) = match filesystem {
            Filesystem::Btrfs => (Program::MkfsBtrfs, &["-q", "-f", "-U", uuid]),
            // Small disks would get small blocks, into which no large attributes fit.
            Filesystem::Ext4 => (Program::MkfsExt4, &["-q", "-F", "-b", "4096", "-U", uuid]),
            // Its own name for a UUID at the beginning: `-m uuid=`.
            Filesystem::Xfs => (
                Program::MkfsXfs,
                &["-q", "-f", "-m", &format!("uuid={uuid}")],
            ),
        };
        let doing = format!("making a filesystem on {}", Shown(device));
        let args = options.iter().map(OsStr::new).chain([device.as_os_str()]);
        program.run(&doing, args, LIMIT)?;
        settle(uuid);
        Ok(Outcome::Made)
    }

    fn make(&self, place: &Place) -> Result<Outcome> {
        match place {
            Place::Subvolume(name) => {
                let doing = || format!("making the subvolume {name}");
                let options = self.options(place);
                let options: Vec<_> = options
                    .into_iter()
                    .map(|(key, value)| match key {
                        "subvol" => ("subvolid", Some(OsStr::new("5"))),
                        _ => (key, value),
                    })
                    .collect();
                let top = mount::detached("btrfs", &options, Attributes::empty())
                    .and_then(|mount| Ok((mount::open_top(&mount)?, mount)))
                    .map_err(|error| Error::os(doing(), error))?;
                match btrfs::create(&top.0, OsStr::new(name)) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        Ok(Outcome::AlreadySo)
                    }
                    made => made
                        .and_then(|()| btrfs::commit(&top.0))
                        .map(|()| Outcome::Made)
                        .map_err(|error| Error::os(doing(), error)),
                }
            }
            Place::Dataset(name) => {
                let base = &self.layout.pool;
                let pool = base.split('/').next().unwrap_or(base);
                let there = pool::look(pool)?.unwrap_or_default().names;
                if there.contains(name) {
                    return Ok(Outcome::AlreadySo);
                }
                pool::make_dataset(base, name, &there)?;
                Ok(Outcome::Made)
            }
            Place::Memory | Place::Installed | Place::Top | Place::Directory(_) => {
                Ok(Outcome::AlreadySo)
            }
        }
    }

    /// Blank of a root that nobody has mounted yet.
    fn take_blank(&self) -> Result<Outcome> {
        let mut root = self.layout.root(&self.note.uuid);
        if let Root::Btrfs { device, .. } = &mut root {
            device.clone_from(&self.inner); // its lasting name may not have appeared yet
        }
        let mut engine = engine::root(self.cx, &root, &BTreeMap::new())?;
        engine::on_root!(&mut engine, on => blank(on, self.cx))
    }

    /// The options that mount a volume.
    fn options<'o>(&'o self, place: &'o Place) -> Vec<FilesystemOption<'o>> {
        let device = ("source", Some(self.inner.as_os_str()));
        match place {
            Place::Memory => vec![
                ("source", Some(OsStr::new("tmpfs"))),
                ("mode", Some(OsStr::new("0755"))),
                ("size", Some(OsStr::new(MEMORY))),
            ],
            Place::Subvolume(name) => vec![device, ("subvol", Some(OsStr::new(name)))],
            Place::Dataset(name) => vec![("source", Some(OsStr::new(name)))],
            Place::Installed | Place::Top | Place::Directory(_) => vec![device],
        }
    }

    fn mount(&self, place: &Place, at: &Path) -> Result<Outcome> {
        let doing = || format!("mounting {place} at {}", Shown(at));
        let failed = |error| Error::os(doing(), error);
        if let Place::Directory(from) = place {
            let from = below(self.into, from);
            directory(&from).map_err(failed)?;
            if from == at {
                return Ok(Outcome::AlreadySo);
            }
            make_way(at)?;
            mount::bind(&from, at, false).map_err(failed)?;
            return Ok(Outcome::Made);
        }
        let kind = match place {
            Place::Memory => "tmpfs",
            Place::Subvolume(_) => "btrfs",
            Place::Dataset(_) => "zfs",
            _ => self.layout.filesystem.map_or("none", Filesystem::name),
        };
        make_way(at)?;
        // As the lines for fstab(5) say.
        let attributes = match place {
            Place::Memory => Attributes::empty(),
            _ => Attributes::MOUNT_ATTR_NOATIME,
        };
        let mount = mount::detached(kind, &self.options(place), attributes).map_err(failed)?;
        if matches!(place, Place::Top) && self.layout.store == *self.at_of(place) {
            // Nobody but root looks through a store's top; entries have modes of their own.
            let top = mount::open_top(&mount).map_err(failed)?;
            let mode = Mode::from_raw_mode(DIRECTORY_MODE);
            rustix::fs::fchmod(&top, mode).map_err(|error| failed(error.into()))?;
        }
        mount::attach(mount, CWD, at).map_err(failed)?;
        Ok(Outcome::Made)
    }

    fn at_of(&self, place: &Place) -> &Path {
        let volume = self
            .layout
            .volumes
            .iter()
            .find(|volume| volume.place == *place);
        volume.map_or(Path::new("/"), |volume| &volume.at)
    }
}

fn blank<B: RootBackend>(on: &mut B, cx: &Context) -> Result<Outcome> {
    let survey = on.survey()?;
    if on.facts(&survey).blank.is_some() {
        return Ok(Outcome::AlreadySo);
    }
    let plan = on.plan_take_blank(&survey)?;
    on.recheck(&survey)?;
    match execute(on, &plan, cx.interrupt, |_| ()) {
        Ok(_) => Ok(Outcome::Made),
        Err(failed) => Err(failed.error),
    }
}

/// A directory to mount on, which nothing is hidden by.
fn make_way(at: &Path) -> Result<()> {
    let failed = |error| Error::os(format!("making {}", Shown(at)), error);
    directory(at).map_err(failed)?;
    let is_mounted = mountinfo::read()
        .map_err(failed)?
        .iter()
        .any(|mount| mount.at == at);
    if is_mounted || fs::read_dir(at).map_err(failed)?.next().is_some() {
        let fact = match is_mounted {
            true => format!("something else is mounted at {}", Shown(at)),
            false => format!(
                "{} is not empty: a mount would hide what is there",
                Shown(at)
            ),
        };
        return Err(Refusal::Unsafe {
            fact,
            cure: "unmount or empty it, or choose another directory with --into".into(),
        }
        .into());
    }
    Ok(())
}

fn directory(at: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(at)
}

/// Whole or not at all, and never over anything: it has no name before it is written, so a run that
/// is killed leaves nothing.
fn write(file: &Path, text: &str) -> Result<Outcome> {
    let failed = |error: io::Error| Error::os(format!("writing {}", Shown(file)), error);
    let dir = file.parent().unwrap_or(Path::new("/"));
    directory(dir).map_err(failed)?;
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    let mut new = openat(CWD, dir, flags, Mode::from_raw_mode(0o644))
        .map(File::from)
        .map_err(|errno| failed(errno.into()))?;
    new.write_all(text.as_bytes())
        .and_then(|()| new.sync_all())
        .map_err(failed)?;
    let nameless = format!("/proc/self/fd/{}", new.as_raw_fd());
    match linkat(CWD, nameless, CWD, file, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(Outcome::AlreadySo),
        Err(errno) => return Err(failed(errno.into())),
    }
    openat(CWD, dir, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .and_then(rustix::fs::fsync)
        .map_err(|errno| failed(errno.into()))?;
    Ok(Outcome::Made)
}

/// Waits until udev, where it runs, has given the filesystem its lasting name.
fn settle(uuid: &str) {
    let link = Path::new("/dev/disk/by-uuid").join(uuid);
    let begun = Instant::now();
    while Path::new("/run/udev/control").exists()
        && !link.exists()
        && begun.elapsed() < Duration::from_secs(5)
    {
        std::thread::sleep(Duration::from_millis(20));
    }
}
