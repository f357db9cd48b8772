//! The draft as a machine that a command can run in: mounts of its own, which nobody else sees and
//! which end with the thread that made them.

use crate::anchor::{Anchor, Found};
use crate::boot::initrd::find::DIRS;
use crate::context::Context;
use crate::failure::Failure;
use crate::machine::Machine;
use crate::paths::Shown;
use crate::settings::Settings;
use anyhow::Context as _;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use state_linux::mount::{self, Attributes};
use state_linux::namespace;
use state_linux::stat::Kind;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// What is as it is on the machine.
const SHARED: [&str; 2] = ["dev", "sys"];
/// What every boot has anew, and its mode.
const FRESH: [(&str, &str); 2] = [("run", "0755"), ("tmp", "1777")];
/// What belongs to blank: apart from it, the one would be renewed without the other.
const PARTS: [&str; 4] = ["/usr", "/etc", "/var", "/var/lib"];
/// A program that is lent, the program that stands for its being asked for, and its text.
type Lent = (&'static str, &'static str, &'static str);
/// Asked by Debian's maintainer scripts whether a service may be started.
const NO_SERVICE: Lent = (
    "usr/sbin/policy-rc.d",
    "usr/sbin/invoke-rc.d",
    "#!/bin/sh\n# of `state blank run`: nothing is started in a draft\nexit 101\n",
);
/// Called by Debian's packages of GRUB. What it writes beside root into the disk would look for the
/// rest of GRUB in the draft, and find nothing at the next boot.
const NO_LOADER: Lent = (
    "usr/local/sbin/grub-install",
    "usr/sbin/grub-install",
    "#!/bin/sh\n# of `state blank run`: no boot would find GRUB in a draft\n\
     echo 'grub-install: left out: GRUB stays as it is. To install it anew: restart, run it on the fresh root, `state blank take`' >&2\n",
);

/// What commands find in their environment: systemctl(1) then only changes files.
pub(super) const ENVIRONMENT: [(&str, &str); 1] = [("SYSTEMD_OFFLINE", "1")];

/// A draft in place.
#[derive(Debug)]
pub(super) struct Guest {
    /// Where it is, for this thread.
    pub(super) at: PathBuf,
    root: Anchor,
    /// What was put there for the command alone, and its text.
    lent: Vec<(PathBuf, String)>,
}

/// What of the machine's other filesystems has to be in the draft too, parents first. Looks only.
///
/// # Errors
/// One is missing, or belongs to what is renewed.
pub(super) fn filesystems(machine: &Machine, settings: &Settings) -> anyhow::Result<Vec<PathBuf>> {
    let is_store = |at: &Path| settings.persist.keys().any(|store| store == at);
    let mut all: Vec<PathBuf> = settings.persist.keys().cloned().collect();
    for line in &machine.fstab {
        let at = line.at.as_path();
        if at == Path::new("/") || !at.is_absolute() || is_store(at) {
            continue;
        }
        let is_api = ["proc", "sysfs", "tmpfs", "devpts", "swap"].contains(&&*line.filesystem);
        let is_mounted = machine.mount_at(at).is_some();
        if PARTS.iter().any(|part| at == Path::new(part)) {
            let fact = format!("{} is a filesystem of its own, outside blank", Shown(at));
            return Err(Failure::refused(fact)
                .hint("what is installed there cannot be taken back; make it a part of root")
                .into());
        }
        if !is_mounted && DIRS.iter().any(|boot| at == Path::new(boot)) {
            return Err(Failure::refused(format!("{} is not mounted", Shown(at)))
                .hint("mount it: a kernel that is installed goes there")
                .into());
        }
        if is_mounted && !is_api {
            all.push(at.to_owned());
        }
    }
    // systemd mounts what it finds on EFI's partition without a line.
    all.extend(DIRS.map(PathBuf::from).into_iter().filter(|at| {
        machine
            .mount_at(at)
            .is_some_and(|mount| mount.filesystem != "autofs")
    }));
    all.sort();
    // Whatever is mounted in one comes along with it.
    let mut outermost: Vec<PathBuf> = Vec::new();
    for at in all {
        if !outermost.iter().any(|outer| at.starts_with(outer)) {
            outermost.push(at);
        }
    }
    Ok(outermost)
}

impl Guest {
    /// Puts the draft in place, with the machine's `filesystems` in it. From here on this thread has
    /// mounts of its own.
    ///
    /// # Errors
    /// Something cannot be mounted.
    pub(super) fn new(
        cx: &Context,
        draft: impl AsFd,
        filesystems: &[PathBuf],
    ) -> anyhow::Result<Self> {
        let at = cx.run_dir().join("blank");
        let prepare = || -> io::Result<Anchor> {
            fs::create_dir_all(&at)?;
            namespace::own_mounts_that_follow()?;
            mount::attach(draft, CWD, &at)?;
            Anchor::open(&at)
        };
        let root = prepare().with_context(|| format!("mounting the draft at {}", Shown(&at)))?;
        let guest = Self {
            at,
            root,
            lent: Vec::new(),
        };
        for name in SHARED {
            guest.mount_on(Path::new(name), || {
                mount::clone_tree(CWD, &Path::new("/").join(name), true)
            })?;
        }
        for (name, mode) in FRESH {
            let attributes = Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NODEV;
            let options = [("mode", Some(OsStr::new(mode)))];
            guest.mount_on(Path::new(name), || mount::tmpfs(&options, attributes))?;
        }
        guest.directory(Path::new("proc"))?;
        for path in filesystems {
            let below = path.strip_prefix("/").unwrap_or(path);
            guest.mount_on(below, || mount::clone_tree(CWD, &cx.rooted(path), true))?;
        }
        Ok(guest)
    }

    /// The draft's top.
    pub(super) fn root(&self) -> &Anchor {
        &self.root
    }

    /// Makes sure that there is a directory to mount on, none behind a link.
    fn directory(&self, below: &Path) -> anyhow::Result<Anchor> {
        let find = || -> io::Result<Anchor> {
            let mut made = PathBuf::new();
            for part in below {
                let parent = self.root.directory(&made)?;
                parent.make_directory(part, 0, 0, 0o755)?;
                made.push(part);
            }
            self.root.directory(below)
        };
        find().with_context(|| format!("looking for {} in the draft", Shown(below)))
    }

    fn mount_on(
        &self,
        below: &Path,
        mounted: impl FnOnce() -> io::Result<OwnedFd>,
    ) -> anyhow::Result<()> {
        let on = self.directory(below)?;
        mounted()
            .and_then(|mounted| mount::attach(mounted, on, Path::new("")))
            .with_context(|| format!("mounting {} in the draft", Shown(below)))
    }

    /// What only the command needs: names of the network are resolved as on the machine, no service
    /// is started, and no boot loader is installed that would look for its files in the draft.
    ///
    /// # Errors
    /// The draft cannot be written.
    pub(super) fn lend(&mut self, boot_is_apart: bool) -> anyhow::Result<()> {
        self.lend_resolver()
            .context("lending /etc/resolv.conf to the draft")?;
        for lent in [NO_SERVICE, NO_LOADER] {
            if !(boot_is_apart && lent == NO_LOADER) {
                self.lend_program(lent)
                    .with_context(|| format!("lending /{} to the draft", lent.0))?;
            }
        }
        Ok(())
    }

    fn lend_program(&mut self, (path, asked_for, text): Lent) -> io::Result<()> {
        let is_asked = matches!(self.root.find(Path::new(asked_for))?, Found::Here(..));
        let path = Path::new(path);
        if is_asked && matches!(self.root.find(path)?, Found::Missing) {
            let file = self.at.join(path);
            fs::create_dir_all(file.parent().expect("it lies in a directory"))?;
            fs::write(&file, text)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
            self.lent.push((path.to_owned(), text.to_owned()));
        }
        Ok(())
    }

    fn lend_resolver(&mut self) -> io::Result<()> {
        let path = Path::new("etc/resolv.conf");
        let Ok(text) = fs::read("/etc/resolv.conf") else {
            return Ok(()); // no network, or one that needs none
        };
        let target = match self.root.find(path)? {
            // As systemd-resolved has it: into /run, which is empty here.
            Found::Here(_, stat) if stat.kind == Kind::Symlink => self.root.link_target(path)?,
            Found::Here(..) => PathBuf::new(),
            Found::Missing => {
                fs::write(self.at.join(path), "")?;
                self.lent.push((path.to_owned(), String::new()));
                PathBuf::new()
            }
            Found::Behind(..) => return Ok(()),
        };
        let in_run = (target.strip_prefix("/run"))
            .or_else(|_| target.strip_prefix("../run"))
            .ok();
        let file = match in_run {
            Some(rest) => self.at.join("run").join(rest),
            None => self.at.join("run/state/resolv.conf"),
        };
        fs::create_dir_all(file.parent().expect("it lies in /run"))?;
        let mut options = fs::OpenOptions::new();
        let options = options.write(true).create_new(true).mode(0o644);
        io::Write::write_all(&mut options.open(&file)?, &text)?;
        if in_run.is_none() {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            match openat2(
                &self.root,
                path,
                flags,
                Mode::empty(),
                ResolveFlags::IN_ROOT,
            ) {
                Ok(on) => mount::attach(mount::clone_tree(CWD, &file, false)?, on, Path::new(""))?,
                Err(Errno::NOENT) => {} // a link that leads nowhere on this machine either
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Takes back what the command did not make its own.
    ///
    /// # Errors
    /// The draft cannot be written.
    pub(super) fn take_back(&mut self) -> anyhow::Result<()> {
        for (path, text) in std::mem::take(&mut self.lent) {
            let file = self.at.join(&path);
            let take = || -> io::Result<()> {
                if mount_point(&self.root, &path)? {
                    mount::unmount(&file)?;
                }
                if fs::read(&file)? == text.as_bytes() {
                    fs::remove_file(&file)?;
                }
                Ok(())
            };
            match take() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                taken => taken.with_context(|| format!("taking back {}", Shown(&path)))?,
            }
        }
        Ok(())
    }
}

fn mount_point(root: &Anchor, path: &Path) -> io::Result<bool> {
    Ok(match root.find(path)? {
        Found::Here(_, stat) => stat.is_mount_point,
        Found::Missing | Found::Behind(..) => false,
    })
}
