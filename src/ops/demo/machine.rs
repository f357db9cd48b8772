//! The machine of the demo: its disk, its root, its store, and turning it on and off.

use super::Backend;
use super::content;
use super::stage::{self, Disk, Stage, bind, memory, mount, unmount_below, write};
use crate::context::Context;
use crate::copy::{Copied, Fidelity};
use crate::program::Program;
use crate::settings::{OnFailure, PastRoots, Root};
use chrono::Utc;
use state_api::{Error, Interrupt, Result};
use state_linux::btrfs;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long `zpool` and `zfs` may take.
const ZFS: Duration = Duration::from_secs(120);

/// Size of the machine's disk.
const DISK_BYTES: u64 = 1 << 30;

/// A machine with one disk.
pub(super) struct Machine<'a> {
    pub(super) stage: &'a Stage,
    backend: Backend,
    disk: Option<Disk>,
    /// The pool, where root is on ZFS.
    pool: &'a str,
    boot_id: String,
}

impl<'a> Machine<'a> {
    /// A machine with a blank disk.
    pub(super) fn new(stage: &'a Stage, backend: Backend, pool: &'a str) -> Result<Self> {
        let disk = stage.has_devices.then(|| stage.disk(None, DISK_BYTES));
        Ok(Self {
            stage,
            backend,
            disk: disk.transpose()?,
            pool,
            boot_id: boot_id()?,
        })
    }

    /// Its root while it runs.
    pub(super) fn root(&self) -> PathBuf {
        self.stage.at("machine")
    }

    /// Its store while it runs.
    pub(super) fn store(&self) -> PathBuf {
        self.root().join("persist")
    }

    /// Where backups go: a disk of its own.
    pub(super) fn usb(&self) -> PathBuf {
        let stays = self.stage.kept.as_ref().map(|dir| dir.join("usb"));
        stays.unwrap_or_else(|| self.stage.at("usb"))
    }

    pub(super) fn has_blank(&self) -> bool {
        self.backend != Backend::Tmpfs
    }

    pub(super) fn has_snapshots(&self) -> bool {
        self.backend != Backend::Tmpfs
    }

    fn device(&self) -> &Path {
        self.disk.as_ref().map_or(Path::new("none"), Disk::device)
    }

    /// The `[root]` of its configuration.
    fn settings(&self) -> Root {
        let past_roots = PastRoots::default();
        let on_failure = OnFailure::default();
        match self.backend {
            Backend::Btrfs => Root::Btrfs {
                device: self.device().to_owned(),
                subvolume: "root".into(),
                blank: None,
                past_roots,
                on_failure,
            },
            Backend::Zfs => Root::Zfs {
                dataset: self.dataset("local/root"),
                blank: "blank".into(),
                past_roots,
                on_failure,
            },
            Backend::Tmpfs => Root::in_memory(Some("50%".into())),
        }
    }

    /// What it is, in a sentence.
    pub(super) fn describe(&self) -> String {
        let device = self.device().display();
        match self.backend {
            Backend::Btrfs => {
                format!("btrfs on {device}: a subvolume for root, one for the store (/persist).")
            }
            Backend::Zfs => format!(
                "A pool on {device}: {} for root, {} for the store (/persist).",
                self.dataset("local/root"),
                self.dataset("safe/persist")
            ),
            Backend::Tmpfs if self.disk.is_some() => {
                format!("Root is a tmpfs; the store (/persist) is on {device}, ext4.")
            }
            Backend::Tmpfs => "Root is a tmpfs; the store (/persist) is a second one.".to_owned(),
        }
    }

    /// Formats the disk and makes an empty root and store.
    pub(super) fn lay_out(&mut self) -> Result<()> {
        let top = self.stage.directory("disk")?;
        match (self.backend, &self.disk) {
            (Backend::Btrfs, Some(disk)) => {
                disk.format(Program::MkfsBtrfs, &["-q", "-f", "-L", "demo"])?;
                self.mount_subvolume("/", &top)?;
                for name in ["root", "persist"] {
                    make_subvolume(&top, name)?;
                }
                content::system(&top.join("root"))?;
                unmount_below(&top)?;
            }
            (Backend::Zfs, _) => {
                self.make_pool()?;
                self.mount_dataset("local/root", &top)?;
                content::system(&top)?;
                unmount_below(&top)?;
            }
            (_, Some(disk)) => disk.format(Program::MkfsExt4, &["-q", "-F", "-L", "demo"])?,
            (_, None) => memory(&top, "the disk")?,
        }
        let initrd = self.stage.directory("initrd")?;
        let usb = self.usb();
        stage::make_directory(&usb)?;
        let text = stage::configuration(&self.settings(), content::ENTRIES, &usb);
        write(&initrd.join("etc/state/state.toml"), &text)?;
        write(&initrd.join("proc/cmdline"), "root=LABEL=demo ro quiet\n")?;
        self.stage.directory("run")?;
        bind(&self.stage.at("run"), &initrd.join("run"))?;
        self.mount_store(&self.stage.directory("store")?)?;
        write(&self.stage.at("store/etc/state/state.toml"), &text)
    }

    /// Fills the store, and unmounts it.
    pub(super) fn filled(
        &mut self,
        fidelity: Fidelity,
        interrupt: &dyn Interrupt,
    ) -> Result<Copied> {
        let store = self.stage.at("store");
        let copied = content::store(&store, fidelity, interrupt)?;
        unmount_below(&store)?;
        Ok(copied)
    }

    fn mount_subvolume(&self, subvolume: &str, at: &Path) -> Result<()> {
        let options = [
            ("source", Some(self.device().as_os_str())),
            ("subvol", Some(OsStr::new(subvolume))),
        ];
        mount("btrfs", &options, at)
    }

    fn dataset(&self, name: &str) -> String {
        format!("{}/{name}", self.pool)
    }

    fn make_pool(&self) -> Result<()> {
        let device = self.device().as_os_str();
        let pool = "create -o cachefile=none -O mountpoint=none -O xattr=sa -O acltype=posix";
        let args = pool
            .split(' ')
            .chain([self.pool])
            .map(OsStr::new)
            .chain([device]);
        Program::Zpool.run(&format!("making the pool {}", self.pool), args, ZFS)?;
        for name in ["local/root", "safe/persist"] {
            let name = self.dataset(name);
            let args = ["create", "-p", "-u", "-o", "mountpoint=legacy", &name];
            Program::Zfs.run(&format!("making the dataset {name}"), args, ZFS)?;
        }
        Ok(())
    }

    fn mount_dataset(&self, name: &str, at: &Path) -> Result<()> {
        let name = self.dataset(name);
        mount("zfs", &[("source", Some(OsStr::new(&name)))], at)
    }

    fn mount_store(&self, at: &Path) -> Result<()> {
        match (self.backend, &self.disk) {
            (Backend::Btrfs, _) => self.mount_subvolume("/persist", at),
            (Backend::Zfs, _) => self.mount_dataset("safe/persist", at),
            (_, Some(disk)) => {
                let source = disk.device().as_os_str();
                mount("ext4", &[("source", Some(source))], at)
            }
            (_, None) => bind(&self.stage.at("disk"), at),
        }
    }

    /// Mounts root and the store, as the initrd does.
    pub(super) fn boots(&mut self) -> Result<()> {
        let root = self.root();
        match self.backend {
            Backend::Btrfs => self.mount_subvolume("/root", &root)?,
            Backend::Zfs => self.mount_dataset("local/root", &root)?,
            Backend::Tmpfs => {
                memory(&root, "root")?;
                content::system(&root)?;
            }
        }
        self.mount_store(&root.join("persist"))?;
        bind(&self.stage.at("run"), &root.join("run"))
    }

    /// Unmounts everything; the next boot is another one.
    pub(super) fn shuts_down(&mut self) -> Result<()> {
        unmount_below(&self.root())?;
        self.boot_id = boot_id()?;
        Ok(())
    }

    /// The initrd, before root is mounted.
    pub(super) fn at_boot<'i>(&self, interrupt: &'i dyn Interrupt) -> Context<'i> {
        self.context(self.stage.at("initrd"), interrupt)
    }

    /// The running machine.
    pub(super) fn running<'i>(&self, interrupt: &'i dyn Interrupt) -> Context<'i> {
        self.context(self.root(), interrupt)
    }

    fn context<'i>(&self, root_dir: PathBuf, interrupt: &'i dyn Interrupt) -> Context<'i> {
        Context {
            root_dir,
            config_file: Some(self.stage.at("initrd/etc/state/state.toml")),
            now: Utc::now(),
            boot_id: self.boot_id.clone(),
            interrupt,
            dry_run: false,
        }
    }

    /// The disk dies with everything on it.
    pub(super) fn destroy(self) -> Result<()> {
        if self.backend == Backend::Zfs {
            destroy_pool(self.pool)?;
        }
        match self.disk {
            Some(disk) => disk.destroy(),
            None => unmount_below(&self.stage.at("disk")),
        }
    }
}

/// The new machine, started from a rescue system: a disk with an empty filesystem.
pub(super) struct New {
    at: PathBuf,
    rescue: PathBuf,
    disk: Option<Disk>,
}

impl New {
    /// Makes and mounts it.
    pub(super) fn set_up(stage: &Stage) -> Result<Self> {
        let new = Self {
            at: stage.at("new"),
            rescue: stage.directory("rescue")?,
            disk: stage
                .has_devices
                .then(|| stage.disk(Some("new-disk.img"), DISK_BYTES))
                .transpose()?,
        };
        match &new.disk {
            Some(disk) => {
                disk.format(Program::MkfsExt4, &["-q", "-F", "-L", "new"])?;
                mount(
                    "ext4",
                    &[("source", Some(disk.device().as_os_str()))],
                    &new.at,
                )?;
            }
            None => memory(&new.at, "the new disk")?,
        }
        Ok(new)
    }

    /// What it is, in a sentence.
    pub(super) fn describe(&self) -> String {
        match &self.disk {
            Some(disk) => format!(
                "An empty ext4 on {}, mounted by a rescue system.",
                disk.device().display()
            ),
            None => "An empty tmpfs, in the place of a new disk.".to_owned(),
        }
    }

    /// Where the store goes.
    pub(super) fn store(&self) -> PathBuf {
        self.at.clone()
    }

    /// The rescue system: it has no configuration.
    pub(super) fn rescue<'i>(&self, interrupt: &'i dyn Interrupt) -> Result<Context<'i>> {
        Ok(Context {
            root_dir: self.rescue.clone(),
            config_file: None,
            now: Utc::now(),
            boot_id: boot_id()?,
            interrupt,
            dry_run: false,
        })
    }
}

/// Takes a pool out of the kernel with everything in it.
pub(super) fn destroy_pool(pool: &str) -> Result<()> {
    let doing = format!("destroying the pool {pool}");
    Program::Zpool
        .run(&doing, ["destroy", "-f", pool], ZFS)
        .map(drop)
}

fn make_subvolume(top: &Path, name: &str) -> Result<()> {
    let made = fs::File::open(top).and_then(|top| btrfs::create(&top, OsStr::new(name)));
    made.map_err(|error| Error::os(format!("making the subvolume {name}"), error))
}

/// A boot's id, as the kernel would give it.
fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/uuid";
    let id = fs::read_to_string(path).map_err(|error| Error::os(format!("reading {path}"), error));
    Ok(id?.trim().to_owned())
}
